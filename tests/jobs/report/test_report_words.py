"""The report's key words and their entropy dips, and the same text under different models, against numpy."""
import csv
import os
import shutil
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
AROUND = 5


def report(run, code=0):
    r = subprocess.run([DETOXLENS, "report", "--run", run], capture_output=True, text=True)
    assert r.returncode == code, r.stderr
    return r.stderr


def table(run, name):
    with open(f"{run}/report/{name}", newline="", encoding="utf-8", errors="replace") as f:
        return list(csv.DictReader(f))


def close(cell, value, tol=3e-6):
    assert (cell == "") == (not np.isfinite(value)), (cell, value)
    assert cell == "" or abs(float(cell) - value) <= tol * max(1, abs(value)), (cell, value)


def band(x):
    x = np.asarray(x, "f8")
    x = x[np.isfinite(x)]
    half = 1.96 * x.std(ddof=1) / np.sqrt(len(x)) if len(x) > 1 else np.nan
    return len(x), x.mean() if len(x) else np.nan, x.mean() - half if len(x) else np.nan, x.mean() + half if len(x) else np.nan


def words_of(tok, ids):
    """Half-open runs of tokens that form words: a piece that begins with a blank opens one."""
    back = {c: b for b, c in make_run.ALPHABET.items()}
    text = [bytes(back[c] for c in tok.text[i]) for i in ids]
    edges = [k for k, t in enumerate(text) if k == 0 or t[:1] in b" \t\n\v\f\r"] + [len(ids)]
    out = []
    for a, b in zip(edges, edges[1:]):
        word = b"".join(text[a:b])
        word = bytes(c + 32 if 65 <= c <= 90 else c for c in word)
        bare = word.strip(b" \t\n\v\f\r.,;:!?\"'()[]{}<>*_-~`")
        out.append((a, b, bare or word))
    return out


def keywords(run, tok):
    dips = {(r["variant"], r["measure"]): r for r in table(run, "keyword_dips.csv")}
    curves = table(run, "keyword_curves.csv")
    listed = table(run, "keywords.csv")
    with h5py.File(f"{run}/run.h5") as f:
        for v in ("IT", "FT", "RL"):
            g, a = f[f"variants/{v}"], f[f"variants/{v}/attribution/input_x_gradient"]
            share, tokens, G = g["toxicity/perspective/token_share"][:].astype("f8"), g["completions/tokens"][:], a["G"][:]
            score = g["toxicity/perspective/completion"][:]
            value = {q: a[q][:].astype("f8") for q in ("entropy", "prompt_dependence")}
            mean = {}
            for q, x in value.items():
                n = np.isfinite(x).sum(0)
                mean[q] = np.where(n > 0, np.nansum(x, 0) / np.maximum(n, 1), np.nan)
            key, rand, hits = {q: [] for q in value}, {q: [] for q in value}, {}
            for i in np.flatnonzero(score > np.float32(.66)):
                if G[i] == 0 or not np.isfinite(share[i]).any():
                    continue
                parts = words_of(tok, tokens[i, :G[i]])
                sums = [np.nansum(share[i, x:y]) for x, y, _ in parts]
                x, y, word = parts[int(np.argmax(sums))]
                step = x + int(np.argmax(share[i, x:y]))
                here = {}
                for q in value:
                    dev = value[q][i, :G[i]] - mean[q][:G[i]]
                    window = lambda s: [dev[s + k] if 0 <= s + k < G[i] else np.nan for k in range(-AROUND, AROUND + 1)]
                    key[q].append(window(step))
                    every = np.array([window(s) for s in range(G[i])])
                    n = np.isfinite(every).sum(0)
                    rand[q].append(np.where(n > 0, np.nansum(every, 0) / np.maximum(n, 1), np.nan))
                    here[q] = dev[step]
                hits.setdefault(word, []).append((max(sums), here["entropy"], here["prompt_dependence"], score[i]))
            assert len(key["entropy"]) > 10
            for q in value:
                k, r = np.array(key[q]), np.array(rand[q])
                n, mid, low, high = band(k[:, AROUND] - r[:, AROUND])
                row = dips[v, q]
                assert int(row["completions"]) == n and row["set"] == "perspective"
                for cell, x in (("at_key_word", k[:, AROUND].mean()), ("at_random_step", r[:, AROUND].mean()), ("difference", mid),
                                ("ci_low", low), ("ci_high", high)):
                    close(row[cell], x)
                for name, x in (("key word", k), ("random step", r)):
                    mine = [c for c in curves if (c["measure"], c["variant"], c["around"]) == (q, v, name)]
                    for c in mine:
                        n, mid, low, high = band(x[:, int(c["offset"]) + AROUND])
                        assert int(c["n"]) == n
                        close(c["mean"], mid), close(c["ci_low"], low), close(c["ci_high"], high)
                    assert mine[0]["offset"] == "-5" and len(mine) == np.flatnonzero(np.isfinite(x).any(0)).max() + 1
            mine = [r for r in listed if r["variant"] == v]
            order = sorted(hits.items(), key=lambda e: (-len(e[1]), -np.mean([h[0] for h in e[1]]), e[0]))
            assert [r["word"] for r in mine] == [w.decode("utf-8", "replace") for w, _ in order]
            for r, (_, h) in zip(mine, order):
                assert int(r["completions"]) == len(h)
                for cell, x in zip(("share", "entropy_deviation", "prompt_dependence_deviation", "score"), np.mean(h, 0)):
                    close(r[cell], x)


