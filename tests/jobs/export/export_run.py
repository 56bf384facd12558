"""export --csv and --inseq: the tables and the JSON read back, compared with run.h5; Inseq itself loads it where installed."""
import base64
import csv
import json
import math
import os
import subprocess
import sys

try:
    import h5py
    import numpy as np
except ImportError as e:
    print("skipped:", e)
    sys.exit(77)

DETOXLENS, SOURCE = os.environ["DETOXLENS"], os.environ["DTX_SOURCE"]
os.environ["DETOXLENS_THREADS"] = "1"  # many short launches
MAKE_MODEL, TEXTS = sys.argv[1], f"{SOURCE}/data/quickstart/texts.jsonl"
MODEL, FT = ("--set", "model.path=model"), ("--variant", "FT", "--set", "variants.FT.adapter=model/adapter")
N, K, WIDTH = 4, 2, 9


def run(code, *args):
    r = subprocess.run([DETOXLENS, *args], capture_output=True, text=True)
    assert r.returncode == code, (args, r.returncode, r.stdout, r.stderr)
    return r.stderr


for kind, folder, corpus in (("neox", "model", "data/quickstart/corpus.txt"), ("roberta", "classifier", "data/quickstart/corpus.txt"),
                             ("neox", "other", "README.md")):
    subprocess.run([MAKE_MODEL, kind, folder, f"{SOURCE}/{corpus}"], check=True)
for who in ((), FT):
    run(0, "generate", "--run", "out", *MODEL, "--set", f"data.prompts={TEXTS}", "--set", f"data.limit={N}", "--set", f"generate.samples={K}",
        "--set", f"generate.max_new_tokens={WIDTH}", *who)
run(0, "attribute", "--run", "out", *MODEL, *FT)
run(0, "attribute", "--run", "out", *MODEL, *FT, "--completions-of", "IT", "--rows", "1:3")
run(0, "score", "--run", "out", *FT, *MODEL, "--name", "hate", "--set", "score.path=classifier", "--keywords", "true")


