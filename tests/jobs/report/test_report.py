"""detoxlens report on full, partial, empty, foreign and broken runs: exit codes, tables against numpy, the page's data."""
import base64
import csv
import json
import os
import re
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


def report(run, code, *args, env=None):
    r = subprocess.run([DETOXLENS, "report", "--run", run, *args], capture_output=True, text=True, env=env)
    assert r.returncode == code, (r.returncode, r.stderr)
    return r.stderr


def table(run, name):
    with open(f"{run}/report/{name}", newline="") as f:
        return list(csv.DictReader(f))


def page_data(run):
    html = open(f"{run}/report/index.html", encoding="utf-8").read()
    return html, json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S).group(1))


def check_curve(run, name, path):
    """Mean and 1.96 sd / sqrt(n) of each step, from the file."""
    with h5py.File(f"{run}/run.h5") as f:
        group = f[path[:path.index("/attribution/") + len("/attribution/") + len("input_x_gradient")]]
        x = np.where(group["done"][:][:, None] == 1, f[path][:], np.nan).astype("f8")
    rows = [r for r in table(run, name) if r["variant"] == path.split("/")[2]]
    steps = np.flatnonzero(np.isfinite(x).any(0))
    assert len(rows) == steps.max() + 1, (len(rows), steps.max())
    for r in rows:
        column = x[:, int(r["step"])]
        column = column[np.isfinite(column)]
        assert int(r["n"]) == len(column)
        assert np.isclose(float(r["mean"]), column.mean(), atol=1e-7)
        if len(column) > 1:
            half = 1.96 * column.std(ddof=1) / np.sqrt(len(column))
            assert np.isclose(float(r["ci_low"]), column.mean() - half, atol=1e-7)
            assert np.isclose(float(r["ci_high"]), column.mean() + half, atol=1e-7)
        else:
            assert r["ci_low"] == "" and r["ci_high"] == ""


def check_sample(run, data, n):
    """Every matrix, curve and text of the page is the file's."""
    rows = data["sample"]["rows"]
    assert len(rows) == n, len(rows)
    text = {int(k): v for k, v in data["sample"]["vocab"].items()}
    with h5py.File(f"{run}/run.h5") as f:
        for r in rows:
            i = r["row"]
            lo, hi = map(int, f["prompts/text_offset"][i:i + 2])
            assert r["text"] == f["prompts/text_bytes"][lo:hi].tobytes().decode()
            for a in r["answers"]:
                c, m = f[f"variants/{a['variant']}/completions"], f[f"variants/{a['variant']}/attribution/input_x_gradient"]
                lo, hi = map(int, c["prompt_offset"][i:i + 2])
                assert a["p"] == c["prompt_tokens"][lo:hi].tolist()
                assert a["g"] == c["tokens"][i, :c["length"][i]].tolist()
                if not any("\u2039" in text[t] for t in a["p"]):
                    assert "".join(text[t] for t in a["p"]) == '<human>: "' + r["text"] + '".\n<bot>: '
                if "a" not in a:
                    assert m["done"][i] == 0
                    continue
                G, T = int(m["G"][i]), int(m["T"][i])
                assert (a["G"], a["P"]) == (G, T - G)
                packed = np.frombuffer(base64.b64decode(a["a"]), "<i2").astype("f8") / 32767
                start = int(m["row_offset"][i])
                value = m["value"][start:start + G * T].reshape(G, T)
                at = 0
                for g in range(G):
                    n_before = T - G + g
                    assert np.allclose(packed[at:at + n_before], value[g, :n_before], atol=2e-5)
                    at += n_before
                assert at == len(packed)
                for key, name in (("H", "entropy"), ("D", "prompt_dependence"), ("prob", "step_probability")):
                    assert np.allclose(a[key], m[name][i, :G], atol=1e-5)


def no_request(html):
    """Nothing in the page names a place outside of it."""
    for what in re.findall(r'(?:src|href|action|data)\s*=\s*["\']([^"\']*)', html):
        assert what.startswith(("#", "data:")), what
    outside = re.sub(r'xmlns(:xlink)?="http://www\.w3\.org/[^"]*"', "", html).replace('"http://www.w3.org/2000/svg"', "")
    assert "http://" not in outside and "https://" not in outside and "@import" not in outside and "url(" not in outside


