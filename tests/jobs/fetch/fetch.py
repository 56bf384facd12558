"""detoxlens fetch against a local hub that misbehaves: what is fetched and what is left out, licences, shards in parallel, kills and
clean stops, checksums, storms, servers without ranges, refusals, redirects without the token, files that change, pages, hostile
listings, full disks; a second run downloads nothing; the token stands nowhere."""
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from urllib.parse import unquote

BEGUN = time.monotonic()
sys.path.insert(0, os.path.join(os.environ["DTX_SOURCE"], "tests"))
from web import Server

DETOXLENS, MAKE_MODEL, TOKEN = os.environ["DETOXLENS"], sys.argv[1], "hf_S3CRET"
FAST = ("--set", "http.backoff=0.01")
ENV = {**{k: v for k, v in os.environ.items() if k not in ("HF_TOKEN", "HF_ENDPOINT")}, "DETOXLENS_THREADS": "1"}
rng = random.Random(7)
sha256 = lambda b: hashlib.sha256(b).hexdigest()
git = lambda b: hashlib.sha1(b"blob %d\0" % len(b) + b).hexdigest()


def command(hub, *args):
    return [DETOXLENS, "fetch", "--set", "fetch.hub=" + hub.url, "--set", "fetch.github=" + hub.url + "/raw", *FAST, *args]


def run(code, hub, *args, **env):
    r = subprocess.run(command(hub, *args), capture_output=True, text=True, env={**ENV, **env})
    assert r.returncode == code, (args, r.returncode, r.stdout, r.stderr)
    assert "S3CRET" not in r.stdout + r.stderr, r.stderr
    assert code in (0, 75) or r.stderr.count("error: ") == 1, r.stderr
    return r.stdout + r.stderr


