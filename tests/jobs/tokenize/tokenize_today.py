"""detoxlens tokenize on the tokenizers of today's models (golden/tokenizers-today): ids with and without special tokens, pairs,
decodings and streams equal the reference's, through the command line. Skips where the reference values are absent.
Arguments: names of folders to look at; without one, all."""
import json
import lzma
import os
import shutil
import subprocess
import sys
import zlib

golden = os.path.join(os.environ["DTX_SHARED"], "golden", "tokenizers-today")
if not os.path.isdir(golden):
    print("no reference values at", golden)
    sys.exit(77)


def unpack(folder):
    """A folder with the tokenizer's files, decompressed."""
    to = os.path.join("t", os.path.basename(folder))
    os.makedirs(to)
    for name in os.listdir(folder):
        source = os.path.join(folder, name)
        if name.endswith(".json.xz"):
            with lzma.open(source) as f, open(os.path.join(to, name[:-3]), "wb") as out:
                shutil.copyfileobj(f, out)
        elif name.endswith(".json"):
            shutil.copy(source, to)
    return to


def run(folder, lines, *args):
    p = subprocess.run([os.environ["DETOXLENS"], "tokenize", "--tokenizer", folder, *args],
                       input="".join(line + "\n" for line in lines).encode(), stdout=subprocess.PIPE, check=True)
    out = p.stdout.decode().split("\n")
    assert out.pop() == ""
    assert len(out) == len(lines), (len(out), len(lines))
    return [json.loads(x) for x in out]


def read(folder, name):
    with open(os.path.join(folder, name), encoding="utf-8", newline="\n") as f:
        return [json.loads(line) for line in f.read().split("\n") if line]


def text_of(row):
    return "".join(piece * times for piece, times in row["long"]) if "long" in row else row["text"]


def numbers(ids):
    return b"".join(i.to_bytes(4, "little") for i in ids)


bad = []


def same(what, got, want):
    if got != want:
        bad.append(what)
        print("DIFFERS:", *what, "\n  got ", str(got)[:300], "\n  want", str(want)[:300])


def check_stream(folder, row, parts, byte_tokens):
    """Ours never takes back, so it waits for the end of a run of byte tokens; where the reference does not, ours is later, never
    different."""
    ids, text = row["ids"], row["decoded"]
    same((folder, "stream adds up", ids), "".join(p or "" for p in parts), text)
    if row.get("stream_error"):
        return
    theirs = row["stream"]
    so_far, ref = "", ""
    for i, want in enumerate(theirs):
        so_far, ref = so_far + (parts[i] or ""), ref + (want or "")
        if ids[i] not in byte_tokens:
            same((folder, "stream", ids, i), so_far, ref)
        elif not ref.startswith(so_far):
            same((folder, "stream of bytes", ids, i), so_far, ref)


def check(folder):
    own = unpack(folder)
    with open(os.path.join(own, "tokenizer.json"), encoding="utf-8") as f:
        tokenizer = json.load(f)
    vocab = tokenizer["model"]["vocab"]
    pairs = vocab.items() if isinstance(vocab, dict) else [(v[0], i) for i, v in enumerate(vocab)]
    fallback = "ByteFallback" in json.dumps(tokenizer["decoder"])
    byte_tokens = {i for piece, i in pairs if len(piece) == 6 and piece.startswith("<0x")} if fallback else set()
    rows = read(folder, "expected.jsonl")
    lines = [json.dumps({"text": text_of(r)}) for r in rows]
    for row, ids in zip(rows, run(own, lines, "--json")):
        if "long" in row:
            same((folder, "long", row["long"]), (len(ids), zlib.crc32(numbers(ids))), (row["ids_n"], row["ids_crc"]))
        else:
            same((folder, row["text"]), ids, row["ids"])
    short = [r for r in rows if "text" in r]
    lines = [json.dumps({"text": r["text"]}) for r in short]
    for row, ids in zip(short, run(own, lines, "--json", "--special")):
        same((folder, "special", row["text"]), ids, row["with_special"])
    decode = read(folder, "decode.jsonl")
    for row, out in zip(short + decode, run(own, [str(r["ids"]) for r in short + decode], "--decode", "--stream")):
        same((folder, "decoded", row["ids"]), out["text"], row["decoded"])
        if "stream" in row or "stream_error" in row:
            check_stream(folder, row, out["stream"], byte_tokens)
        else:
            same((folder, "stream adds up", row["ids"]), "".join(p or "" for p in out["stream"]), out["text"])
    for key, list_ in (("with_special", short), ("ids", decode)):
        for row, out in zip(list_, run(own, [str(r[key]) for r in list_], "--decode", "--skip-special")):
            same((folder, "skip", row[key]), out["text"], row.get("decoded_skip_special", row["decoded"]))
    rows = read(folder, "pairs.jsonl")
    for row, ids in zip(rows, run(own, [json.dumps(r) for r in rows], "--json", "--special", "--pair")):
        same((folder, "pair", row["text"], row["pair"]), ids, row["ids"])
    shutil.rmtree(own)
    return len(short) + len(decode)


names = sys.argv[1:] or sorted(n for n in os.listdir(golden) if n not in ("small", "unicode")) + [
    os.path.join("small", n) for n in sorted(os.listdir(os.path.join(golden, "small")))]
checked = 0
for name in names:
    before = len(bad)
    try:
        checked += check(os.path.join(golden, name))
    except (subprocess.CalledProcessError, AssertionError) as e:
        bad.append((name, e))
        print("FAILED:", name, e)
    if len(bad) > before:
        print("==", name, len(bad) - before, "differ")
print(len(names), "tokenizers,", checked, "texts,", len(bad), "differ")
sys.exit(1 if bad else 0)
