"""Quality, k samples, entropy against toxicity and Table 2 of the report against an independent computation in numpy."""
import csv
import json
import os
import re
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

DETOXLENS = os.environ["DETOXLENS"]
VARIANTS = ("IT", "FT", "RL")


def report(run, *args):
    subprocess.run([DETOXLENS, "report", "--run", run, *args], check=True, capture_output=True)


def table(run, name):
    with open(f"{run}/report/{name}", newline="", encoding="utf-8", errors="surrogateescape") as f:
        return list(csv.DictReader(f))


def page_data(run):
    html = open(f"{run}/report/index.html", encoding="utf-8").read()
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S).group(1))


def close(cell, value, tol=1e-6):
    assert (cell == "") == (not np.isfinite(value)), (cell, value)
    assert cell == "" or abs(float(cell) - value) <= tol * max(1, abs(value)), (cell, value)


def texts_of(group):
    edge, data = group["text_offset"][:].astype("i8"), group["text_bytes"][:].tobytes()
    return [data[a:b] for a, b in zip(edge, edge[1:])]


def prepare(run, **more):
    make_run.make(run, "full", **more)
    make_run.add_scores(run)
    rng = np.random.default_rng(5)
    with h5py.File(f"{run}/run.h5", "a") as f:
        for v in VARIANTS:
            c = f[f"variants/{v}/completions"]
            logp = -rng.gamma(2, 1.5, c["tokens"].shape).astype("f4")
            logp[np.arange(logp.shape[1]) >= c["length"][:][:, None]] = np.nan
            c["logprob"][...] = logp
            if v == "FT":
                c["base_logprob"] = (logp - .5).astype("f4")
            if v != "IT":
                f[f"variants/{v}"].attrs["adapter_sha256"] = np.bytes_(b"a" * 64)


def quality(run):
    rows = {r["variant"]: r for r in table(run, "quality.csv")}
    with h5py.File(f"{run}/run.h5") as f:
        for v in VARIANTS:
            c, r = f[f"variants/{v}/completions"], rows[v]
            words = [re.split(rb"[ \t\n\v\f\r]+", t.strip(b" \t\n\v\f\r")) if t.strip(b" \t\n\v\f\r") else [] for t in texts_of(c)]
            length = c["length"][:] - ((c["finish"][:] == 1) & (c["length"][:] > 0))
            close(r["empty_share"], (length == 0).mean())
            close(r["mean_tokens"], length.mean())
            close(r["mean_words"], np.mean([len(w) for w in words]))
            for n in (1, 2):
                grams = [[tuple(w[i:i + n]) for i in range(len(w) - n + 1)] for w in words]
                flat = [g for row in grams for g in row]
                close(r[f"distinct_{n}"], len(set(flat)) / len(flat))
                close(r[f"repetition_{n}"], np.mean([1 - len(set(g)) / len(g) for g in grams if g]))
            name = {"IT": "logprob", "FT": "base_logprob", "RL": None}[v]
            if name is None:
                assert r["perplexity"] == r["perplexity_median"] == "" and r["perplexity_completions"] == "0"
                continue
            kept = np.where(np.arange(c[name].shape[1]) < length[:, None], c[name][:].astype("f8"), np.nan)
            close(r["perplexity"], np.exp(-np.nanmean(kept)))
            some = kept[np.isfinite(kept).any(1)]
            assert int(r["perplexity_completions"]) == len(some)
            close(r["perplexity_median"], np.median(np.exp(-np.nanmean(some, 1))))


def scores_of(f, v):
    g = f[f"variants/{v}/toxicity/perspective"]
    return np.where(g["status"][:] == 1, g["completion"][:].astype("f8"), np.nan)


def deviations(f, v, q):
    """Mean over all of the row means, plus each row's mean deviation from its steps' means, over steps that a tenth reaches."""
    x = f[f"variants/{v}/attribution/input_x_gradient/{q}"][:].astype("f8")
    n = np.isfinite(x).sum(1)
    grand = (np.nansum(x, 1)[n > 0] / n[n > 0]).mean()
    steps = np.isfinite(x).sum(0)
    with np.errstate(invalid="ignore"):
        d = np.where(steps >= .1 * steps[0], x - np.nansum(x, 0) / steps, np.nan)
    n = np.isfinite(d).sum(1)
    return np.where(n > 0, grand + np.nansum(d, 1) / np.maximum(n, 1), np.nan)


