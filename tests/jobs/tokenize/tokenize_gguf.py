"""detoxlens tokenize on tokenizers out of GGUF files: ids with and without special tokens equal llama.cpp's (golden/gguf), through the
command line. Skips where the reference values are absent."""
import json
import lzma
import os
import shutil
import subprocess
import sys

golden = os.path.join(os.environ["DTX_SHARED"], "golden", "gguf")
if not os.path.isdir(golden):
    print("no reference values at", golden)
    sys.exit(77)
bad = checked = 0


def run(file, lines, *args):
    p = subprocess.run([os.environ["DETOXLENS"], "tokenize", "--tokenizer", file, "--json", *args],
                       input="".join(json.dumps(line) + "\n" for line in lines).encode(), stdout=subprocess.PIPE, check=True)
    return [json.loads(x) for x in p.stdout.decode().split("\n") if x]


def check(file, expected):
    global bad, checked
    with open(expected, encoding="utf-8") as f:
        rows = [json.loads(line) for line in f.read().split("\n") if line]
    texts = [{"text": r["text"]} for r in rows]
    for key, args in (("ids", ()), ("with_special", ("--special",))):
        for row, ids in zip(rows, run(file, texts, *args)):
            checked += 1
            if key in row and ids != row[key]:
                bad += 1
                print("DIFFERS:", file, key, json.dumps(row["text"]), "\n  got ", ids[:60], "\n  want", row[key][:60])


for model in sorted(os.listdir(os.path.join(golden, "models"))):
    folder = os.path.join(golden, "models", model)
    if os.path.exists(os.path.join(folder, "expected", "tokenizer.jsonl")):
        check(os.path.join(folder, "Q8_0.gguf"), os.path.join(folder, "expected", "tokenizer.jsonl"))
for name in sorted(os.listdir(os.path.join(golden, "tokenizer"))):
    if name.endswith(".gguf.xz"):
        with lzma.open(os.path.join(golden, "tokenizer", name)) as f, open("t.gguf", "wb") as out:
            shutil.copyfileobj(f, out)
        check("t.gguf", os.path.join(golden, "tokenizer", name[:-8] + ".jsonl"))
print(checked, "texts,", bad, "differ")
sys.exit(1 if bad or not checked else 0)
