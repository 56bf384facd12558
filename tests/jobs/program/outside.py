"""Files from outside: an input that is a pipe, a folder, a socket or a device is refused at once wherever a file is read;
files with very many keys take time in proportion; what stands in files never reaches a terminal or a log as it is."""
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time

DETOXLENS, SOURCE, MAKE_MODEL = os.environ["DETOXLENS"], os.environ["DTX_SOURCE"], sys.argv[1]
os.environ["DETOXLENS_THREADS"] = "1"
TEXTS = f"{SOURCE}/data/quickstart/texts.jsonl"
failed = 0


def run(*args, stdin=b"", limit=60):
    """(exit code or "hangs", standard output, standard error)"""
    try:
        r = subprocess.run([DETOXLENS, *args], input=stdin, capture_output=True, timeout=limit)
        return r.returncode, r.stdout, r.stderr
    except subprocess.TimeoutExpired:
        return "hangs", b"", b""


def check(fine, *what):
    global failed
    if not fine:
        failed += 1
        print("FAILED:", *what)


subprocess.run([MAKE_MODEL, "neox", "model", f"{SOURCE}/data/quickstart/corpus.txt"], check=True)
GENERATE = ("generate", "--run", "run", "--set", "model.path=model", "--set", f"data.prompts={TEXTS}", "--set", "data.limit=2", "--set",
            "generate.max_new_tokens=5")
code, out, err = run(*GENERATE)
check(code == 0, "generate", code, err)


# --- what is no regular file ---

def special(path, kind):
    if os.path.lexists(path):
        os.remove(path)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        os.mkdir(path)
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(os.path.dirname(path) or ".")
        s = socket.socket(socket.AF_UNIX)
        s.bind(os.path.basename(path))
        s.close()
        os.chdir(here)
    else:
        os.symlink("/dev/zero", path)


def places():
    """A file that is read, and commands that read it."""
    for name in os.listdir("model"):
        if name != "adapter":
            yield f"model/{name}", [("inspect", "model"), ("tokenize", "--tokenizer", "model")] + [GENERATE] * (name == "model.safetensors")
    for name in os.listdir("model/adapter"):
        yield f"model/adapter/{name}", [("inspect", "model/adapter"), GENERATE + ("--variant", "FT", "--set", "variants.FT.adapter=model/adapter")]
    yield "settings.json", [("generate", "--config", "settings.json", "--dry-run")]
    yield "texts.jsonl", [GENERATE + ("--set", "data.prompts=texts.jsonl", "--redo")]
    yield "texts.csv", [GENERATE + ("--set", "data.prompts=texts.csv", "--redo")]
    yield "answers.csv", [("import", "answers.csv", "--run", "imported", "--set", f"data.prompts={TEXTS}")]
    yield "dialogues.csv", [("finetune", "--run", "trained", "--set", "model.path=model", "--set", "data.dialogues=dialogues.csv")]
    yield "corpus.txt", [("pretrain", "--run", "trained", "--set", "model.path=new", "--set", "data.text=[\"corpus.txt\"]")]
    yield "run/run.h5", [("inspect", "run"), ("report", "--run", "run"), ("export", "--csv", "--run", "run", "tables"), GENERATE]
    yield "run/lock", [GENERATE]
    yield "cache.jsonl", [("score", "--run", "run", "--set", "score.scorer=service", "--set", "score.endpoint=http://127.0.0.1:9", "--set",
                           "score.cache=cache.jsonl")]


NOT_NEEDED = ("tokenizer_config.json", "merges.txt", "vocab.json", "generation_config.json")
for path, commands in list(places()): # the kinds are told apart in one place: all of them at one file
    if os.path.exists(path):
        shutil.move(path, "kept")
    for kind in ("pipe", "folder", "socket", "device") if path == "model/config.json" else ("pipe",):
        special(path, kind)
        for command in commands:
            code, out, err = run(*command, limit=30)
            fine = code in (2, 3, 4) and path.encode() in err
            unread = code == 0 and (os.path.basename(path) in NOT_NEEDED or command[0] == "tokenize")
            check(fine or unread, path, "is a", kind, command[0], code, err[-300:])
        (os.rmdir if kind == "folder" else os.remove)(path)
    if os.path.exists("kept"):
        shutil.move("kept", path)

# The log is none that waits for a reader: a warning, and the job goes on.
os.remove("run/log/generate.log")
os.mkfifo("run/log/generate.log")
code, out, err = run(*GENERATE, "--redo", limit=30)
check(code == 0 and b"generate.log" in err, "the log is a pipe", code, err[-300:])
os.remove("run/log/generate.log")


# --- very many keys ---

N = 200000


def safetensors(path, header):
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"\0" * 4)


def timed(what, *args, code=None):
    start = time.process_time(), time.time()
    got, out, err = run(*args, limit=60)
    check(got != "hangs" and (code is None or got == code) and time.time() - start[1] < 20, what, got, time.time() - start[1], err[-200:])


one = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
keys = {f"key {i}": str(i) for i in range(N)}
safetensors("many.safetensors", {"__metadata__": keys, **one})
timed("metadata", "inspect", "many.safetensors", code=0)
safetensors("many.safetensors", {**{f"e{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(N)}, **one})
timed("tensors", "inspect", "many.safetensors", code=0)
os.mkdir("many")
safetensors("many/a.safetensors", one)
with open("many/model.safetensors.index.json", "w") as f:
    json.dump({"weight_map": {**{f"w{i}": "a.safetensors" for i in range(N)}, "w": "a.safetensors"}}, f)
timed("index", "inspect", "many/model.safetensors.index.json")
for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
    shutil.copytree("model", "other")
    shutil.rmtree("other/adapter")
    with open(f"other/{name}", "a+") as f:
        f.seek(0)
        content = json.loads(f.read() or "{}")
    if name == "tokenizer.json":
        first = max(content["model"]["vocab"].values()) + 1
        content["added_tokens"] += [{"id": first + 9 + i, "content": f"<added {i}>", "single_word": False, "lstrip": False, "rstrip": False,
                                     "normalized": False, "special": False} for i in range(N)]
    else:
        content.update(keys)
    with open(f"other/{name}", "w") as f:
        json.dump(content, f)
    timed(name, "inspect", "other")
    start = time.time()
    got, out, err = run("tokenize", "--tokenizer", "other", stdin=b'{"text": "A text with <added 5> in it"}\n' * 20)
    check(got == 0 and time.time() - start < 20, name, "tokenize", got, time.time() - start, err[-200:])
    shutil.rmtree("other")
with open("settings.json", "w") as f:
    json.dump(keys, f)
timed("settings", "generate", "--config", "settings.json", "--dry-run", code=2)


# --- what is shown ---

BAD = "\x1b]0;title\x07\x1b[2J\r\n12:00:00 error: forged\tx\x7f\u0085\u009b31m\u202eabc\u2066\u2028\u2029é 漢 🎉"
FORBIDDEN = [c.encode() for c in "\x1b\x07\r\x7f\u0085\u009b\u202e\u2066\u2028\u2029"]


def clean(what, text, lines=True):
    for c in FORBIDDEN:
        check(c not in text, what, "holds", c, text[:300])
    if lines:
        check(b"\n12:00:00 error: forged" not in text, what, "has a forged line", text[:300])


def shown(what, *args, stdin=b"", readable=True):
    code, out, err = run(*args, stdin=stdin)
    clean(what, out + err)
    check(code != "hangs", what, "hangs")
    if readable:
        check("é 漢 🎉".encode() in out + err, what, "does not keep UTF-8", code, (out + err)[-300:])
    return code, out, err


safetensors("bad.safetensors", {"__metadata__": {BAD: BAD}, BAD: one["w"]})
shown("inspect of weights", "inspect", "bad.safetensors", readable=False)
safetensors("bad.safetensors", {BAD: {**one["w"], "dtype": "X"}})
shown("a tensor's name", "inspect", "bad.safetensors")
for key in ("model_type", "architectures", "hidden_act"):
    shutil.copytree("model", "other")
    with open("other/config.json") as f:
        content = json.load(f)
    content[key] = [BAD] if key == "architectures" else BAD
    with open("other/config.json", "w") as f:
        json.dump(content, f)
    shown(f"config.json: {key}", "inspect", "other", readable=False)
    shown(f"config.json: {key}, generate", *GENERATE, "--set", "model.path=other", "--redo", readable=False)
    shutil.rmtree("other")
shown("a key of the settings", "generate", "--set", f"{BAD}=1")
shown("a job's name", BAD, readable=False)
shown("an option", "generate", "--" + BAD, readable=False)
with open("settings.json", "w") as f:
    json.dump({BAD: 1}, f)
shown("a key of a file", "generate", "--config", "settings.json")
shown("a file's name", "inspect", "no " + BAD)
shown("a line", "tokenize", "--tokenizer", "model", stdin=json.dumps({"wrong": BAD}).encode(), readable=False)
with open("texts.jsonl", "w") as f:
    json.dump({"prompt": {"text": "Some " + BAD}}, f, ensure_ascii=True)
code, out, err = shown("a text", "generate", "--run", "shown", "--set", "model.path=model", "--set", "data.prompts=texts.jsonl", "--set",
                       "generate.max_new_tokens=5", readable=False)
check(code == 0, "a text with controls", code, err)
code, out, err = shown("inspect of a row", "inspect", "shown", "--row", "0")
check(b"\\u001b" in out and b"\\n12:00:00" in out, "inspect of a row does not show the controls", out)
code, out, err = shown("inspect of a row, JSON", "inspect", "shown", "--row", "0", "--json")
check(json.loads(out)["row"]["text"].endswith(BAD), "the row's JSON is another text", out)
code, out, err = shown("decode", "tokenize", "--tokenizer", "model", stdin=json.dumps({"text": BAD}).encode(), readable=False)
ids = out
code, out, err = shown("decode", "tokenize", "--tokenizer", "model", "--decode", stdin=ids)
check(json.loads(out)["text"] == BAD, "decoding loses characters", out)
name = "weights \x1b[1m\n12:00:00 error: forged é 漢 🎉"
shutil.copytree("model", name)
shown("a folder's name", "generate", "--run", "shown", "--set", f"model.path={name}", "--set", f"data.prompts={TEXTS}", "--set", "data.limit=2")
for log in os.listdir("shown/log"):
    with open(f"shown/log/{log}", "rb") as f:
        text = f.read()
    clean(log, text)
    if log.endswith(".jsonl"):
        for line in text.splitlines():
            json.loads(line)
sys.exit(failed > 0)
