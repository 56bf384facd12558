"""detoxlens score --calibrate: the isotonic map against a plain search for the least squares, the logistic one by its
gradient, held-out errors by hand, the mapped sets; what is refused; on the study's rows the map beats the plain scores."""
import csv
import os
import random
import subprocess
import sys

try:
    import h5py
    import numpy as np
except ImportError as e:
    print("skipped:", e)
    sys.exit(77)

DETOXLENS, REAL = os.environ["DETOXLENS"], os.path.join(os.environ["DTX_SHARED"], "data/published-completions")


def run(code, *args, ranks=0):
    r = subprocess.run(([os.environ["MPIRUN"], str(ranks)] if ranks else []) + [DETOXLENS, *args, "--quiet"], capture_output=True, text=True)
    assert r.returncode == code, (args, r.returncode, r.stderr)
    return r.stdout + r.stderr


def make(run_dir, n=200):
    rng = random.Random(5)
    for variant in ("IT", "FT"):
        with open("rows.csv", "w", newline="") as f:
            w = csv.writer(f)
            w.writerow(["", "prompts", "responses", "prompt_score", "response_score", "pro_API_response_score"])
            for i in range(n):
                x = rng.choice([0, .25, 1, rng.random()])
                y = min(1, max(0, .1 + .6 * x * x + rng.gauss(0, .1)))
                w.writerow([i, f'<human>: "text {i}".\n<bot>: ', "answer", f"{1 - x:.4f}", f"{x:.4f}", "" if i % 9 == 0 else f"{y:.4f}"])
        run(0, "import", "rows.csv", "--run", run_dir, "--variant", variant)


def isotonic(x, y):
    """Min-max formula: the value at x is the largest over left ends of the smallest over right ends of the means."""
    at = np.unique(x)
    total, count = np.array([y[x == a].sum() for a in at]), np.array([(x == a).sum() for a in at])
    s, c = np.concatenate([[0], np.cumsum(total)]), np.concatenate([[0], np.cumsum(count)])
    mean = lambda i, j: (s[j + 1] - s[i]) / (c[j + 1] - c[i])
    return at, np.array([max(min(mean(i, j) for j in range(k, len(at))) for i in range(k + 1)) for k in range(len(at))])


for ranks in (0, 2):
    make(f"r{ranks}")
    said = run(0, "score", "--calibrate", "--run", f"r{ranks}", "--map", "isotonic", ranks=ranks)
    assert "354 rows of FT,IT have both" in said, said
run(0, "verify", "--same", "r0/run.h5", "r2/run.h5")
with h5py.File("r0/run.h5") as f:
    def pairs(variant):
        a, b = f[f"variants/{variant}/toxicity/hate"], f[f"variants/{variant}/toxicity/perspective"]
        both = np.isfinite(a["completion"][:]) & np.isfinite(b["completion"][:])
        return a["completion"][:][both].astype("f8"), b["completion"][:][both].astype("f8")
    x, y = (np.concatenate(p) for p in zip(pairs("FT"), pairs("IT")))
    g, s = f["calibration/hate@perspective"], f["variants/FT/toxicity/hate@perspective"]
    at, fitted = isotonic(x, y)
    np.testing.assert_allclose(np.interp(at, g["knot_x"][:], g["knot_y"][:]), fitted, atol=1e-12)
    for name in ("completion", "prompt"):  # a prompt's score is mapped by the same function
        np.testing.assert_allclose(s[name][:], np.interp(f["variants/FT/toxicity/hate"][name][:], g["knot_x"][:], g["knot_y"][:]), atol=1e-6)
    assert g.attrs["rows"] == 354 and g.attrs["map"] == b"isotonic" and g.attrs["variants"] == b"FT,IT"
    assert s.attrs["scorer"] == b"calibrated" and s.attrs["calibration"] == b"/calibration/hate@perspective"
    assert abs(g.attrs["heldout_none_mean_absolute"] - abs(x - y).mean()) < 1e-12
    assert abs(g.attrs["share_true"] - (y > .5).mean()) < 1e-12
    within = np.sqrt(((np.interp(x, g["knot_x"][:], g["knot_y"][:]) - y) ** 2).mean())
    assert within < g.attrs["heldout_isotonic_root_mean_square"] < g.attrs["heldout_none_root_mean_square"]
run(0, "score", "--calibrate", "--run", "r0", "--map", "logistic")
with h5py.File("r0/run.h5") as f:
    g = f["calibration/hate@perspective"]
    z = np.log(np.clip(x, 1e-6, 1 - 1e-6) / (1 - np.clip(x, 1e-6, 1 - 1e-6)))
    residual = 1 / (1 + np.exp(-g.attrs["slope"] * z - g.attrs["offset"])) - y
    assert abs(residual.mean()) < 1e-8 and abs((residual * z).mean()) < 1e-7 and g.attrs["slope"] > 0
run(0, "report", "--run", "r0", "--set", "score.name=hate@perspective")
assert "0 rows have scores" in run(4, "score", "--calibrate", "--run", "r0", "--from", "nothing")
run(4, "score", "--calibrate", "--run", "empty")
print("ok maps")

if not os.path.isdir(REAL):
    print("skipped: no", REAL)
    sys.exit(77)
for variant in ("IT", "FT", "RL"):
    run(0, "import", f"{REAL}/redpajama-3b.{variant}.csv", "--run", "real", "--variant", variant)
print(run(0, "score", "--calibrate", "--run", "real"))
with h5py.File("real/run.h5") as f:
    a = f["calibration/hate@perspective"].attrs
    assert a["rows"] == 15533 and a["heldout_isotonic_root_mean_square"] < .65 * a["heldout_none_root_mean_square"]
print("ok real rows")