class Hub(Server):
    """Repositories {name: {path: bytes}}; large ones (.safetensors, .bin, .jsonl) are LFS files that a CDN on another host sends.
    `fault(q, path)` may answer a request for a file itself and return True; `info` and `listing` change the replies."""

    def __init__(self, repos, fault=lambda q, path: False, info={}, listing=None, page=1000, delay=0, ranges=True, etag=True):
        super().__init__(self.serve)
        self.repos, self.fault, self.info, self.listing, self.page, self.delay, self.ranges, self.etag = repos, fault, info, listing, page, delay, ranges, etag
        self.seen, self.firsts, self.at_once, self.most = [], {}, 0, 0
        self.cdn = Server(self.serve, host="127.0.0.2").url + "/cdn"

    def serve(self, q):
        path, _, query = q.path.partition("?")
        with self.lock:
            self.seen.append((q.command, path, dict(q.headers)))
        if path.startswith("/cdn/") or path.startswith("/raw/"):
            assert "Authorization" not in q.headers, path
            return self.send(q, unquote(path[5:])) if unquote(path[5:]) in self.repos.get("raw", {}) or path[1] == "c" else q.reply(404)
        parts = path.strip("/").split("/")
        if parts[0] == "api":
            name = "/".join(parts[2:4] if parts[1] == "models" else ["datasets"] + parts[2:4])
            if name not in self.repos:
                return q.reply(404, '{"error": "Repository not found"}')
            if parts[4] == "revision":
                if parts[5] not in ("main", "v2", "refs%2Fpr%2F1"):
                    return q.reply(404, '{"error": "Revision not found"}')
                return q.reply(200, json.dumps({"id": name, "sha": self.commit(name), "gated": False, "siblings": [], "cardData": {"license": "apache-2.0"}, **self.info}))
            return self.tree(q, name, query)
        if parts[0] == "datasets":
            name, rest = "/".join(parts[:3]), parts[3:]
        else:
            name, rest = "/".join(parts[:2]), parts[2:]
        assert rest[:2] == ["resolve", self.commit(name)], path
        rest = unquote("/".join(rest[2:]))
        if rest.endswith((".safetensors", ".bin", ".jsonl")):
            return q.reply(302, "", {"Location": f"{self.cdn}/{name}//{rest}"})
        self.send(q, name + "//" + rest)

    def commit(self, name):
        return hashlib.sha1(repr(sorted(self.repos[name].items())).encode()).hexdigest()

    def tree(self, q, name, query):
        if self.listing is not None:
            return q.reply(200, self.listing)
        entries = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": "onnx"}]
        for path, data in self.repos[name].items():
            e = {"type": "file", "oid": git(data), "size": len(data), "path": path}
            if path.endswith((".safetensors", ".bin", ".jsonl")):
                e["oid"], e["lfs"] = "1" * 40, {"oid": sha256(data), "size": len(data), "pointerSize": 134}
            entries.append(e)
        first = int(query.partition("cursor=")[2] or 0)
        # the address of the next page names another host, as behind a mirror
        head = {"Link": f'<https://hub.invalid/next?recursive=true&cursor={first + self.page}>; rel="next"'} if first + self.page < len(entries) else {}
        q.reply(200, json.dumps(entries[first:first + self.page]), head)

    def send(self, q, path):
        if self.fault(q, path):
            return
        name, _, rest = path.partition("//")
        data = self.repos[name][rest] if name in self.repos else self.repos["raw"][path]
        mark = '"%s"' % git(data)
        first = int(q.headers["Range"][6:-1]) if "Range" in q.headers and self.ranges else 0
        if self.etag != "alone" and q.headers.get("If-Range", mark) != mark:
            first = 0
        if q.command == "GET":
            self.firsts.setdefault(rest or path, []).append(first)
        if first > len(data):
            return q.reply(416)
        q.send_response(206 if first else 200)
        if first:
            q.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        if self.etag:
            q.send_header("ETag", mark)
        q.send_header("Content-Length", str(len(data) - first))
        q.end_headers()
        if q.command == "HEAD":
            return
        with self.lock:
            self.at_once += len(data) > first
            self.most = max(self.most, self.at_once)
        try:
            for at in range(first, len(data), 1 << 16):
                if self.delay and at > first:
                    time.sleep(self.delay)
                with self.lock:  # as the client may go on before this thread does
                    self.at_once -= at + (1 << 16) >= len(data)
                q.wfile.write(data[at:min(at + (1 << 16), len(data))])
        except BaseException:
            with self.lock:
                self.at_once -= at + (1 << 16) < len(data)
            raise


def same(folder, files):
    got = {os.path.relpath(os.path.join(d, f), folder) for d, _, names in os.walk(folder) for f in names}
    assert got == set(files) | {"fetch.json"}, got ^ set(files)
    for name, data in files.items():
        with open(os.path.join(folder, name), "rb") as f:
            assert f.read() == data, name
    with open(folder + "/fetch.json") as f:
        record = json.load(f)
    assert {f["path"]: (f["size"], f["sha256"]) for f in record["files"]} == {k: (len(v), sha256(v)) for k, v in files.items()}
    assert not os.path.exists(folder + ".part")
    return record


def clean():
    shutil.rmtree("models", ignore_errors=True)
    shutil.rmtree("data", ignore_errors=True)


# --- a real model, with what must be left out ---
with open("corpus.txt", "w") as f:
    f.write("\n\n".join(f"A demonstrative text number {i} for a small vocabulary." for i in range(50)))
