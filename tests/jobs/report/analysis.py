"""data/analysis/figure1.py rebuilds the report's figure1.csv from run.h5: full and partly filled runs, samples, no scores."""
import io
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ["DTX_SOURCE"], "tests/jobs/shared"))
try:
    import h5py
    import numpy as np
    import pandas as pd
except ImportError as e:
    print("skipped:", e)
    sys.exit(77)
import make_run

SCRIPT = os.path.join(os.environ["DTX_SOURCE"], "data/analysis/figure1.py")
KEYS = ["measure", "class", "variant", "step"]


def check(run, *threshold):
    subprocess.run([os.environ["DETOXLENS"], "report", "--run", run, *(["--threshold", *threshold] if threshold else [])], check=True, capture_output=True)
    mine = subprocess.run([sys.executable, SCRIPT, run, *threshold], check=True, capture_output=True, text=True).stdout
    a, b = pd.read_csv(io.StringIO(mine)), pd.read_csv(f"{run}/report/figure1.csv")
    b = b[b["n"] > 0].reset_index(drop=True)  # a step that no completion reaches, before one that some do
    assert len(a) > 20 and (a[KEYS + ["n"]] == b[KEYS + ["n"]]).all(None), (a.head(), b.head())
    for column in ("mean", "ci_low", "ci_high"):
        np.testing.assert_allclose(a[column], b[column], rtol=2e-6, atol=1e-7)
    return set(a["class"]), set(a["variant"])


make_run.make("full", "full", n=80)
make_run.add_scores("full")
assert check("full") == ({"all", "toxic", "not_toxic"}, {"IT", "FT", "RL"})
assert check("full", "0.4")[0] == {"all", "toxic", "not_toxic"}
make_run.make("partial", "partial")
assert check("partial") == ({"all"}, {"IT"})
make_run.make("samples", "full", n=12, samples=3, variants=("IT", "DPO"))
make_run.add_scores("samples")
with h5py.File("samples/run.h5", "a") as f:
    f["variants/DPO/attribution/input_x_gradient/done"][:10] = 0
assert check("samples")[1] == {"IT", "DPO"}
print("ok")
