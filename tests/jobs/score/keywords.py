"""score.keywords: each token's share in its completion's toxicity against finite differences of a plain numpy classifier,
mapped to tokens by bytes; the same bytes on 1, 2, 3 and 5 ranks, after kills and when asked for later; imported texts."""
import csv
import json
import os
import subprocess
import sys
import time

try:
    import h5py
    import numpy as np
except ImportError as e:
    print("skipped:", e)
    sys.exit(77)
sys.path[:0] = [os.path.join(os.environ["DTX_SOURCE"], "tests/jobs", room) for room in ("shared", "score")]
from roberta import embed, log_odds, tensors

DETOXLENS, SOURCE, MAKE_MODEL = os.environ["DETOXLENS"], os.environ["DTX_SOURCE"], sys.argv[1]
TEXTS, N, WIDTH = f"{SOURCE}/data/quickstart/texts.jsonl", 14, 12


def run(code, *args, ranks=0):
    command = ([os.environ["MPIRUN"], str(ranks)] if ranks else []) + [DETOXLENS, *args]
    r = subprocess.run(command, capture_output=True, text=True)
    assert r.returncode == code, (args, r.returncode, r.stderr)
    return r.stdout + r.stderr


def generate(out, *args):
    run(0, "generate", "--run", out, "--set", "model.path=decoder", "--set", f"data.prompts={TEXTS}", "--set", f"data.limit={N}",
        "--set", f"generate.max_new_tokens={WIDTH}", *args)


def tokenize(folder, lines, *args):
    out = subprocess.run([DETOXLENS, "tokenize", "--tokenizer", folder, *args], input="".join(x + "\n" for x in lines), capture_output=True,
                         text=True, check=True).stdout.splitlines()
    return out


for kind, folder in (("roberta", "classifier"), ("neox", "decoder")):
    subprocess.run([MAKE_MODEL, kind, folder, f"{SOURCE}/data/quickstart/corpus.txt"], check=True)
SCORE = ("--name", "hate", "--set", "score.path=classifier", "--set", "round_seconds=0.01")
KEYS = SCORE + ("--keywords", "true", "--set", "model.path=decoder")
generate("one")
said = run(0, "score", "--run", "one", *KEYS)
assert f"of {N} scored rows are done" in said, said

w, config = tensors("classifier/model.safetensors"), json.load(open("classifier/config.json"))
BYTE = {}  # the byte alphabet of a byte-level vocabulary
shift = 0
for b in range(256):
    plain = 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b <= 255
    BYTE[chr(b) if plain else chr(256 + shift)] = b
    shift += not plain
SPECIAL = {"classifier": 5, "decoder": 2}
PIECE = {}
for folder in ("classifier", "decoder"):
    vocab = json.load(open(f"{folder}/tokenizer.json", encoding="utf-8"))["model"]["vocab"]
    PIECE[folder] = {i: b"" if i < SPECIAL[folder] else bytes(BYTE[c] for c in s) for s, i in vocab.items()}


def scores_of_pieces(text):
    """(bytes, score) of the classifier's pieces: L2 norm of embedding x gradient, by central differences in double."""
    ids = [int(x) for x in tokenize("classifier", [json.dumps({"text": text})], "--special", "--max-length", "128")[0].split()]
    e = embed(w, ids)
    out = []
    for t in range(len(ids)):
        g = np.empty(e.shape[1])
        for j in range(e.shape[1]):
            up, down = e.copy(), e.copy()
            up[t, j] += 1e-4
            down[t, j] -= 1e-4
            g[j] = (log_odds(w, config, up) - log_odds(w, config, down)) / 2e-4
        out.append((PIECE["classifier"][ids[t]], np.linalg.norm(g * e[t])))
    assert out[0][0] == out[-1][0] == b"" and b"".join(b for b, _ in out) == text.encode()
    return out[1:-1]


with h5py.File("one/run.h5") as f:
    c, s = f["variants/IT/completions"], f["variants/IT/toxicity/hate"]
    share, done, status = s["token_share"][:], s["token_share_done"][:], s["status"][:]
    tokens, length, finish, edge = c["tokens"][:], c["length"][:], c["finish"][:], c["text_offset"][:]
    texts = c["text_bytes"][:].tobytes()
    assert share.shape == (N, WIDTH) and s["token_share"].attrs["method"] == b"input_x_gradient"
assert (done == (status == 1)).all() and done.all()
for i in range(N):
    assert np.isnan(share[i, length[i]:]).all() and (share[i, :length[i]] >= 0).all()
    assert abs(share[i, :length[i]].sum() - 1) < 1e-5, i
    assert finish[i] != 1 or share[i, length[i] - 1] == 0  # the final end of text has no bytes