subprocess.run([MAKE_MODEL, "neox", "tiny", "corpus.txt"], check=True)
shutil.rmtree("tiny/adapter")
small = {n: open("tiny/" + n, "rb").read() for n in os.listdir("tiny")}
extra = {"pytorch_model.bin": b"not wanted", "modeling_evil.py": b"import os", "onnx/model.onnx": b"x", "README.md": b"# card", "LICENSE": b"text", ".gitattributes": b""}
hub = Hub({"me/tiny": {**small, **extra}})
said = run(0, hub, "me/tiny", "--dry-run")
assert "licence  apache-2.0" in said and "model.safetensors" in said and "evil" not in said and not os.path.exists("models"), said
said = run(0, hub, "me/tiny", HF_TOKEN=TOKEN)
assert "Next: detoxlens inspect models/tiny" in said, said
subprocess.run([DETOXLENS, "inspect", "models/tiny"], check=True, stdout=subprocess.DEVNULL)
record = same("models/tiny", {**small, "README.md": b"# card", "LICENSE": b"text"})
assert record["commit"] == hub.commit("me/tiny") and record["licence"] == "apache-2.0" and record["source"] == hub.url + "/me/tiny" and record["revision"] == "main"
assert any(h.get("Authorization") == "Bearer " + TOKEN for _, p, h in hub.seen if p.startswith("/me/")) and any(p.startswith("/cdn/") for _, p, _ in hub.seen)
assert "S3CRET" not in open("models/tiny/fetch.json").read()
n = hub.requests  # a second run, and one without network at all
assert "is complete" in run(0, hub, "me/tiny") and hub.requests == n
run(0, hub, "me/tiny", "--set", "fetch.hub=http://127.0.0.1:1")
assert "holds revision main" in run(2, hub, "me/tiny@v2") and "not me2/tiny" in run(2, hub, "me2/tiny")
with open("models/tiny/config.json", "ab") as f:
    f.write(b" ")
assert "--redo mends it" in run(3, hub, "me/tiny")
before = len(hub.firsts["model.safetensors"])
run(0, hub, "me/tiny", "--redo")
assert len(hub.firsts["model.safetensors"]) == before  # only what was wrong
same("models/tiny", {**small, "README.md": b"# card", "LICENSE": b"text"})
run(0, hub, "me/tiny@refs/pr/1", "--to", "elsewhere")
shutil.copytree("tiny", "models/own")
hub.repos["me/own"] = small
assert "was not made by fetch" in run(2, hub, "me/own")
run(0, hub, "me/tiny", "--to", "ranks", **{"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"})
assert not os.path.exists("ranks")  # another rank does nothing
for code, what in ((0, "me/tiny"), (4, "me/absent")):  # and under a launcher the first one's code counts
    r = subprocess.run([os.environ["MPIRUN"], "2"] + command(hub, what, "--to", "ranks"), env=ENV, capture_output=True, text=True)
    assert r.returncode == code and (r.stdout + r.stderr).count("error: ") == (code > 0), r.stdout + r.stderr
same("ranks/tiny", {**small, "README.md": b"# card", "LICENSE": b"text"})
presets = [line.split()[0] for line in run(0, hub, "--help").split("\nPresets\n")[1].split("\n\n")[0].split("\n")]
assert len(presets) == 11
for word in presets:  # each is known, and this hub has none of them
    assert "HTTP status 404" in run(4, hub, word, "--dry-run")
print("ok model", "%.1f s" % (time.monotonic() - BEGUN))

# --- shards named by an index, in parallel, over pages of a listing ---
clean()
shards = {f"model-0000{i}-of-00005.safetensors": rng.randbytes(700000 + i) for i in range(1, 6)}
index = json.dumps({"metadata": {}, "weight_map": {f"t{i}": name for i, name in enumerate(shards)}}).encode()
sharded = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors.index.json": index, **shards}
more = {**sharded, "model-old.safetensors": b"not in the index", "pytorch_model.bin.index.json": b"{}", "pytorch_model-00001-of-00001.bin": b"no"}
hub = Hub({"me/big": more, "me/half": {k: v for k, v in sharded.items() if "00003" not in k}}, page=2, delay=.02)
run(0, hub, "me/big", "--parallel", "3")
same("models/big", sharded)
assert hub.most == 3, hub.most
assert "does not hold" in run(3, hub, "me/half")
print("ok shards", "%.1f s" % (time.monotonic() - BEGUN))

# --- kills: everything goes on where it was ---
clean()
hub = Hub({"me/big": sharded}, delay=.02)


def parts():
    return {n.split(".safetensors")[0] + ".safetensors": os.path.getsize("models/big.part/" + n) for n in os.listdir("models/big.part") if n.endswith(".part")}


