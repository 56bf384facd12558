"""Does the report find differences where there are none? Simulated runs in which nothing differs but the answers' length, and runs with
a planted difference: how often the comparison at common length, the simultaneous bands and the raw means say that there is one.
ARGS: number of runs of each kind."""
import csv
import os
import shutil
import subprocess
import sys

try:
    import h5py
    import numpy as np
except ImportError as e:
    print("skipped:", e)
    sys.exit(77)
sys.path.insert(0, os.path.join(os.environ["DTX_SOURCE"], "tests/jobs/shared"))
import make_run

DETOXLENS, RUNS = os.environ["DETOXLENS"], int(sys.argv[1]) if len(sys.argv) > 1 else 400
N, WIDTH = 150, 24


def simulate(run, seed, planted):
    """Dependence falls with the step, texts differ, FT's answers are shorter; `planted` is what FT has more of at every step but the first."""
    rng = np.random.default_rng(seed)
    level = rng.normal(0, .05, N)
    with h5py.File(f"{run}/run.h5", "a") as f:
        for name, mean_length in (("IT", 16), ("FT", 9)):
            a = f[f"variants/{name}/attribution/input_x_gradient"]
            length = np.clip(rng.poisson(mean_length, N), 1, WIDTH)
            step = np.arange(WIDTH)
            x = .25 + .75 * np.exp(-step / 6) + level[:, None] * (step > 0) + rng.normal(0, .04, N)[:, None] * (step > 0)
            x = x + rng.normal(0, .08, x.shape) * (step > 0) + (planted if name == "FT" else 0) * (step > 0)
            x[step >= length[:, None]] = np.nan
            a["prompt_dependence"][...] = x.astype("f4")
            entropy = 3 + rng.normal(0, .3, x.shape) + np.where(np.isfinite(x), 0, np.nan)
            a["entropy"][...] = entropy.astype("f4")


def table(run, name):
    with open(f"{run}/report/{name}", newline="") as f:
        return list(csv.DictReader(f))


make_run.make("base", "full", ("IT", "FT"), n=N, width=WIDTH, words=False)
with h5py.File("base/run.h5", "a") as f:
    for name in ("IT", "FT"):
        a = f[f"variants/{name}/attribution/input_x_gradient"]
        a["done"][...], a["G"][...], a["T"][...] = 1, WIDTH, WIDTH + 9
        del a["value"], a["row_offset"]
        a["value"] = np.full(N * WIDTH * (WIDTH + 9), np.nan, "f4")
        a["row_offset"] = (np.arange(N + 1) * WIDTH * (WIDTH + 9)).astype("u8")
rates = {}
for kind, planted in (("nothing differs but length", 0), ("a difference of 0.02 is planted", .02)):
    alarms = dict.fromkeys(("raw means", "common length, interval", "common length, p", "band over the steps", "entropy band"), 0)
    for seed in range(RUNS):
        shutil.rmtree("run", ignore_errors=True)
        shutil.copytree("base", "run")
        simulate("run", seed + 100000 * (planted > 0), planted)
        subprocess.run([DETOXLENS, "report", "--run", "run", "--sample", "0"], check=True, capture_output=True)
        rows = {(r["measure"], r["comparison"]): r for r in table("run", "comparison.csv")}
        own, common = rows["prompt_dependence", "own_answers"], rows["prompt_dependence", "common_length"]
        clear = lambda r: float(r["ci_low"]) > 0 or float(r["ci_high"]) < 0
        alarms["raw means"] += clear(own)
        alarms["common length, interval"] += clear(common)
        alarms["common length, p"] += float(common["p"]) < .05
        for measure, name in (("prompt_dependence", "band over the steps"), ("entropy", "entropy band")):
            band = [r for r in table("run", "differences.csv") if r["measure"] == measure and r["ci_low"]]
            alarms[name] += any(clear(r) for r in band)
    print(f"{kind} ({RUNS} runs):")
    for name, n in alarms.items():
        rates[kind[0], name] = n / RUNS
        print(f"  {name}: a difference in {100 * n / RUNS:.1f} % of the runs")
noise = 3 * np.sqrt(.05 * .95 / RUNS)
for name in ("common length, interval", "common length, p", "band over the steps", "entropy band"):
    assert rates["n", name] <= .05 + noise + .01, (name, rates["n", name])
assert rates["n", "raw means"] > .9, "the simulation no longer shows what length alone does"
assert rates["a", "common length, p"] > .8 and rates["a", "common length, interval"] > .8
print("ok")