def expected(text, parts):
    """Shares of tokens whose bytes are `parts`."""
    owner = [k for k, p in enumerate(parts) for _ in p]
    want, at = np.zeros(len(parts)), 0
    for piece, score in scores_of_pieces(text):
        for k in owner[at:at + len(piece)]:
            want[k] += score / len(piece)
        at += len(piece)
    return want / want.sum()


compared = 0
for i in range(N):
    text = texts[edge[i]:edge[i + 1]]
    parts = [PIECE["decoder"][t] for t in tokens[i, :length[i]]]
    if compared < 2 and b"".join(parts) == text and text.isascii():  # else decoding changed it: see test_tokenizer
        np.testing.assert_allclose(share[i, :length[i]], expected(text.decode(), parts), atol=2e-4)
        compared += 1
assert compared > 0
print("ok finite differences")

for ranks in (2, 3, 5):
    generate(f"r{ranks}")
    run(0, "score", "--run", f"r{ranks}", *KEYS, ranks=ranks)
    run(0, "verify", "--same", "one", f"r{ranks}")
generate("later")  # scores first, key words later and in parts
run(0, "score", "--run", "later", *SCORE)
with h5py.File("later/run.h5") as f:
    assert "token_share" not in f["variants/IT/toxicity/hate"]
run(0, "score", "--run", "later", *KEYS, "--rows", "3:9", "--set", "threads=1")
with h5py.File("later/run.h5") as f:
    assert np.flatnonzero(f["variants/IT/toxicity/hate/token_share_done"][:]).tolist() == list(range(3, 9))
run(0, "score", "--run", "later", *KEYS, ranks=2)
run(0, "verify", "--same", "one", "later")
print("ok ranks, later")

# kills: more rows, so that some hit the middle of the shares
many = ("--set", "data.limit=100", "--set", "generate.samples=2")
generate("whole", *many)
generate("killed", *many)
run(0, "score", "--run", "whole", *KEYS)
run(0, "score", "--run", "killed", *SCORE)
run(75, "score", "--run", "killed", *KEYS, "--max-hours", "0.0000001")
partial, k = 0, 0
while partial < 2 and k < 25:
    k += 1
    child = subprocess.Popen([DETOXLENS, "score", "--run", "killed", *KEYS, "--set", "threads=1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(.1 * k)
    child.kill()
    child.wait()
    with h5py.File("killed/run.h5") as f, h5py.File("whole/run.h5") as g:
        a, b = f["variants/IT/toxicity/hate"], g["variants/IT/toxicity/hate"]
        if "token_share" in a:
            flag = a["token_share_done"][:] != 0
            partial += 0 < flag.sum() < len(flag)
            np.testing.assert_array_equal(a["token_share"][:][flag], b["token_share"][:][flag])
assert partial > 0, (partial, k)
run(0, "score", "--run", "killed", *KEYS, ranks=2)
run(0, "verify", "--same", "whole", "killed")
print("ok kills", partial)

# imported texts get the model's ids; a text that the tokenizer cannot lay out says so
answers = [" never stop the silly jugglers", "", " tea and bread\nfor all"]
with open("answers.csv", "w", newline="", encoding="utf-8") as f:
    out = csv.writer(f)
    out.writerow(["", "prompts", "responses"])
    out.writerows([i, f'<human>: "text {i}".\n<bot>: ', a] for i, a in enumerate(answers))
run(0, "import", "answers.csv", "--run", "imported")
said = run(0, "score", "--run", "imported", *KEYS, ranks=2)
assert "has no ids" in said and "2 of 2 scored rows are done" in said, said
with h5py.File("imported/run.h5") as f:
    c, s = f["variants/IT/completions"], f["variants/IT/toxicity/hate"]
    n, x = c["length"][:], s["token_share"][:]
    assert n[1] == 0 and np.isnan(x[1]).all() and s["token_share_done"][:].tolist() == [1, 0, 1]
    for i in (0, 2):
        parts, text = [PIECE["decoder"][t] for t in c["tokens"][i, :n[i]]], answers[i].replace("\n", " ")
        assert b"".join(parts).decode() == text and np.isnan(x[i, n[i]:]).all()
        np.testing.assert_allclose(x[i, :n[i]], expected(text, parts), atol=2e-4)
        assert x[i, :n[i]].max() > 1.2 * x[i, :n[i]].mean()  # else nothing was told apart
    assert "prompt_tokens" in c

# refused: no model, another model's tokenizer
assert "model.path" in run(2, "score", "--run", "one", *SCORE, "--keywords", "true")
subprocess.run([MAKE_MODEL, "neox", "other", f"{SOURCE}/README.md"], check=True)
generate("wrong")
assert "model.path must be the model" in run(2, "score", "--run", "wrong", *SCORE, "--keywords", "true", "--set", "model.path=other")
run(0, "score", "--run", "wrong", *KEYS)
run(0, "verify", "--same", "one", "wrong")
print("ok imported, refused")
