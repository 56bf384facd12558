"""detoxlens import: alignment, scores, tokens, other runs refused, bad files; report's Table 1 against a plain recomputation,
and against the published study where its files are at hand."""
import csv
import json
import math
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

DETOXLENS, SHARED = os.environ["DETOXLENS"], os.environ["DTX_SHARED"]
COLUMNS = ["", "prompts", "responses", "prompt_score", "response_score", "pro_API_response_score"]
TEXTS = ["you are a silly man", "tea, \"bread\" and\nriver", "good friends", "jugglers never stop", "good friends", "h\u00e9lp \u4e16 " * 9,
         "the market is full"]


def run(code, *args, ranks=0):
    command = ([os.environ["MPIRUN"], str(ranks)] if ranks else []) + [DETOXLENS, *args]
    r = subprocess.run(command, capture_output=True, text=True)
    assert r.returncode == code, (args, r.returncode, r.stderr)
    return r.stderr


def write_prompts(path, texts):
    with open(path, "w", encoding="utf-8") as f:
        for i, t in enumerate(texts):
            f.write(json.dumps({"id": 10 * i, "prompt": {"text": t}}) + "\n")


def write_csv(path, rows, columns=COLUMNS):
    with open(path, "w", newline="", encoding="utf-8") as f:
        w = csv.writer(f)
        w.writerow(columns)
        w.writerows([i, *r] for i, r in enumerate(rows))


def wrap(text, user="<human>:", bot="<bot>:"):
    return f'{user} "{text}".\n{bot} '


def texts_of(group):
    edge, data = group["text_offset"][:], group["text_bytes"][:].tobytes()
    return [data[a:b].decode() for a, b in zip(edge, edge[1:])]