kills = 0
for k in range(5):
    child = subprocess.Popen(command(hub, "me/big", "--parallel", "2"), env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seen, want, until = {n: len(v) for n, v in hub.firsts.items()}, rng.uniform(.05, .25), time.monotonic() + 20
    before = parts() if k else {}
    while child.poll() is None and sum(map(len, hub.firsts.values())) == sum(seen.values()) and time.monotonic() < until:
        time.sleep(.005)
    time.sleep(want)
    kills += child.poll() is None
    child.kill()
    child.wait()
    assert not os.path.exists("models/big")
    for name, firsts in hub.firsts.items():
        for first in firsts[seen.get(name, 0):]:
            assert first == before.get(name, 0), (name, first, before)
assert kills >= 3, kills
child = subprocess.Popen(command(hub, "me/big"), env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
n = sum(map(len, hub.firsts.values()))
while sum(map(len, hub.firsts.values())) == n and child.poll() is None:
    time.sleep(.005)
assert "in use by another run" in run(2, hub, "me/big")
child.send_signal(signal.SIGUSR1)
assert child.wait() == 75 and "the same command continues" in child.stderr.read()
hub.delay = .3
run(75, hub, "me/big", "--max-hours", "0.0002")
hub.delay = 0
run(0, hub, "me/big")
same("models/big", sharded)
print("ok kills", kills, "%.1f s" % (time.monotonic() - BEGUN))

# --- the revision moves on between two runs: nothing of the old one stays but what is the same ---
clean()
hub = Hub({"me/big": dict(sharded)}, delay=.02)
child = subprocess.Popen(command(hub, "me/big", "--parallel", "1"), env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
while child.poll() is None and len(hub.firsts.get("model-00004-of-00005.safetensors", [])) == 0:
    time.sleep(.001)
hub.delay = 1  # it is under way when it is killed
time.sleep(.05)
child.kill()
child.wait()
assert "model-00004-of-00005.safetensors" in parts()
hub.repos["me/big"].update({"model-00004-of-00005.safetensors": rng.randbytes(400000), "config.json": b'{"new": 1}'})
hub.delay = 0
run(0, hub, "me/big")
same("models/big", hub.repos["me/big"])
assert len(hub.firsts["model-00005-of-00005.safetensors"]) == 1 and hub.firsts["model-00004-of-00005.safetensors"][-1] == 0
print("ok moved", "%.1f s" % (time.monotonic() - BEGUN))

# --- faults of all kinds, then the right bytes ---
count, lock = {}, threading.Lock()


def moody(q, path):
    with lock:
        n = count[path] = count.get(path, 0) + 1
    data = sharded[path.partition("//")[2]]
    first = int(q.headers["Range"][6:-1]) if "Range" in q.headers else 0
    head = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"} if first else {}
    k = (len(path) + sum(path.encode()) + n) % 7
    if n > 4 or k == 6:
        return False
    if k in (0, 1):
        q.reply(429 if k else 503)
    elif k == 2:
        q.reply(206 if first else 200, data[first:], head, send=min(100000, len(data) // 2))  # cut by a reset
    elif k == 3:
        q.reply(206 if first else 200, data[first:first + 1000], head, length=len(data) - first)  # cut by an end of file
    elif k == 4:
        q.reply(200, data + b"more")
    else:
        q.reset()
    return True


for ranges in (True, False):
    clean()
    count.clear()
    hub = Hub({"me/big": sharded}, fault=moody, ranges=ranges)
    run(0, hub, "me/big")
    same("models/big", sharded)
    assert sum(count.values()) > len(sharded) + 8, count
clean()
start = time.monotonic()
hub = Hub({"me/tiny": small}, fault=lambda q, path: time.monotonic() < start + .4 and (q.reply(429), True)[1])
run(0, hub, "me/tiny", "--set", "http.tries=20")
print("ok faults", "%.1f s" % (time.monotonic() - BEGUN))

# --- an index that came wrong once ---
clean()
once = []
hub = Hub({"me/big": sharded}, fault=lambda q, path: path.endswith("index.json") and not once and (once.append(1), q.reply(200, index + b"more"), True)[2])
run(0, hub, "me/big")
same("models/big", sharded)

# --- other bytes than announced: exit 3, nothing under its name; mended on the server, the same command ends well ---
clean()
wrong = lambda q, path: path.endswith("00002-of-00005.safetensors") and (q.reply(200, bytes(len(shards["model-00002-of-00005.safetensors"]))), True)[1]
hub = Hub({"me/big": sharded}, fault=wrong)
assert "expected SHA-256" in run(3, hub, "me/big") and not os.path.exists("models/big")
clean()
hub.fault = lambda q, path: path.endswith("config.json") and (q.reply(200, b"[]"), True)[1]
assert "expected git object" in run(3, hub, "me/big")
hub.fault = lambda q, path: False
# what an earlier run left is damaged: found out and fetched again
name = next(iter(shards))
clean()
os.makedirs("models/big.part")
with open(f"models/big.part/{name}.{sha256(shards[name])[:16]}.part", "wb") as f:
    f.write(bytes(100000))
with open("models/big.part/tokenizer.json", "wb") as f:
    f.write(b"xx")
said = run(0, hub, "me/big")
assert said.count("fetched again") == 2, said
same("models/big", sharded)
print("ok checksums", "%.1f s" % (time.monotonic() - BEGUN))

# --- refusals and what to do about them ---
clean()
for status, words, env in ((401, "set HF_TOKEN", {}), (401, "make a new one", {"HF_TOKEN": TOKEN}), (403, "accept its terms", {"HF_TOKEN": TOKEN}), (404, "no such repository", {})):
    hub = Hub({"me/tiny": small}, fault=lambda q, path: (q.reply(status), True)[1])
    assert words in run(4, hub, "me/tiny", **env)
    hub.answer = lambda q: q.reply(status, '{"error": "hf_S3CRET"}')
    assert words in run(4, hub, "me/other", **env)
hub = Hub({"me/tiny": small, "datasets/me/texts": {"a.parquet": b""}, "me/none": {"README.md": b""}})
assert "revision (v9)" in run(4, hub, "me/tiny@v9")
assert "holds no .jsonl" in run(3, hub, "datasets/me/texts") and "no config.json" in run(3, hub, "me/none")
assert "does this node reach the internet" in run(4, hub, "me/tiny", "--set", "fetch.hub=http://127.0.0.1:1", "--set", "http.tries=2")
run(2, hub, "me/tiny", "--set", "fetch.hub=ftp://x/")
run(2, hub, "me/tiny", "--set", "fetch.token=" + TOKEN)
assert "blank" in run(2, hub, "me/tiny", HF_TOKEN="two words")
for word in ("nonsense", "a/b/c", "../x", "a/..", "http://127.0.0.1:1/", "http://127.0.0.1:1/a/%2e%2e", "https://h/x/..", "ftp://h/x", "me/tiny@", ".a/b"):
    run(2, hub, word)
assert not os.path.exists("models/tiny")
clean()
print("ok refusals", "%.1f s" % (time.monotonic() - BEGUN))

# --- hostile and malformed replies: exit 3, nothing written ---
entry = {"type": "file", "oid": "0" * 40, "size": 3, "path": "config.json"}
for bad in ("../x", "/etc/x", "a/../../x", "a//b", ".", "a\\..\\b", "x\u0001y", "a/./b", "", "n" * 300, "nul\u0000", "a/"):
    hub = Hub({"me/tiny": small}, listing=json.dumps([entry, {**entry, "path": bad}]))
    assert "below one folder" in run(3, hub, "me/tiny"), bad
for bad in ("", "{", "[", "{}", "[1]", '"x"', "[[]]", json.dumps([{**entry, "size": -1}]), json.dumps([{**entry, "size": 1e300}]), json.dumps([{**entry, "oid": "x"}]), json.dumps([{**entry, "path": 3}]),
            json.dumps([entry, entry]), json.dumps([{**entry, "lfs": {"oid": "abc", "size": 3}}]), b"\xff\xfe", json.dumps([{**entry, "size": "3"}]), "[" * 5000):
    hub = Hub({"me/tiny": small}, listing=bad)
    run(3, hub, "me/tiny")
hub = Hub({"me/tiny": small}, info={"sha": "../../etc"})
run(3, hub, "me/tiny")
hub = Hub({"me/tiny": {**small, "model.safetensors.index.json": b'{"weight_map": {"t": "../../x"}}'}})
del hub.repos["me/tiny"]["model.safetensors"]
assert "does not hold" in run(3, hub, "me/tiny")
assert not os.path.exists("models")
print("ok hostile", "%.1f s" % (time.monotonic() - BEGUN))

# --- licences ---
clean()
for info, shown in (({"cardData": None}, "none is stated"), ({"cardData": {"license": "other", "license_name": "my-terms", "license_link": "https://x/y\u001b[1m"}}, "my-terms, https://x/y?[1m"),
                    ({"gated": "manual"}, "gated"), ({"cardData": {"license": ["cc-by-nc-4.0"]}}, "cc-by-nc-4.0")):
    hub = Hub({"me/tiny": small}, info=info)
    assert shown in run(2, hub, "me/tiny") and not os.path.exists("models")
assert "licence  mit" in run(0, Hub({"me/tiny": small}, info={"cardData": None, "tags": ["x", "license:mit"]}), "me/tiny", "--dry-run")
run(0, hub, "me/tiny", "--accept-licence")
assert json.load(open("models/tiny/fetch.json"))["accepted"] is True
print("ok licences", "%.1f s" % (time.monotonic() - BEGUN))

# --- data sets, presets, adapters, patterns, plain URLs ---
clean()
lines = b'{"prompt": {"text": "a demonstrative text"}}\n' * 9
adapter = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"xyz", "pytorch_model.bin": b"value head"}
hub = Hub({"datasets/allenai/real-toxicity-prompts": {"prompts.jsonl": lines, "README.md": b"card", "other.jsonl": b"{}"}, "datasets/me/texts": {"d/a b#c.csv": b"text\nx\n", "e/f.txt": b"", "g.parquet": b""},
           "DanielSc4/falcon-7b-instruct-RL-LoRA-8bit-test1": adapter, "me/lora": adapter, "me/both": small, "raw": {"t/texts.csv": b"text\none\n" * 50000}})
said = run(0, hub, "realtoxicityprompts", "falcon-7b-rl", "datasets/me/texts")
assert "data.prompts=data/RealToxicityPrompts/prompts.jsonl" in said and "hateful" in said, said
same("data/RealToxicityPrompts", {"prompts.jsonl": lines, "README.md": b"card"})
same("models/falcon-7b-instruct-RL-LoRA-8bit-test1", {k: v for k, v in adapter.items() if k[0] == "a"})
same("data/texts", {"d/a b#c.csv": b"text\nx\n", "e/f.txt": b""})
run(0, hub, "me/lora")
same("models/lora", {k: v for k, v in adapter.items() if k[0] == "a"})
run(0, hub, "datasets/me/texts", "--include", '["g.*"]', "--to", "other")
same("other/texts", {"g.parquet": b""})
hub.repos["datasets/me/odd"] = {"fetch.json": b"{}"}
assert "taken by fetch" in run(3, hub, "datasets/me/odd", "--include", '["*"]')
assert "both become" in run(2, hub, "me/lora", "you/lora")
conan = "marcoguerini/CONAN/17d4b9ed3fd56a1b6c9be87b30618872f536396d/DIALOCONAN/DIALOCONAN.csv"
hub.repos["raw"][conan] = b"text,dialogue_id\n"
assert "research" in run(2, hub, "dialoconan")
assert "expected SHA-256 19f1c7fc" in run(3, hub, "dialoconan", "--accept-licence")
original = os.environ.get("DTX_SHARED", "") + "/data/dialoconan/DIALOCONAN.csv"
if os.path.exists(original):
    hub.repos["raw"][conan] = open(original, "rb").read()
    assert "data.dialogues=data/DIALOCONAN/DIALOCONAN.csv" in run(0, hub, "dialoconan", "--accept-licence")
texts, url = hub.repos["raw"]["t/texts.csv"], hub.url + "/raw/t/texts.csv"
run(0, hub, url + "?key=hf_S3CRET", "--to", "plain", HF_TOKEN=TOKEN)  # the server asserts that it gets no token
record = same("plain/texts", {"texts.csv": texts})
assert record["source"] == url and "commit" not in record
run(0, hub, url, "--to", "plain", "--sha256", sha256(texts))
hub.fault = lambda q, path: q.command == "HEAD" and (q.reply(501), True)[1]  # a server that does not tell sizes
run(0, hub, url, "--to", "no-head")
same("no-head/texts", {"texts.csv": texts})
hub.fault = lambda q, path: False
assert "expected SHA-256" in run(3, hub, url, "--to", "wrong", "--sha256", sha256(b""))
run(2, hub, url, "me/lora", "--sha256", sha256(texts))
assert "HTTP status 404" in run(4, hub, hub.url + "/api/models/me/absent", "--to", "absent")
print("ok data", "%.1f s" % (time.monotonic() - BEGUN))

# --- a plain URL that changes between two runs: no mixture, with and without a mark of its version, or where it is told alone ---
for etag in (True, False, "alone"):
    clean()
    old, new = rng.randbytes(2000000), rng.randbytes(2000000)
    hub = Hub({"raw": {"t/blob.csv": old}}, delay=.02, etag=etag)
    url = hub.url + "/raw/t/blob.csv"
    for change in (False, True):
        child = subprocess.Popen(command(hub, url), env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        n, part = len(hub.firsts.get("t/blob.csv", [])), "data/blob.part/blob.csv.url.part"
        while child.poll() is None and not (len(hub.firsts.get("t/blob.csv", [])) > n and os.path.exists(part) and os.path.getsize(part) > 0):
            time.sleep(.005)
        child.kill()
        child.wait()
        if change:
            hub.repos["raw"]["t/blob.csv"] = new
    assert (hub.firsts["t/blob.csv"][1] > 0) == bool(etag)
    hub.delay = 0
    run(0, hub, url)
    same("data/blob", {"blob.csv": new})
print("ok changes", "%.1f s" % (time.monotonic() - BEGUN))

# --- disks: too small to begin with, full on the way ---
clean()
hub = Hub({"me/big": sharded})
os.makedirs("disk")
if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", "disk"], stderr=subprocess.DEVNULL).returncode == 0:
    try:
        assert "are needed on this file system" in run(4, hub, "me/big", "--to", "disk") and not os.listdir("disk")
        subprocess.run(["mount", "-o", "remount,size=5m", "disk"], check=True)

        def fill(q, path):
            if path.endswith("00001-of-00005.safetensors") and not os.path.exists("disk/ballast"):
                with open("disk/ballast", "wb") as f:
                    f.write(bytes(3500000))
            return False

        hub.fault = fill
        assert "make room" in run(4, hub, "me/big", "--to", "disk", "--parallel", "1") and not os.path.exists("disk/big")
        os.remove("disk/ballast")
        hub.fault = lambda q, path: False
        run(0, hub, "me/big", "--to", "disk")
        same("disk/big", sharded)
    finally:
        subprocess.run(["umount", "disk"])
else:
    print("left out: no tmpfs can be mounted here, so a full disk is not tested")
print("ok disks", "%.1f s" % (time.monotonic() - BEGUN))

# --- the token stands in no file ---
for d, _, names in os.walk("."):
    for name in names:
        with open(os.path.join(d, name), "rb") as f:
            assert b"S3CRET" not in f.read(), (d, name)
print("ok token", "%.1f s" % (time.monotonic() - BEGUN))
