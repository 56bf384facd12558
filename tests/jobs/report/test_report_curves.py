"""The report's curves by class, differences with their bootstrap bands, KL divergence and transitions against an independent
computation in numpy, Philox included, on a run with scores, several samples of a text and rows that are missing."""
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

DETOXLENS = os.environ["DETOXLENS"]
QUANTITIES = ("entropy", "entropy_normalised", "prompt_dependence")


def table(run, name):
    with open(f"{run}/report/{name}", newline="") as f:
        return list(csv.DictReader(f))


def close(cell, value, tol=2e-6):
    if not np.isfinite(value):
        assert cell == "", (cell, value)
    else:
        assert abs(float(cell) - value) <= tol * max(1, abs(value)), (cell, value)


def philox(seed, domain, a, b, c):
    """Philox 4x32-10 (Salmon et al. 2011) of src/base/rng.h; c is an array. (len(c), 4) words."""
    c = np.asarray(c, "u8")
    x = [np.full(c.shape, a & 0xFFFFFFFF, "u8"), np.full(c.shape, a >> 32, "u8"), np.full(c.shape, b, "u8"), c]
    key = [seed & 0xFFFFFFFF, (seed >> 32) ^ (domain * 0x9E3779B9 & 0xFFFFFFFF)]
    for _ in range(10):
        p, q = x[0] * 0xD2511F53, x[2] * 0xCD9E8D57
        x = [(q >> 32) ^ x[1] ^ key[0], q & 0xFFFFFFFF, (p >> 32) ^ x[3] ^ key[1], p & 0xFFFFFFFF]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return np.stack(x, -1)