def shape_and_scores():
    write_prompts("prompts.jsonl", TEXTS)
    order = [6, 4, 0, 2, 1, 3]  # the cut one comes last; of equal texts the first row belongs to the first
    rows = [[wrap(TEXTS[i]), f" answer {k} to\n{i}", .1 * k, .05 * k, ["0.7", "-1", "", "0.25", "1", "-1.0"][k]] for k, i in enumerate(order)]
    rows[1][1] = "  "
    rows.append([wrap(TEXTS[5])[:60], "cut", .9, .8, .5])
    write_csv("a.csv", rows)
    said = run(0, "import", "a.csv", "--set", "data.prompts=prompts.jsonl", "--run", "a", "--variant", "FT")
    assert "7 of 7 texts have an answer, 1 of them found by a common beginning" in said, said
    with h5py.File("a/run.h5") as f:
        assert texts_of(f["prompts"]) == TEXTS and f["prompts/id"][:].tolist() == [0, 10, 20, 30, 40, 50, 60]
        v = f["variants/FT"]
        assert json.loads(v.attrs["template"]) == {"user": "<human>:", "bot": "<bot>:", "text": '{user} "{text}".\n{bot} '}
        c = v["completions"]
        assert c["finish"][:].tolist() == [3] * 7 and c.attrs["complete"] == 1 and "tokens" not in c
        assert texts_of(c) == [" answer 2 to 0", " answer 4 to 1", "  ", " answer 5 to 3", " answer 3 to 2", "cut", " answer 0 to 6"]
        p, h = v["toxicity/perspective"], v["toxicity/hate"]
        np.testing.assert_array_equal(p["completion"][:], np.array([np.nan, 1, np.nan, np.nan, .25, .5, .7], "f4"))
        assert np.isnan(p["prompt"][:]).all() and p["status"][:].tolist() == [6, 1, 2, 6, 1, 1, 1]
        np.testing.assert_allclose(h["completion"][:], [.1, .2, .05, .25, .15, .8, 0], rtol=1e-6)
        np.testing.assert_allclose(h["prompt"][:], [.2, .4, .1, .5, .3, .9, 0], rtol=1e-6, atol=1e-9)
        assert h["status"][:].tolist() == [1] * 7 and p.attrs["scorer"] == b"imported"
    # on more ranks the same bytes; again changes nothing; another file only with --redo
    run(0, "import", "a.csv", "--set", "data.prompts=prompts.jsonl", "--run", "b", "--variant", "FT", ranks=3)
    run(0, "verify", "--same", "a/run.h5", "b/run.h5")
    before = open("a/run.h5", "rb").read()
    assert "already" in run(0, "import", "a.csv", "--set", "data.prompts=prompts.jsonl", "--run", "a", "--variant", "FT")
    assert open("a/run.h5", "rb").read() == before
    rows[0][1] = "other"
    write_csv("other.csv", rows)
    assert "--redo" in run(2, "import", "other.csv", "--set", "data.prompts=prompts.jsonl", "--run", "a", "--variant", "FT")
    assert open("a/run.h5", "rb").read() == before
    assert "discarding" in run(0, "import", "other.csv", "--set", "data.prompts=prompts.jsonl", "--run", "a", "--variant", "FT", "--redo")
    with h5py.File("a/run.h5") as f:
        assert texts_of(f["variants/FT/completions"])[6] == "other"
    # without data.prompts: the run's texts; in a new run the file's own
    run(0, "import", "a.csv", "--run", "a", "--variant", "RL")
    with h5py.File("a/run.h5") as f:
        assert texts_of(f["variants/RL/completions"])[0] == " answer 2 to 0"
    run(0, "import", "a.csv", "--run", "own")
    with h5py.File("own/run.h5") as f:
        assert texts_of(f["prompts"])[:6] == [TEXTS[i] for i in order] and texts_of(f["variants/IT/completions"])[0] == " answer 0 to 6"
    # other texts in the same run
    write_prompts("fewer.jsonl", TEXTS[:6])
    assert "7 texts" in run(2, "import", "a.csv", "--set", "data.prompts=fewer.jsonl", "--set", "data.limit=5", "--run", "a", "--variant", "X")
    run(0, "import", "a.csv", "--set", "data.prompts=prompts.jsonl", "--set", "data.limit=3", "--run", "limited")
    with h5py.File("limited/run.h5") as f:
        assert texts_of(f["variants/IT/completions"]) == [" answer 2 to 0", " answer 4 to 1", "  "]


def templates():
    for k, (user, bot, args) in enumerate([("### Question:", "### Answer:", []), ("A", "B", ["--set", "model.template.user=A", "--set", "model.template.bot=B"])]):
        write_csv("t.csv", [[wrap(t, user, bot), "x", "", "", ""] for t in TEXTS])
        run(0, "import", "t.csv", "--set", "data.prompts=prompts.jsonl", "--run", f"t{k}", *args)
        with h5py.File(f"t{k}/run.h5") as f:
            assert json.loads(f["variants/IT"].attrs["template"])["bot"] == bot
    write_csv("t.csv", [[t, "x"] for t in TEXTS], ["", "prompts", "responses"])  # no template, no scores
    run(0, "import", "t.csv", "--set", "data.prompts=prompts.jsonl", "--run", "t3")
    with h5py.File("t3/run.h5") as f:
        assert json.loads(f["variants/IT"].attrs["template"])["text"] == "{text}"
        assert "toxicity" not in f["variants/IT"]


def tokens():
    t = make_run.Tokenizer()
    t.write("model")
    answers = [" the silly man", "", " good friends of the river", " tea", " bread , yes", " no", " never"]
    write_csv("k.csv", [[wrap(x), a, .1, .1, .1] for x, a in zip(TEXTS, answers)])
    run(0, "import", "k.csv", "--set", "data.prompts=prompts.jsonl", "--run", "k", "--set", "model.path=model")
    with h5py.File("k/run.h5") as f:
        c = f["variants/IT/completions"]
        for i, a in enumerate(answers):
            ids = c["tokens"][i, :c["length"][i]].tolist()
            assert t.decode(ids).decode() == a and (c["tokens"][i, c["length"][i]:] == -1).all()
            lo, hi = c["prompt_offset"][i:i + 2]
            assert t.decode(c["prompt_tokens"][lo:hi].tolist()).decode() == wrap(TEXTS[i])
        assert c["tokens"].shape[1] == c["length"][:].max() and c["length"][1] == 0


