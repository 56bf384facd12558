"""detoxlens report over several runs: means, intervals and curves over three seeds against those of the single reports; runs of
another study are refused."""
import csv
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ["DTX_SOURCE"], "tests/jobs/shared"))
try:
    import h5py
    import numpy as np
except ImportError as e:
    print("skipped:", e)
    sys.exit(77)
import make_run

T3 = 4.302653  # 97.5 % point of Student's t, 2 degrees of freedom


def report(code, *args):
    r = subprocess.run([os.environ["DETOXLENS"], "report", "--run", *args], capture_output=True, text=True)
    assert r.returncode == code, (r.returncode, r.stderr)
    return r.stderr


def table(run, name):
    with open(f"{run}/report/{name}", newline="") as f:
        return list(csv.DictReader(f))


def close(cell, value, tol):
    assert (cell == "") == (not np.isfinite(value)), (cell, value)
    assert cell == "" or abs(float(cell) - value) <= tol * max(1, abs(value)), (cell, value)


def check(r, x, n_name, tol=1e-6):
    x = np.array([v for v in x if np.isfinite(v)])
    assert int(r[n_name]) == len(x)
    close(r["mean"], x.mean(), tol)
    if len(x) == 3:
        half = T3 * x.std(ddof=1) / np.sqrt(3)
        close(r["ci_low"], x.mean() - half, 2e-4), close(r["ci_high"], x.mean() + half, 2e-4)
    if len(x) == 1:
        assert r["ci_low"] == r["ci_high"] == ""


RUNS = ("a", "b", "c")
for i, run in enumerate(RUNS):
    make_run.make(run, "full", n=40, seed=20 + i)
    make_run.add_scores(run, seed=30 + i)
    report(0, run)
single = {run: {name: table(run, name) for name in ("table1.csv", "table1_paired.csv", "summary.csv", "quality.csv", "figure1.csv")} for run in RUNS}
assert not os.path.exists("a/report/runs.csv")
said = report(0, *RUNS)
assert "means over 3 runs" in said
number = lambda s: float(s) if s else np.nan
means = {(r["quantity"], r["variant"]): r for r in table("a", "runs.csv")}
each = table("a", "runs_each.csv")
assert {r["run"] for r in each} == set(RUNS) and len(each) == 3 * len(means)
for v in ("IT", "FT", "RL"):
    for quantity, name, column in (("mean_entropy", "summary.csv", "mean_entropy"), ("mean_prompt_dependence", "summary.csv", "mean_prompt_dependence"),
                                   ("mean_tokens", "summary.csv", "mean_tokens"), ("empty_share", "quality.csv", "empty_share"),
                                   ("perplexity", "quality.csv", "perplexity")):
        check(means[quantity, v], [number(next(r[column] for r in single[run][name] if r["variant"] == v)) for run in RUNS], "runs")
    for subset, suffix in (("all", ""), ("prompt_score>0.5", ", prompt_score>0.5")):
        for column in ("share_all", "share_scored"):
            x = [number(next(r[column] for r in single[run]["table1.csv"] if (r["variant"], r["subset"]) == (v, subset))) for run in RUNS]
            check(means[column + suffix, v], x, "runs", 1e-4)  # that table has four decimals
for pair in ("IT-FT", "IT-RL"):
    x = [number(next(r["share_difference"] for r in single[run]["table1_paired.csv"] if (r["difference"], r["subset"], r["basis"]) == (pair, "all", "all")))
         for run in RUNS]
    check(means["share_all", pair], x, "runs", 1e-4)
curves = table("a", "runs_curves.csv")
keys = ("measure", "class", "variant", "step")
by_run = [{tuple(r[k] for k in keys): number(r["mean"]) for r in single[run]["figure1.csv"]} for run in RUNS]
assert len(curves) > 300 and {r["class"] for r in curves} == {"all", "toxic", "not_toxic"}
for r in curves:
    check(r, [b.get(tuple(r[k] for k in keys), np.nan) for b in by_run], "n") if r["n"] != "0" else None
for name in ("runs", "runs_dependence"):
    assert open(f"a/report/{name}.pdf", "rb").read(5) == b"%PDF-"
    assert f'data-figure="{name}"' in open("a/report/index.html").read()
print("ok means")

# a run that is not complete is told; one of another study, or without the scores, is refused; one that is not there too
make_run.make("part", "full", n=40, seed=50, variants=("IT",))
make_run.add_scores("part")
with h5py.File("part/run.h5", "a") as f:
    f["variants/IT/attribution/input_x_gradient/done"][:4] = 0
assert "part: IT: 4 of 40 attributions" in report(0, "a", "part")
assert {r["runs"] for r in table("a", "runs.csv") if r["variant"] == "FT"} == {"1"}
make_run.make("other", "full", n=12)
assert "other evaluation texts" in report(2, "a", "other")
make_run.make("bare", "full", n=40)
assert "score.name" in report(2, "a", "bare")
report(4, "a", "nowhere")
print("ok refused")