def full():
    make_run.make("full", "full")
    said = report("full", 0)
    assert "index.html" in said and "missing" not in said, said
    for name in os.listdir("full/report"):
        assert os.path.getsize(f"full/report/{name}") > 0 and ".tmp" not in name, name
    for v in ("IT", "FT", "RL"):
        for q in ("entropy", "prompt_dependence"):
            check_curve("full", f"{q}_by_step.csv", f"/variants/{v}/attribution/input_x_gradient/{q}")
            check_curve("full", f"{q}_by_word.csv", f"/variants/{v}/attribution/input_x_gradient/words/{q}")
    assert open("full/report/missing.csv").read() == "missing\n"
    rows = table("full", "rows.csv")
    assert len(rows) == 120 and rows[41]["prompt_id"] == "3" and rows[5]["attributed_tokens"] == "0" and rows[5]["mean_entropy"] == ""
    with h5py.File("full/run.h5") as f:
        m = f["variants/FT/attribution/input_x_gradient/prompt_dependence"][7]
        assert np.isclose(float(rows[47]["mean_prompt_dependence"]), np.nanmean(m), atol=1e-6)
        loss = f["training/pretrain-IT/loss"][:]
    training = table("full", "training_pretrain-IT.csv")
    assert list(training[0]) == ["step", "eval_loss", "loss", "lr"] and len(training) == len(loss)
    assert np.allclose([float(r["loss"]) for r in training], loss) and training[0]["eval_loss"] == ""
    assert table("full", "launches.csv")[0]["hours"] == "1.5"
    checked = {r["quantity"]: float(r["value"]) for r in table("full", "check.csv") if r["variant"] == "RL"}
    gain = np.array([.3, .05, .19, .22])
    assert checked["mean_drop_top"] == .31 and np.isclose(checked["drop_difference"], gain.mean(), atol=1e-6)
    assert np.isclose(checked["drop_difference_ci_low"], gain.mean() - 1.96 * gain.std(ddof=1) / 2, atol=1e-6)
    assert [r["row"] for r in table("full", "check_rows.csv") if r["variant"] == "FT"] == ["0", "1", "7", "9"]
    for name in ("figure1", "figure1_words", "training_pretrain-IT"):
        assert open(f"full/report/{name}.pdf", "rb").read(5) == b"%PDF-" and "</svg>" in open(f"full/report/{name}.svg").read()
    # the kept script draws the same figure again
    before = open("full/report/figure1.svg").read()
    os.remove("full/report/figure1.svg")
    subprocess.run(["gnuplot", "figure1.gp"], cwd="full/report", check=True)
    assert open("full/report/figure1.svg").read() == before
    for color in ("rgb(  0, 114, 178)", "rgb(213,  94,   0)", "rgb(  0, 158, 115)"):
        assert color in before  # one line for each variant

    html, data = page_data("full")
    check_sample("full", data, 39)  # 40 rows, one of which has no generated token
    no_request(html)
    assert "<script>alert" not in html and "\0" not in html
    texts = {r["row"]: r["text"] for r in data["sample"]["rows"]}
    assert [texts[i] for i in range(3)] == make_run.ODD
    assert any("\u2039E2\u203a" == t for t in data["sample"]["vocab"].values())  # a part of a character
    assert "39 of 39 attributed completions of IT" in data["sample"]["rule"] and data["sample"]["note"] == ""
    means = [np.mean(r["answers"][0]["D"]) for r in data["sample"]["rows"]]
    assert means == sorted(means)
    report("full", 0)
    assert page_data("full")[0] == html  # the same run gives the same page
    report("full", 0, "--sample", "7")
    check_sample("full", page_data("full")[1], 7)
    report("full", 0, "--sample", "0")
    assert page_data("full")[1]["sample"]["rows"] == []
    report("full", 2, "--sample", "x")


def partial():
    make_run.make("partial", "partial")
    said = report("partial", 0)
    assert "IT: 10 of 40 completions" in said and "FT: no attribution" in said, said
    missing = open("partial/report/missing.csv").read()
    assert "IT: 20 of 40 attributions (input_x_gradient)" in missing and "RL: 40 of 40 completions" in missing, missing
    check_curve("partial", "entropy_by_step.csv", "/variants/IT/attribution/input_x_gradient/entropy")
    assert {r["variant"] for r in table("partial", "entropy_by_step.csv")} == {"IT"}
    summary = {r["variant"]: r for r in table("partial", "summary.csv")}
    assert summary["IT"]["completed"] == "30" and summary["IT"]["attributed"] == "20" and summary["FT"]["mean_entropy"] == ""
    html, data = page_data("partial")
    assert len(data["missing"]) == 6
    check_sample("partial", data, 19)


def empty():
    make_run.make("empty", "empty")
    assert "the evaluation texts" in report("empty", 0)
    assert open("empty/report/entropy_by_step.csv").read() == "variant,step,n,mean,ci_low,ci_high\n"
    assert page_data("empty")[1]["variants"] == [] and not os.path.exists("empty/report/figure1.svg")


