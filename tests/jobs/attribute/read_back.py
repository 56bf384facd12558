"""generate and attribute are run, and run.h5 is read as an analyst would: with h5py, xarray and h5dump. Checked are names,
shapes, types and attributes (design of the file: mpi/run/run.h), that the parts fit together, that the stored text is the
decoded ids, that curves follow from the matrices, and that a smaller evaluation set gives the same first rows."""
import json
import os
import subprocess
import sys

try:
    import h5py
    import numpy as np
except ImportError as e:
    print(f"{e}: python3-h5py is needed")
    sys.exit(77)

PROGRAM, SOURCE, BUILD = os.environ["DETOXLENS"], os.environ["DTX_SOURCE"], os.environ["DTX_BUILD"]
TEXTS = f"{SOURCE}/data/quickstart/texts.jsonl"
N, WIDTH = 9, 16
USER, BOT = "<human>:", "<bot>:"


def run(*args, **kw):
    return subprocess.run([str(a) for a in args], check=True, **kw)


def stage(job, out, *args, ranks=2):
    run(os.environ["MPIRUN"], ranks, PROGRAM, job, "--run", out, "--quiet", "--set", "model.path=model",
        "--set", f"generate.max_new_tokens={WIDTH}", *args)


def selected():
    """The evaluation texts by the study's rule."""
    out = []
    for line in open(TEXTS, encoding="utf-8"):
        row = json.loads(line)
        if min(row[part]["toxicity"] or 0 for part in ("prompt", "continuation")) > 0.5:
            out.append(row["prompt"]["text"] + " " + row["continuation"]["text"])
    return out


def ragged(group, name, i, offsets):
    o = group[offsets]
    return group[name][int(o[i]):int(o[i + 1])]


run(f"{BUILD}/tests/make_model", "neox", "model", f"{SOURCE}/data/quickstart/corpus.txt")
stage("generate", "full", "--set", f"data.prompts={TEXTS}", "--set", f"data.limit={N}")
stage("attribute", "full", "--set", "attribute.check=2", "--set", "attribute.steps=4")
stage("attribute", "full", "--set", "attribute.name=bare", "--set", "attribute.template_tokens=false",
      "--set", "attribute.merge=none", "--set", "attribute.eos=keep")
FT = ("--variant", "FT", "--set", "variants.FT.adapter=model/adapter")
stage("generate", "full", "--set", f"data.prompts={TEXTS}", "--set", f"data.limit={N}", *FT)
stage("attribute", "full", "--completions-of", "FT", "--set", "attribute.merge=none", "--set", "attribute.eos=keep")
stage("generate", "small", "--set", f"data.prompts={TEXTS}", "--set", "data.limit=2", "--set", "generate.samples=2", ranks=3)
texts = selected()