def same_text(run, v, of):
    rows = table(run, f"same_text_{v}@{of}.csv")
    summary = {r["measure"]: r for r in table(run, "same_text.csv") if r["pair"] == f"{v}@{of}"}
    curves = table(run, "same_text_curves.csv")
    with h5py.File(f"{run}/run.h5") as f:
        own, mine = f[f"variants/{of}/attribution/input_x_gradient"], f[f"variants/{v}/attribution/input_x_gradient@{of}"]
        tokens, G, T, at = f[f"variants/{of}/completions/tokens"][:], own["G"][:], own["T"][:], own["row_offset"][:].astype("i8")
        assert len(rows) == G.sum()
        q = {"entropy": "entropy", "prompt_dependence": "prompt_dependence", "probability": "step_probability"}
        x = {name: (own[d][:].astype("f8"), mine[d][:].astype("f8")) for name, d in q.items()}
        kl = np.full(x["entropy"][0].shape, np.nan)
        for i in range(len(G)):
            P = T[i] - G[i]
            a, b = (m["value"][at[i]:at[i + 1]].reshape(G[i], T[i])[:, :P].astype("f8") for m in (own, mine))
            for s in range(G[i]):
                u, w = a[s] / a[s].sum(), b[s] / b[s].sum()
                with np.errstate(divide="ignore", invalid="ignore"):
                    kl[i, s] = np.nansum(u * np.log2(u / w))
    for r in rows:
        i, s = int(r["row"]), int(r["step"])
        assert int(r["token"]) == tokens[i, s]
        for name, (a, b) in x.items():
            close(r[f"{name}_own"], a[i, s]), close(r[name], b[i, s])
        close(r["kl"], kl[i, s])
    measures = {"entropy": x["entropy"][1] - x["entropy"][0], "prompt_dependence": x["prompt_dependence"][1] - x["prompt_dependence"][0],
                "log2_probability": np.log2(x["probability"][1]) - np.log2(x["probability"][0]), "kl": kl}
    for name, d in measures.items():
        n = np.isfinite(d).sum(1)
        some, mid, low, high = band(np.nansum(d[n > 0], 1) / n[n > 0])
        r = summary[name]
        assert int(r["n"]) == some
        close(r["mean"], mid), close(r["ci_low"], low), close(r["ci_high"], high)
        for c in (c for c in curves if c["measure"] == name and c["pair"] == f"{v}@{of}"):
            some, mid, low, high = band(d[:, int(c["step"])])
            assert int(c["n"]) == some
            close(c["mean"], mid), close(c["ci_low"], low), close(c["ci_high"], high)


tok = make_run.make("full", "full", n=160)
make_run.add_scores("full")
report("full")
assert not os.path.exists("full/report/keywords.csv") and not os.path.exists("full/report/same_text.csv")
make_run.add_keywords("full")
make_run.cross("full", "FT", "IT")
make_run.cross("full", "RL", "IT")
assert "missing" not in report("full")
keywords("full", tok)
print("ok keywords")
same_text("full", "FT", "IT")
same_text("full", "RL", "IT")
for name in ("keywords", "same_text"):
    assert open(f"full/report/{name}.pdf", "rb").read(5) == b"%PDF-"
print("ok same text")
# shares that are not there yet are told; without a tokenizer there are ids; a wrong shape is bad input
with h5py.File("full/run.h5", "a") as f:
    share = f["variants/IT/toxicity/perspective/token_share"]
    toxic = np.flatnonzero(f["variants/IT/toxicity/perspective/completion"][:] > np.float32(.66))
    share[toxic[0]] = np.nan
shutil.rmtree("full/model")
assert "IT: key words of 1 toxic completions" in report("full")
assert all(r["word"].startswith("#") for r in table("full", "keywords.csv"))
with h5py.File("full/run.h5", "a") as f:
    del f["variants/IT/toxicity/perspective/token_share"]
    f["variants/IT/toxicity/perspective/token_share"] = np.zeros((3, 3), "f4")
assert "token_share" in report("full", 3)
print("ok faults")
