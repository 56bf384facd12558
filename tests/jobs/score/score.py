"""detoxlens score with a local classifier: scores against a plain numpy forward pass, the same bytes on 1, 2, 3 and 5 ranks
and after kills, stops and partial rows; what has no score; what is refused."""
import csv
import json
import os
import random
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
from roberta import classify, tensors

DETOXLENS, SOURCE, MAKE_MODEL = os.environ["DETOXLENS"], os.environ["DTX_SOURCE"], sys.argv[1]
WORDS = "tea bread river cyclists jugglers never stop silly kind hopeless people good friends of the market".split()
N = 60


def run(code, *args, ranks=0):
    command = ([os.environ["MPIRUN"], str(ranks)] if ranks else []) + [DETOXLENS, *args]
    r = subprocess.run(command, capture_output=True, text=True)
    assert r.returncode == code, (args, r.returncode, r.stderr)
    return r.stdout + r.stderr


def texts():
    rng = random.Random(3)
    prompts = [f"{i} " + " ".join(rng.choices(WORDS, k=rng.randint(1, 25))) for i in range(N)]
    answers = [" " + " ".join(rng.choices(WORDS, k=rng.randint(1, 40))) for i in range(N)]
    answers[4], answers[7], answers[9] = "", " \n ", " \u4e16\u754c caf\u00e9"
    answers[11] = " never stop" * 200  # longer than the classifier reads
    return prompts, answers


def make(run_dir, prompts, answers):
    with open("answers.csv", "w", newline="", encoding="utf-8") as f:
        w = csv.writer(f)
        w.writerow(["", "prompts", "responses"])
        w.writerows([i, f'<human>: "{p}".\n<bot>: ', a] for i, (p, a) in enumerate(zip(prompts, answers)))
    run(0, "import", "answers.csv", "--run", run_dir)


def oracle(all_texts):
    lines = "".join(json.dumps({"text": t}) + "\n" for t in all_texts)
    out = subprocess.run([DETOXLENS, "tokenize", "--tokenizer", "classifier", "--special", "--max-length", "128"], input=lines, capture_output=True,
                         text=True, check=True).stdout.splitlines()
    w, config = tensors("classifier/model.safetensors"), json.load(open("classifier/config.json"))
    return np.array([classify(w, config, list(map(int, line.split()))) for line in out])


SET = ("--set", "score.path=classifier")
subprocess.run([MAKE_MODEL, "roberta", "classifier", f"{SOURCE}/data/quickstart/corpus.txt"], check=True)
prompts, answers = texts()
make("one", prompts, answers)
said = run(0, "score", "--run", "one", "--name", "hate", *SET)
assert "60 of 60 rows are done: 58 scored, 2 empty" in said, said
with h5py.File("one/run.h5") as f:
    g = f["variants/IT/toxicity/hate"]
    c, p, s = g["completion"][:], g["prompt"][:], g["status"][:]
    assert g.attrs["measure"] == b"hate" and g.attrs["scorer"] == b"local" and len(g.attrs["weights_fingerprint"]) == 64
assert s.tolist() == [2 if i in (4, 7) else 1 for i in range(N)] and np.isnan(c[[4, 7]]).all() and np.isfinite(p).all()
there = [i for i in range(N) if i not in (4, 7)]
np.testing.assert_allclose(c[there], oracle([answers[i] for i in there]), atol=2e-6)
np.testing.assert_allclose(p, oracle([f'<human>: "{t}".\n<bot>: ' for t in prompts]), atol=2e-6)
assert c[there].std() > .01 and p.std() > .001  # else nothing was compared
print("ok numpy")

for ranks in (2, 3, 5):
    make(f"r{ranks}", prompts, answers)
    run(0, "score", "--run", f"r{ranks}", "--name", "hate", *SET, "--set", "round_seconds=0.01", ranks=ranks)
    run(0, "verify", "--same", "one/run.h5", f"r{ranks}/run.h5")
make("part", prompts, answers)
run(0, "score", "--run", "part", "--name", "hate", *SET, "--rows", "20:40", "--set", "threads=2")
with h5py.File("part/run.h5") as f:
    assert np.flatnonzero(f["variants/IT/toxicity/hate/status"][:]).tolist() == list(range(20, 40))