with h5py.File("full/run.h5") as f:
    assert f.attrs["schema_version"] == 1
    prompts, v = f["prompts"], f["variants/IT"]
    assert prompts["id"].shape == (N,) and prompts["id"].dtype == np.int64
    for i in range(N):
        assert bytes(ragged(prompts, "text_bytes", i, "text_offset")).decode() == texts[i], i
    for name in ("base_model", "weights_fingerprint", "adapter_sha256", "template", "generation"):
        assert name in v.attrs, name
    assert json.loads(v.attrs["generation"])["max_new_tokens"] == WIDTH
    assert v.attrs["base_model"] == b"model" and len(v.attrs["weights_fingerprint"]) == 64

    c = v["completions"]
    assert c.attrs["complete"] == 1
    shapes = {"tokens": ((N, WIDTH), "i4"), "length": ((N,), "i4"), "logprob": ((N, WIDTH), "f4"),
              "behaviour_logprob": ((N, WIDTH), "f4"), "finish": ((N,), "u1"), "prompt_offset": ((N + 1,), "u8"),
              "text_offset": ((N + 1,), "u8")}
    for name, (shape, dtype) in shapes.items():
        assert c[name].shape == shape and c[name].dtype == np.dtype("<" + dtype), name
        assert c[name].attrs["long_name"] and c[name].attrs["units"], name
    tokens, length, finish = c["tokens"][:], c["length"][:], c["finish"][:]
    ended = set(finish)
    assert ended <= {1, 2}
    decoded = run(PROGRAM, "tokenize", "--tokenizer", "model", "--decode", "--skip-special", "--clean-up",
                  input="".join(" ".join(str(t) for t in tokens[i][:length[i]]) + "\n" for i in range(N)),
                  text=True, capture_output=True).stdout.splitlines()
    for i in range(N):
        assert (tokens[i][:length[i]] >= 0).all() and (tokens[i][length[i]:] == -1).all()
        assert (finish[i] == 1) == (tokens[i][length[i] - 1] == 0) and 4 <= length[i] <= WIDTH
        for name in ("logprob", "behaviour_logprob"):
            x = c[name][i]
            assert (x[:length[i]] <= 0).all() and np.isnan(x[length[i]:]).all()
        # what is drawn from a narrowed distribution is likelier there
        assert c["behaviour_logprob"][i][:length[i]].sum() > c["logprob"][i][:length[i]].sum()
        text = bytes(ragged(c, "text_bytes", i, "text_offset")).decode()
        assert "\n" not in text
        expected = json.loads(decoded[i])["text"].replace("\n", " ")
        assert text == expected, (i, text, expected)

    def check(name, keep_eos, words):
        a = v["attribution"][name]
        assert a["done"][:].all() and a["done"].dtype == np.uint8
        assert a.attrs["method"] == b"input_x_gradient" and a.attrs["target"] == b"probability"
        G, T, offset = a["G"][:], a["T"][:], a["row_offset"][:].astype(int)
        P = np.diff(c["prompt_offset"][:].astype(int))
        assert (G == length - (0 if keep_eos else (finish == 1))).all() and (T == P + G).all()
        assert (np.diff(offset) == G * T).all() and a["value"].shape == (offset[-1],)
        assert ("words" in a) == words
        for i in range(N):
            m = a["value"][offset[i]:offset[i + 1]].reshape(G[i], T[i]).astype(float)
            for g in range(G[i]):
                assert np.isnan(m[g, P[i] + g:]).all() and (m[g, :P[i] + g] >= 0).all()
                assert abs(m[g, :P[i] + g].sum() - 1) < 1e-5
            for x in ("step_probability", "entropy", "prompt_dependence"):
                assert np.isnan(a[x][i][G[i]:]).all() and np.isfinite(a[x][i][:G[i]]).all(), (x, i)
            # the probability is the one that generation saw
            assert np.allclose(np.log(a["step_probability"][i][:G[i]]), c["logprob"][i][:G[i]], atol=2e-4)
            if a.attrs["template_tokens"]:
                p = m[:, :P[i]]
                assert np.allclose(a["prompt_dependence"][i][:G[i]], p.sum(1), atol=1e-5)
                p = p / p.sum(1, keepdims=True)
                assert np.allclose(a["entropy"][i][:G[i]], -(p * np.log2(np.where(p > 0, p, 1))).sum(1), atol=1e-4)
            else:  # fewer tokens count
                assert (a["prompt_dependence"][i][:G[i]] < m[:, :P[i]].sum(1)).all()
        if words:
            w = a["words"]
            n = w["length"][:]
            assert (n >= 1).all() and (n <= G).all()
            for i in range(N):
                assert np.isfinite(w["entropy"][i][:n[i]]).all() and np.isnan(w["entropy"][i][n[i]:]).all()
                assert np.isclose(np.prod(w["step_probability"][i][:n[i]].astype(float)),
                                  np.prod(a["step_probability"][i][:G[i]].astype(float)), rtol=1e-3)

    check("input_x_gradient", False, True)
    check("bare", True, False)
    k = v["attribution/input_x_gradient/check"]
    assert k["row"].shape == (2,) and k.attrs["rows"] == 2 and np.isfinite(k["drop_top"][:]).all()
    # base_logprob: what a forward pass of the base (here: attribute's, of IT over FT's answers) gives to FT's ids
    c2, seen = f["variants/FT/completions"], v["attribution/input_x_gradient@FT"]
    assert "base_logprob" not in c and c2["base_logprob"].shape == (N, WIDTH)
    apart = 0
    for i in range(N):
        n = c2["length"][i]
        x, own, p = c2["base_logprob"][i], c2["logprob"][i], seen["step_probability"][i]
        assert np.isnan(x[n:]).all() and seen["G"][i] == n
        assert np.allclose(x[:n], np.log(p[:n].astype(float)), atol=2e-4), i
        apart = max(apart, abs(x[:n] - own[:n]).max())
    assert apart > 0.1  # else the base was not told from the variant
    p = f["provenance"]
    assert len(p) == 5 and all("exit_code" in p[x].attrs for x in p)

    # samples: row 2 i + s, the first of them is what one sample gives; a smaller set gives the same rows
    with h5py.File("small/run.h5") as s:
        t = s["variants/IT/completions"]
        assert t["tokens"].shape == (4, WIDTH) and t["prompt_offset"].shape == (5,)
        assert (t["tokens"][0::2] == tokens[:2]).all() and not (t["tokens"][1::2] == tokens[:2]).all()
        assert (t["logprob"][0] == c["logprob"][0])[:length[0]].all()

    groups = []
    f.visititems(lambda name, o: groups.append(name) if isinstance(o, h5py.Group) else None)