def draws(k, n):
    words = philox(42, 8, k, 0, np.arange((n + 3) // 4)).reshape(-1)[:n]
    return (words * n >> 32).astype("i8")


class Variant:
    def __init__(self, f, name):
        g = f[f"variants/{name}"]
        a = g["attribution/input_x_gradient"]
        self.name, self.samples = name, len(a["done"]) // len(f["prompts/id"])
        self.done = a["done"][:] == 1
        self.G, self.T, at = a["G"][:].astype("i8"), a["T"][:].astype("i8"), a["row_offset"][:].astype("i8")
        flat = a["value"][:].astype("f8")
        self.matrix = [flat[at[i]:at[i] + self.G[i] * self.T[i]].reshape(self.G[i], self.T[i]) for i in range(len(self.G))]
        blank = lambda x: np.where(self.done[:, None], x, np.nan).astype("f8")
        self.value = {q: blank(a[q][:]) for q in ("entropy", "prompt_dependence")}
        P = (self.T - self.G).astype("f8")
        self.value["entropy_normalised"] = np.where(P[:, None] > 1, self.value["entropy"] / np.log2(P)[:, None], np.nan)
        score = g["toxicity/perspective/completion"][:]
        finished = g["completions/finish"][:] != 0
        self.score = np.where((g["toxicity/perspective/status"][:] == 1) & finished, score, np.nan)
        scored = np.isfinite(self.score)
        self.keep = {"all": finished, "toxic": scored & (self.score > np.float32(.66)), "not_toxic": scored & (self.score <= np.float32(.66))}


def check_lines(rows, keys, x):
    """The lines of a table with these labels are the column means of x (NaN = absent) with their bands."""
    rows = [r for r in rows if list(r.values())[:3] == list(keys)]
    there = np.isfinite(x)
    assert len(rows) == (np.flatnonzero(there.any(0)).max(initial=-1) + 1), (keys, len(rows))
    for s, r in enumerate(rows):
        y = x[there[:, s], s]
        assert list(r.values())[3] == str(s) and r["n"] == str(len(y)), (keys, r, len(y))
        half = 1.96 * y.std(ddof=1) / np.sqrt(len(y)) if len(y) > 1 else np.nan
        for cell, value in (("mean", y.mean() if len(y) else np.nan), ("ci_low", y.mean() - half if len(y) else np.nan), ("ci_high", y.mean() + half if len(y) else np.nan)):
            close(r[cell], value)


def check_differences(rows, a, b):
    n_texts = len(a.done) // a.samples
    for q in QUANTITIES:
        d = a.value[q] - b.value[q]
        d = d.reshape(n_texts, a.samples, -1)
        d = d[np.isfinite(d).any((1, 2))]
        total, n = np.nansum(d, 1), np.isfinite(d).sum(1)
        mine = [r for r in rows if r["measure"] == q and r["pair"] == f"{a.name}-{b.name}"]
        texts = (n > 0).sum(0)
        reached = (texts > 0) & (texts >= .1 * texts.max())
        assert len(mine) == np.flatnonzero(reached).max() + 1
        def ratio(pick):
            t, m = total[pick], n[pick]
            with np.errstate(invalid="ignore", divide="ignore"):
                r = t.sum(0) / m.sum(0)
                there = (m > 0).sum(0)
                se = np.sqrt(((t - np.where(m > 0, r, 0) * m) ** 2).sum(0) * there / (there - 1)) / m.sum(0)
            return r, np.where(there > 1, se, np.nan)
        mean, se = ratio(np.arange(len(d)))
        banded = reached & (se > 0)
        largest = []
        for k in range(1000):
            r, s = ratio(draws(k, len(d)))
            with np.errstate(invalid="ignore", divide="ignore"):
                t = np.where(banded & (s > 1e-9 * np.abs(mean)), np.abs(r - mean) / s, np.nan)
            largest.append(np.max(t[np.isfinite(t)], initial=0))
        c = np.sort(largest)[int(.95 * 999 + .5)]
        assert c > 2.1  # more than a pointwise band
        for s, r in enumerate(mine):
            assert r["step"] == str(s) and r["n"] == str(n[:, s].sum())
            close(r["mean"], mean[s])
            for cell, sign in (("ci_low", -1), ("ci_high", 1)):
                close(r[cell], mean[s] + sign * c * se[s] if banded[s] or se[s] == 0 else np.nan, 2e-5)


def holm(p):
    order = np.argsort(p, kind="stable")
    out = np.empty(len(p))
    out[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return out


def signs(k, n):
    words = philox(42, 8, k, 1, np.arange((n + 127) // 128)).reshape(-1)
    return np.array([1 if int(words[i // 32]) >> (i % 32) & 1 else -1 for i in range(n)])


def check_comparison(run, v):
    """comparison.csv: own answers, common length, what length makes of it, sign-flip p, Holm."""
    rows = table(run, "comparison.csv")
    by_text = {}
    for first, second in (("IT", "FT"), ("IT", "RL"), ("FT", "RL")):
        a, b = v[first], v[second]
        for q in QUANTITIES:
            x, y = a.value[q], b.value[q]
            both = np.isfinite(x) & np.isfinite(y)
            own, common = [], []
            for i in range(0, len(x), a.samples):
                keep = [k for k in range(i, i + a.samples) if both[k].any()]
                if keep:
                    own.append([np.mean([np.nanmean(z[k]) for k in keep]) for z in (x, y)])
                    common.append([np.mean([z[k][both[k]].mean() for k in keep]) for z in (x, y)])
            own, common = np.array(own), np.array(common)
            by_text[f"{first}-{second}", q, "own_answers"] = own
            by_text[f"{first}-{second}", q, "common_length"] = common
            by_text[f"{first}-{second}", q, "length"] = np.stack([own[:, 0] - own[:, 1], common[:, 0] - common[:, 1]], 1)
    found = {(r["pair"], r["measure"], r["comparison"]): r for r in rows}
    assert set(by_text) == set(found), set(by_text) ^ set(found)
    flips = {}
    for key, x in by_text.items():
        r, d = found[key], x[:, 0] - x[:, 1]
        assert int(r["texts"]) == len(d)
        close(r["difference"], d.mean(), 1e-5)
        boot = np.sort([d[draws(k, len(d))].mean() for k in range(1000)])
        close(r["ci_low"], boot[25], 1e-5)
        close(r["ci_high"], boot[974], 1e-5)
        if len(d) not in flips:
            flips[len(d)] = np.array([signs(k, len(d)) for k in range(1999)])
        larger = (np.abs(flips[len(d)] @ d) >= abs(d.sum()) * (1 - 1e-9)).sum()
        assert abs(float(r["p"]) - (larger + 1) / 2000) < 2e-3, (key, r["p"], larger)
        if key[2] != "length":
            close(r["first"], x[:, 0].mean(), 1e-5)
            close(r["second"], x[:, 1].mean(), 1e-5)
    for name in ("own_answers", "common_length", "length"):
        family = [r for r in rows if r["comparison"] == name]
        for r, p in zip(family, holm(np.array([float(r["p"]) for r in family]))):
            close(r["p_holm"], p)


def divergence(a, b):
    x = np.full_like(a.value["entropy"], np.nan)
    for i in range(len(a.G)):
        if not (a.done[i] and b.done[i]):
            continue
        P = a.T[i] - a.G[i]
        for s in range(min(a.G[i], b.G[i])):
            p, q = a.matrix[i][s, :P], b.matrix[i][s, :P]
            p, q = p / p.sum(), q / q.sum()
            with np.errstate(divide="ignore", invalid="ignore"):
                x[i, s] = np.nansum(p * np.log2(p / q))
    return x


def row_means(x):
    n = np.isfinite(x).sum(1)
    return np.nansum(x, 1)[n > 0] / n[n > 0]


def check(run):
    subprocess.run([DETOXLENS, "report", "--run", run], check=True, capture_output=True)
    with h5py.File(f"{run}/run.h5") as f:
        v = {name: Variant(f, name) for name in ("IT", "FT", "RL")}
    figure = table(run, "figure1.csv")
    for q in QUANTITIES:
        for x in v.values():
            for name, keep in x.keep.items():
                check_lines(figure, (q, name, x.name), np.where(keep[:, None], x.value[q], np.nan))
    assert {r["class"] for r in figure} == {"all", "toxic", "not_toxic"}
    check_comparison(run, v)
    differences, kl, curves = table(run, "differences.csv"), table(run, "kl.csv"), table(run, "transition_curves.csv")
    moves = {(r["first"], r["second"], r["first_class"], r["second_class"]): r for r in table(run, "transitions.csv")}
    assert len(moves) == 12
    for first, second in (("IT", "FT"), ("IT", "RL"), ("FT", "RL")):
        a, b = v[first], v[second]
        check_differences(differences, a, b)
        forward = divergence(a, b)
        check_lines(kl, ("kl", "all", f"{first}-{second}"), forward)
        check_lines(kl, ("kl_reverse", "all", f"{first}-{second}"), divergence(b, a))
        both = np.isfinite(a.score) & np.isfinite(b.score)
        total = 0
        for p in ("toxic", "not_toxic"):
            for q in ("toxic", "not_toxic"):
                keep = a.keep[p] & b.keep[q]
                r = moves[first, second, p, q]
                assert (int(r["completions"]), int(r["of"])) == (keep.sum(), both.sum()), r
                assert r["share"] == "%.4f" % (keep.sum() / both.sum())
                total += keep.sum()
                both_have = np.isfinite(a.value["entropy"]) & np.isfinite(b.value["entropy"])
                for cell, x in (("entropy_first", a.value["entropy"]), ("entropy_second", b.value["entropy"]), ("kl", forward),
                                ("prompt_dependence_first", a.value["prompt_dependence"]), ("prompt_dependence_second", b.value["prompt_dependence"])):
                    m = row_means(np.where(both_have, x, np.nan)[keep])
                    close(r[cell], m.mean() if len(m) else np.nan)
                if keep.any():
                    name = f"{first} {p.replace('_', ' ')} -> {second} {q.replace('_', ' ')}"
                    check_lines(kl, ("kl", name, f"{first}-{second}"), np.where(keep[:, None], forward, np.nan))
                    for x in (a, b):
                        for m in QUANTITIES:
                            check_lines(curves, (m, name, x.name), np.where(keep[:, None], x.value[m], np.nan))
        assert total == both.sum()


# the counter-based generator above is the program's: known answer of Random123 for a zero key and counter
assert [hex(int(w)) for w in philox(0, 0, 0, 0, [0])[0]] == ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"]
make_run.make("full", "full", n=60)
make_run.add_scores("full")
check("full")
print("ok full")
make_run.make("samples", "full", n=20, samples=3, words=False, seed=3)
make_run.add_scores("samples")
with h5py.File("samples/run.h5", "a") as f:  # rows that are not attributed yet hold values that do not count
    f["variants/FT/attribution/input_x_gradient/done"][5:20] = 0
check("samples")
print("ok samples")
for name in ("figure1", "figure1_words", "dependence", "differences", "kl", "transitions"):
    assert open(f"full/report/{name}.pdf", "rb").read(5) == b"%PDF-" and "</svg>" in open(f"full/report/{name}.svg").read()
# the first threshold is the study's; another one moves the classes
subprocess.run([DETOXLENS, "report", "--run", "full", "--threshold", "0.3"], check=True, capture_output=True)
with h5py.File("full/run.h5") as f:
    it, ft = Variant(f, "IT").score, Variant(f, "FT").score
r = table("full", "transitions.csv")[0]
assert int(r["completions"]) == ((it > np.float32(.3)) & (ft <= np.float32(.3))).sum()
assert subprocess.run([DETOXLENS, "report", "--run", "full", "--threshold", "2"], capture_output=True).returncode == 2
# signed sums are no distribution: no KL
with h5py.File("full/run.h5", "a") as f:
    f["variants/FT/attribution/input_x_gradient"].attrs["norm"] = np.bytes_(b"sum")
os.remove("full/report/kl.csv")
subprocess.run([DETOXLENS, "report", "--run", "full"], check=True, capture_output=True)
assert {r["pair"] for r in table("full", "kl.csv")} == {"IT-RL"}
print("ok threshold")
