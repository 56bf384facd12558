"""detoxlens tokenize on the reference texts of the three published tokenizers: ids and decodings equal, through the
command line. Skips where the reference values are absent."""
import json
import os
import subprocess
import sys

golden = os.path.join(os.environ["DTX_SHARED"], "golden", "tokenizers")
if not os.path.isdir(golden):
    print("no reference values at", golden)
    sys.exit(77)


def run(model, lines, *args):
    """Output lines of the program, given input lines."""
    p = subprocess.run(
        [os.environ["DETOXLENS"], "tokenize", "--tokenizer", os.path.join(golden, model), *args],
        input="".join(line + "\n" for line in lines).encode(), stdout=subprocess.PIPE, check=True)
    out = p.stdout.decode().split("\n")
    assert out.pop() == ""
    assert len(out) == len(lines), (len(out), len(lines))
    return out


def read(model, name):
    with open(os.path.join(golden, model, name), encoding="utf-8", newline="\n") as f:
        return [line.rstrip("\n") for line in f.read().split("\n") if line]


checked = 0
for model in ("gpt-neox-20b", "falcon-7b", "roberta-base"):
    lines = read(model, "expected.jsonl")
    rows = [json.loads(line) for line in lines]
    ids = [" ".join(map(str, r["ids"])) for r in rows]
    assert run(model, lines) == ids, model
    assert [json.loads(x) for x in run(model, lines, "--json")] == [r["ids"] for r in rows], model
    for args, key in (((), "decoded"), (("--skip-special",), "decoded_skip_special"), (("--clean-up",), "decoded_clean")):
        texts = [json.loads(x)["text"] for x in run(model, ids, "--decode", *args)]
        assert texts == [r.get(key, r["decoded"]) for r in rows], (model, key)
    cases = {}
    for line in read(model, "special.jsonl"):
        r = json.loads(line)
        if r["kind"] != "batch_max_length":
            args = ["--special"] if r["add_special_tokens"] else []
            args += ["--pair"] if "pair" in r else []
            args += ["--max-length", str(r["max_length"])] if "max_length" in r else []
            cases.setdefault(tuple(args), []).append(line)
    for args, lines in cases.items():
        want = [json.loads(line)["ids"] for line in lines]
        assert [json.loads(x) for x in run(model, lines, "--json", *args)] == want, (model, args)
        checked += len(lines)
    checked += 5 * len(rows)
print(checked, "command-line results equal the reference")
