"""attribute of other variants' and of imported completions: FT, RL and IT over one base against a merged model, imported
texts with ids from import or made by attribute, on several ranks; what does not fit is refused."""
import csv
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
os.environ["DETOXLENS_THREADS"] = "1"  # many short launches
TEXTS, N = f"{SOURCE}/data/quickstart/texts.jsonl", 5


def run(code, *args, ranks=0):
    command = ([os.environ["MPIRUN"], str(ranks)] if ranks else []) + [DETOXLENS, *args]
    r = subprocess.run(command, capture_output=True, text=True)
    assert r.returncode == code, (args, r.returncode, r.stderr)
    return r.stdout + r.stderr


for kind, folder, corpus in (("neox", "model", "data/quickstart/corpus.txt"), ("neox-seq", "second", "data/quickstart/corpus.txt"),
                             ("neox", "other", "README.md")):
    subprocess.run([MAKE_MODEL, kind, folder, f"{SOURCE}/{corpus}"], check=True)
FT = ("--variant", "FT", "--set", "variants.FT.adapter=model/adapter")
RL = ("--variant", "RL", "--set", "variants.RL.adapter=second/adapter")
MODEL = ("--set", "model.path=model")


def generate(out, *args):
    run(0, "generate", "--run", out, *MODEL, "--set", f"data.prompts={TEXTS}", "--set", f"data.limit={N}", "--set",
        "generate.max_new_tokens=9", *args, ranks=2)


generate("study")
for who in (FT, RL):
    generate("study", *who)
    run(0, "attribute", "--run", "study", *MODEL, *who, "--completions-of", "IT", ranks=2)
run(0, "attribute", "--run", "study", *MODEL)
run(0, "attribute", "--run", "study", *MODEL, *FT)
run(0, "attribute", "--run", "study", *MODEL, "--completions-of", "FT")
with h5py.File("study/run.h5") as f:
    v = f["variants"]
    own, ft, rl = v["IT/attribution/input_x_gradient"], v["FT/attribution/input_x_gradient@IT"], v["RL/attribution/input_x_gradient@IT"]
    for a in (ft, rl):  # the same tokens under other weights
        assert a.attrs["completions_of"] == b"IT" and a.attrs["adapter_sha256"] != b"none"
        assert a.attrs["weights_fingerprint"] == own.attrs["weights_fingerprint"]
        assert (a["G"][:] == own["G"][:]).all() and (a["row_offset"][:] == own["row_offset"][:]).all() and a["done"][:].all()
        assert np.nanmax(abs(a["value"][:] - own["value"][:])) > 1e-3
    # the base over FT's answers: base_logprob
    x, lp, n = v["IT/attribution/input_x_gradient@FT"], v["FT/completions/base_logprob"][:], v["IT/attribution/input_x_gradient@FT/G"][:]
    for i in range(N):
        assert np.allclose(np.log(x["step_probability"][i, :n[i]].astype(float)), lp[i, :n[i]], atol=2e-4)
# FT over the base and its adapter is the merged model
run(0, "export", "merged", "--merged", "--run", "study", *MODEL, *FT)
generate("alone", *FT)
run(0, "attribute", "--run", "alone", "--set", "model.path=merged", "--completions-of", "FT")
with h5py.File("study/run.h5") as f, h5py.File("alone/run.h5") as g:
    a, b = f["variants/FT/attribution/input_x_gradient"], g["variants/IT/attribution/input_x_gradient@FT"]
    np.testing.assert_allclose(a["value"][:], b["value"][:], atol=2e-4)
    np.testing.assert_allclose(a["entropy"][:], b["entropy"][:], atol=2e-3)
run(0, "report", "--run", "study")
print("ok variants")

# imported completions
answers = {"IT": [" never stop the silly jugglers", "", " tea and bread for all\nof us"], "FT": [" good friends", " h\u00e9lp", " no"]}
for name, list_ in answers.items():
    with open(f"{name}.csv", "w", newline="", encoding="utf-8") as f:
        out = csv.writer(f)
        out.writerow(["", "prompts", "responses"])
        out.writerows([i, f'<human>: "text {i}".\n<bot>: ', a.replace("\n", " ")] for i, a in enumerate(list_))
for out, ids, ranks in (("pub1", (), 1), ("pub3", MODEL, 3)):
    run(0, "import", "IT.csv", "--run", out, *ids)
    run(0, "import", "FT.csv", "--run", out, "--variant", "FT", *ids)
    if not ids:
        assert "without ids" in run(4, "attribute", "--run", out, *MODEL, "--dry-run")
    said = run(0, "attribute", "--run", out, *MODEL, ranks=ranks)
    assert ("without ids" in said) == (not ids), said
    run(0, "attribute", "--run", out, *MODEL, *FT, ranks=ranks)
    run(0, "attribute", "--run", out, *MODEL, *FT, "--completions-of", "IT", "--set", "attribute.template_tokens=false", ranks=ranks)
run(0, "verify", "--same", "pub1", "pub3")
with h5py.File("pub1/run.h5") as f:
    v = f["variants"]
    for who, of, name in (("IT", "IT", "input_x_gradient"), ("FT", "FT", "input_x_gradient"), ("FT", "IT", "input_x_gradient@IT")):
        a, c = v[who]["attribution"][name], v[of]["completions"]
        G, T, at, P = a["G"][:], a["T"][:], a["row_offset"][:].astype(int), np.diff(c["prompt_offset"][:].astype(int))
        assert a["done"][:].all() and (G == c["length"][:]).all() and (T == P + G).all() and G.sum() > 5
        for i in range(3):
            m = a["value"][at[i]:at[i + 1]].reshape(G[i], T[i])
            assert np.allclose(np.nansum(m, 1), 1, atol=1e-5)
    assert "weights_fingerprint" not in v["IT"].attrs  # an import tells no model, its attributions do
    assert len(v["IT/attribution/input_x_gradient"].attrs["weights_fingerprint"]) == 64
assert "another tokenizer" in run(2, "attribute", "--run", "pub1", "--set", "model.path=other", "--set", "attribute.name=x", ranks=2)
run(0, "import", "FT.csv", "--run", "half", "--variant", "FT")  # the base over published answers, where IT has none of its own
run(0, "attribute", "--run", "half", *MODEL, "--completions-of", "FT", ranks=2)
run(0, "report", "--run", "half")
run(0, "inspect", "half")
run(2, "attribute", "--run", "study", "--set", "model.path=second", "--completions-of", "FT")
print("ok imported")
