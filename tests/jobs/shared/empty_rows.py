"""Rows that cost nothing, in every job that fills rows: several and all answers empty, one row alone, more ranks than rows.
The forecast is made of stored speeds, so that the hand-out of all units is played through: it once waited for ever for units
that cost nothing. The same bytes come out on 1 and on 3 ranks."""
import csv
import json
import os
import subprocess
import sys

try:
    import h5py
    import numpy as np
except ImportError as e:
    print("skipped:", e)
    sys.exit(77)

DETOXLENS, SOURCE, MAKE_MODEL = os.environ["DETOXLENS"], os.environ["DTX_SOURCE"], sys.argv[1]
os.environ["DETOXLENS_THREADS"] = "1"
SECONDS = 60  # a launch takes some tenths


def run(code, *args, ranks=1):
    r = subprocess.run([os.environ["MPIRUN"], str(ranks), DETOXLENS, *args], capture_output=True, text=True, timeout=SECONDS)
    assert r.returncode == code, (args, r.returncode, r.stderr)
    return r.stdout + r.stderr


for kind, folder in (("neox", "model"), ("roberta", "classifier")):
    subprocess.run([MAKE_MODEL, kind, folder, f"{SOURCE}/data/quickstart/corpus.txt"], check=True)
with open("speeds.json", "w") as f:  # no cost of a pass by itself: an empty row costs nothing at all
    json.dump({"bench": "layer", "threads": 1, "achieved": 1e10, "large": 1e10, "head": 1e10, "decode": 1e10, "decode_head": 1e10, "fixed": 0,
               "bandwidth": 0}, f)
COMMON = ("--set", "model.path=model", "--set", "plan.bench=speeds.json", "--set", "generate.max_new_tokens=6")
ANSWERS = {"several": ["", "good friends", "", "tea and bread", ""], "all": ["", "", ""], "single": [""]}
for name, answers in ANSWERS.items():
    with open(f"{name}.csv", "w", newline="", encoding="utf-8") as f:
        out = csv.writer(f)
        out.writerow(["", "prompts", "responses"])
        out.writerows([i, f'<human>: "text {i}".\n<bot>: ', a] for i, a in enumerate(answers))
    for ranks in (1, 3):
        at = f"{name}{ranks}"
        run(0, "import", f"{name}.csv", "--run", at, "--set", "model.path=model")
        said = run(0, "attribute", "--run", at, *COMMON, "--set", "attribute.check=2", "--set", "attribute.steps=2", ranks=ranks)
        assert f"{len(answers)} of {len(answers)} rows are done, the stage is complete" in said, said
        assert "forecast" in said and " nan " not in said, said
        said = run(0, "score", "--run", at, *COMMON, "--set", "score.path=classifier", "--keywords", "true", ranks=ranks)
        empty = sum(a == "" for a in answers)
        assert f"{len(answers)} of {len(answers)} rows are done: {len(answers) - empty} scored, {empty} empty" in said, said
    run(0, "verify", "--same", f"{name}1", f"{name}3")
    with h5py.File(f"{name}1/run.h5") as f:
        x = f["variants/IT/attribution/input_x_gradient"]
        assert x["done"][:].all() and [g == 0 for g in x["G"][:]] == [a == "" for a in answers]
        assert len(x["value"]) == (x["G"][:].astype(int) * x["T"][:]).sum()
        for i, a in enumerate(answers):
            assert a != "" or np.isnan(x["prompt_dependence"][i]).all()
run(0, "report", "--run", "all1")
print("ok imported")

# generated: one text, several samples, more ranks than rows, none left to do
texts = f"{SOURCE}/data/quickstart/texts.jsonl"
for ranks in (1, 3):
    at = f"own{ranks}"
    for job, more in (("generate", ("--set", f"data.prompts={texts}", "--set", "data.limit=1", "--set", "generate.samples=2")),
                      ("attribute", ()), ("score", ("--set", "score.path=classifier"))):
        run(0, job, "--run", at, *COMMON, *more, "--rows", "1:1", ranks=ranks)  # no rows: made, and nothing done
        run(0, job, "--run", at, *COMMON, *more, ranks=ranks)
run(0, "verify", "--same", "own1", "own3")
print("ok generated")
