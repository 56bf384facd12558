"""detoxlens verify RUN: rows of a run recomputed from the model; a changed value, another model or nothing to compare."""
import json
import os
import shutil
import subprocess
import sys

try:
    import h5py
except ImportError as e:
    print("skipped:", e)
    sys.exit(77)

DETOXLENS, SOURCE, MAKE_MODEL = os.environ["DETOXLENS"], os.environ["DTX_SOURCE"], sys.argv[1]
os.environ["DETOXLENS_THREADS"] = "1"  # many short launches
TEXTS = f"{SOURCE}/data/quickstart/texts.jsonl"
MODEL, FT = ("--set", "model.path=model"), ("--variant", "FT", "--set", "variants.FT.adapter=model/adapter")


def run(code, *args):
    r = subprocess.run([DETOXLENS, *args], capture_output=True, text=True)
    assert r.returncode == code, (args, r.returncode, r.stdout, r.stderr)
    return r.stdout, r.stderr


for kind, folder in (("neox", "model"), ("neox-seq", "other")):
    subprocess.run([MAKE_MODEL, kind, folder, f"{SOURCE}/data/quickstart/corpus.txt"], check=True)
for who in ((), FT):
    run(0, "generate", "--run", "out", *MODEL, "--set", f"data.prompts={TEXTS}", "--set", "data.limit=6", "--set",
        "generate.max_new_tokens=8", "--set", "generate.samples=2", *who)
    run(0, "attribute", "--run", "out", *MODEL, *who)
run(0, "attribute", "--run", "out", *MODEL, *FT, "--completions-of", "IT", "--set", "attribute.template_tokens=false")
run(0, "attribute", "--run", "out", *MODEL, *FT, "--method", "integrated_gradients", "--steps", "3", "--set", "attribute.norm=l1",
    "--set", "attribute.target=logprob", "--set", "attribute.baseline=<|endoftext|>", "--set", "attribute.eos=keep", "--rows", "1:3")
run(0, "attribute", "--run", "out", *MODEL, *FT, "--method", "saliency", "--set", "attribute.target=logit")


def verify(code, *args):
    out = [json.loads(x) for x in run(code, "verify", "--json", *MODEL, *args)[0].splitlines()]
    return {(x["set"].removeprefix("/variants/"), x["quantity"]): x for x in out}


before = open("out/run.h5", "rb").read()
it = verify(0, "out")
assert set(q for _, q in it) == {"logprob", "value", "step_probability", "entropy", "prompt_dependence"}, it
ft = verify(0, "out/run.h5", *FT, "--sample", "5")
assert ("FT/completions", "base_logprob") in ft and ("FT/attribution/saliency", "entropy") in ft
assert ("FT/attribution/input_x_gradient@IT", "value") in ft and ("FT/attribution/input_x_gradient@IT", "entropy") not in ft
assert ("FT/attribution/integrated_gradients", "value") in ft and all(x["equal"] for x in ft.values()) and all(x["values"] > 4 for x in ft.values())
assert open("out/run.h5", "rb").read() == before
assert "ok" in run(0, "verify", "out", *MODEL, "--rows", "2:3")[0]

for path, row, column in (("FT/completions/base_logprob", 5, 1), ("FT/attribution/saliency/entropy", 5, 0), ("FT/attribution/input_x_gradient/value", None, 0)):
    shutil.copy("out/run.h5", "changed.h5")
    with h5py.File("changed.h5", "r+") as f:
        d = f["variants"][path]
        at = (row, column) if row is not None else int(f["variants/FT/attribution/input_x_gradient/row_offset"][5])
        d[at] = d[at] + .01
    got = verify(1, "changed.h5", *FT, "--rows", "2:3")  # row 5 is the second sample of text 2
    group, name = path.rsplit("/", 1)
    assert [k for k, x in got.items() if not x["equal"]] == [(group, name)] and got[group, name]["row"] == 5, got
    verify(0, "changed.h5", *FT, "--rows", "3:4")
    out, err = run(1, "verify", "changed.h5", *MODEL, *FT, "--rows", "2:3")
    assert "DIFFERS (row 5)" in out and err.count("error:") == 1

assert "another model" in run(2, "verify", "out", "--set", "model.path=other")[1]
run(2, "verify", "out", *MODEL, "--variant", "FT", "--set", "variants.FT.adapter=other/adapter")
run(2, "verify", "out")
run(2, "verify", "out", *MODEL, "--sample", "none")
run(4, "verify", "out", *MODEL, "--rows", "90:99")
run(4, "verify", "nowhere.h5", *MODEL)
open("bad.h5", "wb").write(before[:5000])
assert run(3, "verify", "bad.h5", *MODEL)[1].count("error:") == 1