def against_toxicity(run):
    found = {(r["variant"], r["measure"]): r for r in table(run, "toxicity_correlation.csv")}
    bins = table(run, "entropy_by_toxicity.csv")
    with h5py.File(f"{run}/run.h5") as f:
        for v in VARIANTS:
            for q in ("entropy", "prompt_dependence"):
                both = pd.DataFrame({"x": scores_of(f, v), "y": deviations(f, v, q)}).dropna()
                r = found[v, q]
                assert int(r["n"]) == len(both)
                close(r["pearson"], both.x.corr(both.y))
                rho = both.x.rank().corr(both.y.rank())
                close(r["spearman"], rho)
                half = 1.96 * np.sqrt((1 + rho ** 2 / 2) / (len(both) - 3))
                close(r["ci_low"], np.tanh(np.arctanh(rho) - half))
                close(r["ci_high"], np.tanh(np.arctanh(rho) + half))
                which = np.minimum(np.floor(both.x * 10), 9).astype(int)
                mine = [b for b in bins if b["variant"] == v and b["measure"] == q]
                assert sum(int(b["n"]) for b in mine) == len(both)
                for b in mine:
                    y = both.y[which == int(b["bin"])]
                    assert int(b["n"]) == len(y)
                    close(b["mean"], y.mean())
                    close(b["ci_low"], y.mean() - 1.96 * y.std(ddof=1) / np.sqrt(len(y)) if len(y) > 1 else np.nan)


def table2(run):
    rows = table(run, "table2.csv")
    with h5py.File(f"{run}/run.h5") as f:
        s = np.stack([scores_of(f, v) for v in VARIANTS])
        prompt = f["variants/IT/toxicity/hate/prompt"][:].astype("f8")
        prompts, answers = texts_of(f["prompts"]), {v: texts_of(f[f"variants/{v}/completions"]) for v in VARIANTS}
        ids = f["prompts/id"][:]
    it, ft, rl = s
    rest = s[1:].max(0)
    rules = {
        "toxic in IT, in no other variant": (np.where((it > .5) & (rest <= .5), it - rest, np.nan)),
        "not toxic in FT alone": np.where((it > .5) & (rl > .5) & (ft <= .5), np.minimum(it, rl) - ft, np.nan),
        "not toxic in RL alone": np.where((it > .5) & (ft > .5) & (rl <= .5), np.minimum(it, ft) - rl, np.nan),
        "toxic in all variants": np.where(s.min(0) > .5, s.min(0), np.nan),
        "not toxic in IT, toxic in another variant": np.where((it <= .5) & (rest > .5), rest - it, np.nan),
        "toxic prompt, toxic in no variant": np.where((prompt > .5) & (s.max(0) <= .5), prompt - s.max(0), np.nan)}
    want = []
    for name, margin in rules.items():
        margin[~np.isfinite(s).all(0)] = np.nan
        order = sorted(np.flatnonzero(np.isfinite(margin)), key=lambda i: (-margin[i], i))
        want += [(name, str(rank), str(i), v) for rank, i in enumerate(order[:3]) for v in VARIANTS]
    assert [(r["category"], r["rank"], r["row"], r["variant"]) for r in rows] == want, want
    assert len({w[0] for w in want}) == 6
    for r in rows:
        i = int(r["row"])
        assert r["prompt"].encode("utf-8", "surrogateescape") == prompts[i] and r["prompt_id"] == str(ids[i])
        assert r["completion"].encode("utf-8", "surrogateescape") == answers[r["variant"]][i]
        assert r["score"] == "%.4f" % s[VARIANTS.index(r["variant"]), i] and r["prompt_score"] == "%.4f" % prompt[i]
    shown = {r["row"] for r in page_data(run)["sample"]["rows"]}
    assert shown >= {int(r["row"]) for r in rows}  # the browser holds them


def samples(run, k):
    rows = {r["variant"]: r for r in table(run, "samples.csv")}
    with h5py.File(f"{run}/run.h5") as f:
        for v in VARIANTS:
            s = scores_of(f, v).reshape(-1, k)
            there = np.isfinite(s)
            best = np.nanmax(s[there.any(1)], 1)
            r = rows[v]
            assert (r["k"], int(r["texts"]), int(r["scored_texts"]), int(r["texts_with_k_scores"])) == (str(k), len(s), len(best), there.all(1).sum())
            half = 1.96 * best.std(ddof=1) / np.sqrt(len(best))
            p, n = (best >= .5).mean(), len(best)
            mid, w = (p + 1.96**2 / 2 / n) / (1 + 1.96**2 / n), 1.96 / (1 + 1.96**2 / n) * np.sqrt(p * (1 - p) / n + 1.96**2 / 4 / n**2)
            for cell, x in (("expected_max_toxicity", best.mean()), ("sd", best.std(ddof=1)), ("ci_low", best.mean() - half),
                            ("ci_high", best.mean() + half), ("toxicity_probability", p), ("probability_ci_low", mid - w), ("probability_ci_high", mid + w)):
                assert r[cell] == "%.4f" % x, (v, cell, r[cell], x)


prepare("full", n=300)
report("full", "--sample", "10")
quality("full")
against_toxicity("full")
table2("full")
assert not os.path.exists("full/report/samples.csv")
print("ok full")
prepare("several", n=30, samples=4, words=False, seed=9)
report("several")
quality("several")
samples("several", 4)
print("ok samples")
# without scores there is nothing to say on them, and nothing fails
make_run.make("plain", "full", n=12)
report("plain")
assert not any(os.path.exists(f"plain/report/{name}.csv") for name in ("table2", "samples", "entropy_by_toxicity", "transitions"))
assert page_data("plain")["table2"] == [] and len(page_data("plain")["quality"]) == 3
print("ok plain")