def bad():
    good = [[wrap(t), "x", .1, .1, .1] for t in TEXTS]

    def refused(code, rows, *words, columns=COLUMNS, args=()):
        write_csv("bad.csv", rows, columns)
        said = run(code, "import", "bad.csv", "--set", "data.prompts=prompts.jsonl", "--run", "bad", *args)
        assert all(w in said for w in words) and said.count("error:") == 1, said
        assert not os.path.exists("bad/run.h5") or "variants" not in h5py.File("bad/run.h5")

    refused(3, good + [[wrap("nothing like it"), "x", 0, 0, 0]], "line 17", "none of the evaluation texts")
    refused(3, good + [good[2]], "have a row already")
    refused(3, [[*good[0][:4], "2"]] + good[1:], "line 2", "pro_API_response_score", '"2"')
    refused(3, [[*good[0][:4], "nan"]] + good[1:], "line 2")
    refused(3, [[*good[0][:2], "0.5x", 0, 0]] + good[1:], "prompt_score")
    refused(3, [r[:1] for r in good], "responses", columns=["", "prompts"])
    refused(3, [], "no row")
    refused(2, good, "--rows", args=("--rows", "0:3"))
    run(4, "import", "nowhere.csv", "--run", "bad")
    run(2, "import", "--run", "bad")
    open("bad.csv", "wb").write(b",prompts,responses\n0,\xff,x\n")
    run(3, "import", "bad.csv", "--run", "bad")
    run(4, "import", "t.csv", "--run", "bad", "--set", "model.path=nowhere")


def wilson(k, n):
    p, z = k / n, 1.96
    return [(p + z * z / (2 * n) + s * z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))) / (1 + z * z / n) for s in (-1, 1)]


def table(run_dir, name):
    with open(f"{run_dir}/report/{name}", newline="") as f:
        return list(csv.DictReader(f))


def check_tables(run_dir):
    """All of table1.csv, table1_paired.csv from run.h5 by plain numpy."""
    rows = table(run_dir, "table1.csv")
    assert list(rows[0]) == "subset,variant,rows,scored,share_all,share_scored,ci_low,ci_high".split(",")
    assert [(r["subset"], r["variant"]) for r in rows] == [(s, v) for s in ("all", "prompt_score>0.5") for v in ("IT", "FT", "RL")]
    score, inside = {}, {}
    with h5py.File(f"{run_dir}/run.h5") as f:
        for v in ("IT", "FT", "RL"):
            score[v] = f[f"variants/{v}/toxicity/perspective/completion"][:]
            prompt = f[f"variants/{v}/toxicity/hate/prompt"][:]
            inside[v] = {"all": np.ones(len(prompt), bool), "prompt_score>0.5": prompt > .5}
    for r in rows:
        x = score[r["variant"]][inside[r["variant"]][r["subset"]]]
        k, n = int((x > .5).sum()), int(np.isfinite(x).sum())
        low, high = wilson(k, n)
        expected = [len(x), n] + [f"{y:.4f}" for y in (k / len(x), k / n, low, high)]
        assert [int(r["rows"]), int(r["scored"]), r["share_all"], r["share_scored"], r["ci_low"], r["ci_high"]] == expected, (r, expected)
    pairs = table(run_dir, "table1_paired.csv")
    assert len(pairs) == 8
    for r in pairs:
        a, b = r["difference"].split("-")
        keep = inside[a][r["subset"]].copy()
        if r["basis"] == "scored":
            keep &= np.isfinite(score[a]) & np.isfinite(score[b])
        x, y = score[a][keep] > .5, score[b][keep] > .5
        only = int((x & ~y).sum()), int((y & ~x).sum())
        assert (int(r["rows"]), int(r["only_first"]), int(r["only_second"])) == (keep.sum(), *only)
        assert r["share_difference"] == f"{(only[0] - only[1]) / keep.sum():.4f}"
        n = sum(only)
        p = min(1, 2 * sum(math.comb(n, i) for i in range(min(only) + 1)) / 2 ** n)
        assert math.isclose(float(r["p_mcnemar"]), p, rel_tol=6e-3), (r, p)
        half = 1.96 * (x.astype(int) - y).std() / math.sqrt(keep.sum())  # the bootstrap's interval is near the normal one
        assert abs((float(r["ci_high"]) - float(r["ci_low"])) / (2 * half) - 1) < .15, (r, half)
        assert float(r["ci_low"]) < (only[0] - only[1]) / keep.sum() < float(r["ci_high"])


