"""detoxlens tokenize on reference texts: ids and decodings equal, through the command line. The tokenizer of tests/golden, and
the three published ones in DTX_SHARED/golden where they are there."""
import json
import os
import subprocess

OWN = os.path.join(os.environ["DTX_SOURCE"], "tests", "golden", "tokenizers")
SHARED = os.path.join(os.environ["DTX_SHARED"], "golden", "tokenizers")


def run(folder, lines, *args):
    """Output lines of the program, given input lines."""
    p = subprocess.run(
        [os.environ["DETOXLENS"], "tokenize", "--tokenizer", folder, *args],
        input="".join(line + "\n" for line in lines).encode(), stdout=subprocess.PIPE, check=True)
    out = p.stdout.decode().split("\n")
    assert out.pop() == ""
    assert len(out) == len(lines), (len(out), len(lines))
    return out


def read(folder, name):
    with open(os.path.join(folder, name), encoding="utf-8", newline="\n") as f:
        return [line.rstrip("\n") for line in f.read().split("\n") if line]


def encoded(folder, lines, *args):
    return [json.loads(x) for x in run(folder, lines, "--json", *args)]


def decoded(folder, ids, *args):
    return [json.loads(x)["text"] for x in run(folder, [" ".join(map(str, i)) for i in ids], "--decode", *args)]


checked = 0
for name in sorted(os.listdir(OWN)):
    folder = os.path.join(OWN, name)
    lines = read(folder, "expected.jsonl")
    rows = [json.loads(line) for line in lines]
    assert len(rows) >= 50
    assert encoded(folder, lines) == [r["ids"] for r in rows], name
    assert encoded(folder, lines, "--special") == [r["with_special"] for r in rows], name
    pairs = read(folder, "pairs.jsonl")
    assert encoded(folder, pairs, "--special", "--pair") == [json.loads(line)["ids"] for line in pairs], name
    for args, ids, key in (((), "ids", "decoded"), (("--skip-special",), "with_special", "decoded_skip_special")):
        assert decoded(folder, [r[ids] for r in rows], *args) == [r.get(key, r["decoded"]) for r in rows], (name, key)
    extra = [json.loads(line) for line in read(folder, "decode.jsonl")]
    for args, key in (((), "decoded"), (("--skip-special",), "decoded_skip_special")):
        assert decoded(folder, [r["ids"] for r in extra], *args) == [r[key] for r in extra], (name, key)
    checked += 4 * len(rows) + 2 * len(extra) + len(pairs)

for name in ("gpt-neox-20b", "falcon-7b", "roberta-base") if os.path.isdir(SHARED) else ():
    folder = os.path.join(SHARED, name)
    lines = read(folder, "expected.jsonl")
    rows = [json.loads(line) for line in lines]
    ids = [" ".join(map(str, r["ids"])) for r in rows]
    assert run(folder, lines) == ids, name
    assert encoded(folder, lines) == [r["ids"] for r in rows], name
    for args, key in (((), "decoded"), (("--skip-special",), "decoded_skip_special"), (("--clean-up",), "decoded_clean")):
        assert decoded(folder, [r["ids"] for r in rows], *args) == [r.get(key, r["decoded"]) for r in rows], (name, key)
    cases = {}
    for line in read(folder, "special.jsonl"):
        r = json.loads(line)
        if r["kind"] != "batch_max_length":
            args = ["--special"] if r["add_special_tokens"] else []
            args += ["--pair"] if "pair" in r else []
            args += ["--max-length", str(r["max_length"])] if "max_length" in r else []
            cases.setdefault(tuple(args), []).append(line)
    for args, lines in cases.items():
        assert encoded(folder, lines, *args) == [json.loads(line)["ids"] for line in lines], (name, args)
        checked += len(lines)
    checked += 5 * len(rows)
if not os.path.isdir(SHARED):
    print("no further reference values at", SHARED)
print(checked, "command-line results equal the reference")