# prompts of one token, and a completion of none: the end of text is the token that greedy decoding gives first
with open("edge.txt", "w", encoding="utf-8") as t:
    t.write("a\nb\nThe old teacher said\n")
edge = ("--set", "data.prompts=edge.txt", "--set", "model.template.text={text}", "--set", "generate.do_sample=false",
        "--set", "generate.min_new_tokens=0")
stage("generate", "edge", *edge)
with h5py.File("edge/run.h5") as f:
    first = int(f["variants/IT/completions/tokens"][0, 0])
with open("model/generation_config.json", "w", encoding="utf-8") as t:
    json.dump({"eos_token_id": first}, t)
for out, ranks in (("edge2", 2), ("edge5", 5)):
    stage("generate", out, *edge, ranks=ranks)
    stage("attribute", out, "--set", "attribute.check=3", "--set", "attribute.steps=2", ranks=ranks)
run(PROGRAM, "verify", "--same", "edge2", "edge5", stdout=subprocess.DEVNULL)
with h5py.File("edge2/run.h5") as f:
    c, a = f["variants/IT/completions"], f["variants/IT/attribution/input_x_gradient"]
    assert list(np.diff(c["prompt_offset"][:].astype(int))[:2]) == [1, 1]
    assert c["length"][0] == 1 and c["finish"][0] == 1 and c["text_offset"][1] == 0
    assert a["G"][0] == 0 and a["T"][0] == 1 and a["row_offset"][1] == 0 and a["done"][:].all()
    assert np.isnan(a["entropy"][0]).all() and np.isnan(a["words/entropy"][0]).all() and a["words/length"][0] == 0
    if a["G"][1] > 0:  # one prompt token has all that is not the completion's
        assert a["prompt_dependence"][1, 0] == 1 and a["entropy"][1, 0] == 0

try:
    import xarray
    for g in groups:
        xarray.open_dataset("full/run.h5", engine="h5netcdf", group=g).load()
    print(f"xarray opened {len(groups)} groups")
except ImportError as e:
    print(f"without xarray: {e}")
out = run("h5dump", "-y", "-d", "/variants/IT/completions/length", "full/run.h5", capture_output=True, text=True).stdout
numbers = out[out.index("DATA {") + 6:].split("}")[0].replace(",", " ").split()
assert [int(x) for x in numbers] == list(length)
print("ok")