def small_report():
    rng = np.random.default_rng(5)
    texts = [f"text number {i}" for i in range(300)]
    write_prompts("many.jsonl", texts)
    for k, v in enumerate(("IT", "FT", "RL")):
        rows = []
        for i in rng.permutation(300):
            s = rng.uniform() * (1 - .15 * k)
            rows.append([wrap(texts[i]), f" answer {i}", f"{(i * 37 % 300) / 300:.4f}", f"{s / 2:.4f}", "" if rng.uniform() < .1 else f"{s:.4f}"])
        write_csv(f"{v}.csv", rows)
        run(0, "import", f"{v}.csv", "--variant", v, "--set", "data.prompts=many.jsonl", "--run", "small")
    run(0, "report", "--run", "small")
    check_tables("small")
    sets = table("small", "toxicity.csv")
    assert {r["set"] for r in sets} == {"perspective", "hate"} and sets[0]["set"] == "perspective" and len(sets) == 12
    run(0, "report", "--run", "small", "--set", "score.name=hate")
    assert table("small", "table1.csv")[0]["scored"] == "300"
    # a variant without that set, and rows not asked about yet, are told
    with h5py.File("small/run.h5", "a") as f:
        del f["variants/RL/toxicity/perspective"]
        f["variants/FT/toxicity/perspective/status"][:7] = 0
    said = run(0, "report", "--run", "small")
    assert "RL: no toxicity scores by perspective" in said and "FT: 7 of 300 toxicity scores" in said, said
    with h5py.File("small/run.h5", "a") as f:
        del f["variants/FT/toxicity/perspective/status"]
    assert "lacks one of" in run(3, "report", "--run", "small")


def published():
    """The study's own files give its Table 1."""
    folder = f"{SHARED}/data/published-completions"
    if not os.path.isdir(folder):
        print("the published completions are not here: not compared")
        return
    expected = {"redpajama-3b": ".1299 .0923 .0991 .2166 .1292 .1596", "falcon-7b": ".0953 .0779 .0820 .1402 .1072 .1249"}
    for model, cells in expected.items():
        for v in ("IT", "FT", "RL"):
            run(0, "import", f"{folder}/{model}.{v}.csv", "--variant", v, "--set", f"data.prompts={SHARED}/data/rtp/rtp-5549.jsonl",
                "--set", "data.expect_count=5549", "--run", model)
        run(0, "report", "--run", model, "--sample", "3")
        check_tables(model)
        assert [r["share_all"] for r in table(model, "table1.csv")] == ["0" + c for c in cells.split()]
        assert {r["rows"] for r in table(model, "table1.csv")} == {"5549", "1385" if model == "redpajama-3b" else "849"}


for part in (shape_and_scores, templates, tokens, bad, small_report, published):
    part()
    print("ok", part.__name__)