run(75, "score", "--run", "part", "--name", "hate", *SET, "--max-hours", "0.0000001")
run(0, "score", "--run", "part", "--name", "hate", *SET, ranks=2)
run(0, "verify", "--same", "one/run.h5", "part/run.h5")
print("ok ranks")

# kills: longer work, so that some hit its middle
many = [p + " " + a for p, a in zip(prompts, answers)] * 12
many_prompts = [f"{i} {t}" for i, t in enumerate(many)]
make("whole", many_prompts, many)
run(0, "score", "--run", "whole", *SET)
make("killed", many_prompts, many)
hits, partial, k = 0, 0, 0
while partial < 2 and k < 20:  # ever later, until two kills came between the first and the last row
    k += 1
    child = subprocess.Popen([DETOXLENS, "score", "--run", "killed", *SET, "--set", "round_seconds=0.01", "--set", "threads=1"], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    time.sleep(.2 * k)
    hits += child.poll() is None
    child.kill()
    child.wait()
    with h5py.File("killed/run.h5") as f, h5py.File("whole/run.h5") as w:
        if "variants/IT/toxicity/local" in f:
            a, b = f["variants/IT/toxicity/local"], w["variants/IT/toxicity/local"]
            done = a["status"][:] != 0
            partial += 0 < done.sum() < len(done)
            np.testing.assert_array_equal(a["completion"][:][done], b["completion"][:][done])
assert hits > 0 and partial > 0, (hits, partial)
run(0, "score", "--run", "killed", *SET, ranks=2)
run(0, "verify", "--same", "whole/run.h5", "killed/run.h5")
print("ok kills", hits, partial)

# settings, other sets beside, --redo, --dry-run
run(0, "score", "--run", "one", "--name", "plain", *SET, "--prompts", "text", "--attributes", '["nothate"]')
with h5py.File("one/run.h5") as f:
    q = f["variants/IT/toxicity/plain"]
    np.testing.assert_allclose(q["completion"][:][there], 1 - c[there], atol=1e-6)
    np.testing.assert_allclose(q["prompt"][:], 1 - oracle(prompts), atol=2e-6)
run(0, "score", "--run", "one", "--name", "bare", *SET, "--prompts", "none")
with h5py.File("one/run.h5") as f:
    assert np.isnan(f["variants/IT/toxicity/bare/prompt"][:]).all()
assert "prompts is templated there" in run(2, "score", "--run", "one", "--name", "hate", *SET, "--prompts", "none")
assert "measure" in run(2, "score", "--run", "one", "--name", "hate", *SET, "--attributes", '["nothate"]')
assert "discarding" in run(0, "score", "--run", "one", "--name", "hate", *SET, "--prompts", "none", "--redo")
with open("scored.csv", "w", newline="", encoding="utf-8") as f:
    csv.writer(f).writerows([["", "prompts", "responses", "pro_API_response_score"]] + [[i, p, "x", .5] for i, p in enumerate(prompts)])
run(0, "import", "scored.csv", "--run", "one", "--variant", "FT")
assert "scorer is imported there" in run(2, "score", "--run", "one", "--variant", "FT", "--name", "perspective", *SET)
before = open("one/run.h5", "rb").read()
assert "rows               60" in run(0, "score", "--run", "one", "--name", "new", *SET, "--dry-run")
assert open("one/run.h5", "rb").read() == before
run(4, "score", "--run", "one", "--variant", "XX", *SET)
run(2, "score", "--run", "one")
run(4, "score", "--run", "one", "--set", "score.path=nowhere")
run(2, "score", "--run", "one", *SET, "--attributes", '["TOXICITY"]')
run(2, "score", "--run", "one", *SET, "--rows", "70:80", "--name", "x")
subprocess.run([MAKE_MODEL, "neox", "decoder", f"{SOURCE}/data/quickstart/corpus.txt"], check=True)
assert "no classifier" in run(3, "score", "--run", "one", "--set", "score.path=decoder")
run(0, "report", "--run", "one", "--set", "score.name=hate")
with open("one/report/table1.csv", newline="") as f:
    row = next(csv.DictReader(f))
assert row["scored"] == "58" and row["share_all"] == f"{(c[there] > .5).sum() / N:.4f}", row
print("ok settings")