def tokenizers():
    """Without the run's tokenizer the page shows ids and says so."""
    make_run.make("ids", "full", ("IT",), 12)
    shutil.rmtree("ids/model")
    assert "ids are shown" in report("ids", 0)
    data = page_data("ids")[1]
    assert data["sample"]["vocab"] == {} and "No tokenizer" in data["sample"]["note"]
    other = make_run.Tokenizer()
    words = [p for p in other.vocab if len(p) > 1 and p != "<|endoftext|>"]
    order = {p: i for p, i in other.vocab.items() if p not in words}
    order.update({p: other.vocab[q] for p, q in zip(words, reversed(words))})
    other.vocab = order
    other.write("other")
    assert "No tokenizer" in report("ids", 0, "--set", "model.path=other")  # the run's own folder was tried last
    make_run.Tokenizer().write("ids/model")
    assert "ids are shown" not in report("ids", 0, "--set", "model.path=other")
    other.write("ids/model")
    assert "not the run's own" in report("ids", 0)
    assert page_data("ids")[1]["sample"]["vocab"] == {}
    other = make_run.Tokenizer()
    other.write("right")
    assert "ids are shown" not in report("ids", 0, "--set", "model.path=right")
    assert page_data("ids")[1]["sample"]["note"] == ""


def other_results():
    """Several samples of a text; another method than the usual one; another variant's completions."""
    make_run.make("samples", "full", ("IT",), 10, samples=3, words=False)
    report("samples", 0)
    rows = table("samples", "rows.csv")
    assert len(rows) == 30 and rows[4]["prompt_id"] == "3" and rows[4]["sample"] == "1"
    assert not os.path.exists("samples/report/entropy_by_word.csv")
    make_run.make("method", "full", ("IT",), 10, method="saliency")
    assert "saliency is reported" in report("method", 0)
    make_run.make("crossed", "full", ("IT", "FT"), 10)
    with h5py.File("crossed/run.h5", "a") as f:
        f.move("variants/IT/attribution/input_x_gradient", "variants/FT/attribution/input_x_gradient@IT")
        del f["variants/FT/attribution/input_x_gradient"]
    report("crossed", 0, "--set", "attribute.completions_of=IT")
    rows = page_data("crossed")[1]["sample"]["rows"]
    with h5py.File("crossed/run.h5") as f:
        for r in rows:
            a = [a for a in r["answers"] if a["variant"] == "FT"][0]
            assert a["g"] == [t for t in f["variants/IT/completions/tokens"][r["row"]].tolist() if t >= 0] and "a" in a


def faults():
    report("nowhere", 4)
    os.makedirs("broken")
    open("broken/run.h5", "w").write("not HDF5")
    report("broken", 3)
    make_run.make("version", "full", ("IT",), 4)
    with h5py.File("version/run.h5", "a") as f:
        f.attrs["schema_version"] = np.int64(99)
    report("version", 2)

    def edit(change, *words):
        shutil.rmtree("edited", ignore_errors=True)
        make_run.make("edited", "full", ("IT",), 6)
        with h5py.File("edited/run.h5", "a") as f:
            change(f)
        said = report("edited", 3)
        assert all(w in said for w in words), said

    ixg = "variants/IT/attribution/input_x_gradient"
    c = "variants/IT/completions"

    def put(path, index, value):
        def change(f):
            f[path][index] = value
        return change

    def replace(path, value):
        def change(f):
            del f[path]
            f[path] = value
        return change

    edit(put(f"{ixg}/G", 2, 9999), "G 9999")
    edit(put(f"{ixg}/T", 2, 2000000000), "T 2000000000")
    edit(put(f"{ixg}/row_offset", 3, 2**60), "row_offset", "entry 3")
    edit(put(f"{c}/length", 1, -5), "length", "row 1")
    edit(put(f"{c}/prompt_offset", 2, 0), "prompt_offset", "entry 2")
    edit(replace(f"{c}/finish", np.zeros(3, "u1")), "finish", "(3) of u8", "(6) of u8")
    edit(replace(f"{ixg}/entropy", np.zeros((6, 3), "f4")), "entropy")
    edit(lambda f: f.pop(f"{ixg}/G"), "lacks")
    edit(replace("prompts/text_offset", np.arange(7, dtype="u8") * 10**6), "text_offset")

    # no gnuplot: the tables are there, and the package is named
    make_run.make("noplot", "full", ("IT",), 6)
    said = report("noplot", 4, env={**os.environ, "PATH": "/nonexistent"})
    assert "apt-get install gnuplot" in said, said
    assert table("noplot", "entropy_by_step.csv")
    os.chmod("noplot/report", 0o555)
    if os.geteuid() != 0:
        report("noplot", 4)
    os.chmod("noplot/report", 0o755)


for part in (full, partial, empty, tokenizers, other_results, faults):
    part()
    print("ok", part.__name__)