def table(name, folder="tables"):
    with open(f"{folder}/{name}.csv", newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def number(s):
    return np.float32(s) if s else np.float32(math.nan)


def ragged(group, i):
    edge = group["text_offset"][:]
    return group["text_bytes"][int(edge[i]):int(edge[i + 1])].tobytes().decode()


def long_form(lines, names, group, keys):
    """Every value of the (rows, steps) datasets, and nothing else."""
    got = {n: np.full(group[n].shape if n in group else (N * K, WIDTH), np.nan, "f4") for n in names}
    for x in (x for x in lines if all(x[k] == v for k, v in keys.items())):
        for n in names:
            got[n][int(x["row"]), int(x["step"])] = number(x[n])
    for n in names:
        np.testing.assert_array_equal(got[n], group[n][:] if n in group else np.full_like(got[n], np.nan))


run(0, "export", "--csv", "tables", "--run", "out")
with h5py.File("out/run.h5") as f:
    v = f["variants"]
    assert [(int(x["text"]), int(x["id"]), x["prompt"]) for x in table("prompts")] == [
        (i, f["prompts/id"][i], ragged(f["prompts"], i)) for i in range(N)]
    lines = table("completions")
    assert len(lines) == 2 * N * K
    for x in lines:
        c, r = v[x["variant"]]["completions"], int(x["row"])
        assert (int(x["text"]), int(x["sample"])) == divmod(r, K)
        assert (int(x["finish"]), int(x["length"]), x["completion"]) == (c["finish"][r], c["length"][r], ragged(c, r))
    for who in ("IT", "FT"):
        c, lines = v[who]["completions"], table("tokens")
        long_form(lines, ("logprob", "behaviour_logprob", "base_logprob"), c, {"variant": who})
        ids = {(int(x["row"]), int(x["step"])): int(x["id"]) for x in lines if x["variant"] == who}
        assert ids == {(r, s): c["tokens"][r, s] for r in range(N * K) for s in range(c["length"][r])}
    for name in ("input_x_gradient", "input_x_gradient@IT"):
        long_form(table("curves"), ("step_probability", "entropy", "prompt_dependence"), v["FT/attribution"][name],
                  {"variant": "FT", "attribution": name})
    hate = v["FT/toxicity/hate"]
    long_form(table("token_shares"), ("token_share",), hate, {"variant": "FT", "set": "hate"})
    lines = table("scores")
    assert len(lines) == N * K and all(x["set"] == "hate" for x in lines)
    for x in lines:
        r = int(x["row"])
        np.testing.assert_array_equal(number(x["completion"]), hate["completion"][r])
        assert number(x["prompt"]) == hate["prompt"][r] and int(x["status"]) == hate["status"][r]
run(0, "export", "--csv", "some", "--run", "out", "--rows", "1:2")
assert sorted({x["row"] for x in table("curves", "some")}) == ["2", "3"] and [x["text"] for x in table("prompts", "some")] == ["1"]
print("ok csv")


class Plain:
    pass


def load(path):
    """As Inseq's reader: innermost first, objects by __instance_type__, arrays by __ndarray__."""
    def hook(pairs):
        d = dict(pairs)
        if "__instance_type__" in d:
            o = Plain()
            o.__dict__ = dict(d["attributes"])
            o.type = tuple(d["__instance_type__"])
            return o
        if "__ndarray__" in d:
            x = np.asarray(d["__ndarray__"], dtype=d["dtype"], order="C" if d.get("Corder", True) else "F")
            return x.reshape(d["shape"])
        for k in ("target_attributions", "probability"):  # version 0.7: base64 of a safetensors file with one tensor
            if isinstance(d.get(k), str):
                blob = base64.b64decode(d[k], validate=True)
                n = int.from_bytes(blob[:8], "little")
                tensor = json.loads(blob[8:8 + n])
                assert list(tensor) == ["attribution"] and n % 8 == 0, tensor
                tensor = tensor["attribution"]
                assert tensor["dtype"] == "F32" and tensor["data_offsets"] == [0, len(blob) - 8 - n]
                d[k] = np.frombuffer(blob[8 + n:], "<f4").reshape(tensor["shape"])
        return d
    return json.load(open(path, encoding="utf-8"), object_pairs_hook=hook)


run(0, "export", "--inseq", "all.json", "--run", "out", *MODEL, *FT)
run(0, "export", "--inseq", "it.json", "--run", "out", *MODEL, *FT, "--attribution", "input_x_gradient@IT", "--rows", "2:4")
run(0, "export", "--inseq", "old.json", "--inseq-format", "0.6", "--run", "out", *MODEL, *FT)
assert "0.7" in run(2, "export", "--inseq", "x.json", "--inseq-format", "0.5", "--run", "out", *MODEL, *FT)
assert "__ndarray__" in open("old.json").read() and "__ndarray__" not in open("all.json").read()
vocab = {i: s for s, i in json.load(open("model/tokenizer.json", encoding="utf-8"))["model"]["vocab"].items()}
with h5py.File("out/run.h5") as f:
    for path, name, of, rows in (("all.json", "input_x_gradient", "FT", list(range(N * K))), ("old.json", "input_x_gradient", "FT", list(range(N * K))), ("it.json", "input_x_gradient@IT", "IT", [4, 5])):
        out, a, c = load(path), f["variants/FT/attribution"][name], f["variants"][of]["completions"]
        assert out.type == ("inseq.data.attribution", "FeatureAttributionOutput") and out.step_attributions is None
        assert out.info["rows"] == rows and out.info["attribution_method"] == "input_x_gradient" and out.info["completions_of"] == of
        assert len(out.sequence_attributions) == len(out.info["input_texts"]) == len(out.info["generated_texts"]) == len(rows)
        for r, s, before, whole in zip(rows, out.sequence_attributions, out.info["input_texts"], out.info["generated_texts"]):
            G, T, at, p = a["G"][r], a["T"][r], int(a["row_offset"][r]), int(c["prompt_offset"][r])
            ids = list(c["prompt_tokens"][p:p + T - G]) + list(c["tokens"][r, :G])
            assert s.type == ("inseq.data.attribution", "FeatureAttributionSequenceOutput") and s.source_attributions is None
            assert [t.id for t in s.target] == ids and [t.token for t in s.target] == [vocab[i] for i in ids]
            assert [t.id for t in s.source] == ids[:T - G] and (s.attr_pos_start, s.attr_pos_end) == (T - G, T)
            assert s.target[0].type == ("inseq.utils.typing", "TokenWithId")
            np.testing.assert_array_equal(s.target_attributions, a["value"][at:at + G * T].reshape(G, T).T)
            np.testing.assert_array_equal(s.step_scores["probability"], a["step_probability"][r, :G])
            assert s.target_attributions.dtype == np.float32 and whole.startswith(before) and "<human>" in before
# a row without a step is left out, and said to be
with h5py.File("out/run.h5", "a") as f:
    a = f["variants/FT/attribution/input_x_gradient"]
    G, T = int(a["G"][1]), int(a["T"][1])
    a["G"][1], a["T"][1] = 0, T - G
assert "1 rows of the run have no generated token" in run(0, "export", "--inseq", "without.json", "--run", "out", *MODEL, *FT)
assert load("without.json").info["rows"] == [r for r in range(N * K) if r != 1]
with h5py.File("out/run.h5", "a") as f:
    a = f["variants/FT/attribution/input_x_gradient"]
    a["G"][1], a["T"][1] = G, T
try:
    import inseq
    assert len(inseq.FeatureAttributionOutput.load("all.json").sequence_attributions) == N * K
    print("ok inseq itself")
except ImportError:
    print("without inseq: its reader's rules were applied by the test")

assert "detoxlens attribute" in run(4, "export", "--inseq", "x.json", "--run", "out", *MODEL, "--variant", "IT")
assert "model.path" in run(2, "export", "--inseq", "x.json", "--run", "out", *FT)
run(2, "export", "--csv", "--inseq", "x", "--run", "out", *MODEL)
run(2, "export", "x", "--run", "out", *MODEL)
run(4, "export", "--csv", "x", "--run", "nowhere")
run(4, "export", "--inseq", "no/such/folder/x.json", "--run", "out", *MODEL, *FT)
assert not os.path.exists("x.json") and not os.path.exists("x.json.tmp")
print("ok inseq format")
