"""Makes a run directory as generate, attribute and pretrain fill it, for tests of readers: run.h5 with the layout of the
program, a folder with a word-level tokenizer.json, numbers from a fixed seed. Shapes: full, partial, empty."""
import json
import os

import h5py
import numpy as np

BYTES = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))


def byte_alphabet():
    """GPT-2's printable stand-ins for bytes."""
    table, extra = {b: chr(b) for b in BYTES}, 0
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + extra)
            extra += 1
    return table


ALPHABET = byte_alphabet()
WORDS = ("the a people who like are hopeless silly kind and but tea bread river cyclists jugglers think that they never stop "
         "Honestly every evening neighbour said market is full of good friends . , \" : human bot < > yes no").split()


def piece(text):
    return "".join(ALPHABET[b] for b in text.encode("utf-8"))


class Tokenizer:
    """Word pieces and single bytes; merges are not needed to decode."""

    def __init__(self):
        self.vocab = {"<|endoftext|>": 0}
        for b in range(256):
            self.vocab.setdefault(ALPHABET[b], len(self.vocab))
        for w in WORDS:
            for text in (w, " " + w):
                self.vocab.setdefault(piece(text), len(self.vocab))
        self.text = {i: p for p, i in self.vocab.items()}

    def encode(self, text):
        ids, at = [], 0
        while at < len(text):
            for n in range(min(12, len(text) - at), 0, -1):
                p = piece(text[at:at + n])
                if p in self.vocab:
                    ids.append(self.vocab[p])
                    at += n
                    break
            else:
                ids.extend(self.vocab[ALPHABET[b]] for b in text[at].encode("utf-8"))
                at += 1
        return ids

    def decode(self, ids):
        back = {c: b for b, c in ALPHABET.items()}
        return b"".join(bytes(back[c] for c in self.text[i]) for i in ids if i != 0)

    def write(self, folder):
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "tokenizer.json"), "w") as f:
            json.dump({
                "version": "1.0", "truncation": None, "padding": None,
                "added_tokens": [{"id": 0, "content": "<|endoftext|>", "single_word": False, "lstrip": False, "rstrip": False,
                                  "normalized": False, "special": True}],
                "normalizer": None,
                "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
                "post_processor": None,
                "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
                "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                          "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                          "vocab": self.vocab, "merges": []}}, f)


# What a page must survive: markup, a NUL, line ends, characters of four bytes.
ODD = ["</script><script>alert(1)</script> & <b>\"quoted\"</b>", "a NUL \0 here\nand a line", "caf\u00e9 \U0001F600 \u2028 end"]


def flat(rows, dtype):
    offset = np.zeros(len(rows) + 1, "u8")
    offset[1:] = np.cumsum([len(r) for r in rows])
    return offset, np.array([x for r in rows for x in r], dtype)


def make(run, shape="full", variants=("IT", "FT", "RL"), n=40, width=24, model="model", words=True, seed=1, samples=1,
         method="input_x_gradient"):
    rng = np.random.default_rng(seed)
    os.makedirs(run, exist_ok=True)
    tok = Tokenizer()
    tok.write(os.path.join(run, "model"))
    with h5py.File(os.path.join(run, "run.h5"), "w") as f:
        f.attrs["schema_version"] = np.int64(1)
        launch = f.create_group("provenance/0")
        for key, value in dict(job="generate", argv='["detoxlens","generate"]', version="0.1.0", commit="abc", hosts="node1:2",
                               cpu="some CPU", mpi="Open MPI", hdf5="1.10.8", linear="reference", slurm_job="",
                               start="2026-01-31T12:00:00Z", stop="2026-01-31T13:30:00Z" if shape == "full" else "",
                               facts="", config=json.dumps({"model": {"path": os.path.join(run, model)}, "seed": 42})).items():
            launch.attrs.create(key, np.array(value.encode(), "S%d" % max(24, len(value.encode()))))
        for key in ("ranks", "threads", "threads_total"):
            launch.attrs[key] = np.int64(2)
        launch.attrs["exit_code"] = np.int64(0 if shape == "full" else -1)
        if shape == "empty":
            return tok
        texts = [" ".join(rng.choice(WORDS[:34], rng.integers(4, 14))) for _ in range(n)]
        texts[:len(ODD)] = ODD[:n]
        offset, data = flat([t.encode() for t in texts], "u1")
        f["prompts/id"] = np.arange(n, dtype="i8") * 3
        f["prompts/text_offset"] = offset
        f["prompts/text_bytes"] = data
        for k, name in enumerate(variants):
            make_variant(f, rng, tok, name, k, texts, shape, width, words, samples, method)
        steps = 120
        group = f.create_group("training/pretrain-IT")
        group["loss"] = (6 * np.exp(-np.arange(steps) / 40) + 1.8 + rng.normal(0, .05, steps)).astype("f4")
        group["lr"] = (1e-3 * np.minimum(1, np.arange(1, steps + 1) / 20)).astype("f4")
        held_out = np.full(steps, np.nan, "f4")
        held_out[19::20] = 6 * np.exp(-np.arange(19, steps, 20) / 40) + 1.9
        group["eval_loss"] = held_out
        group["timing/seconds"] = np.arange(steps, dtype="f4")
        group["step"] = np.arange(steps, dtype="i8")
        group["step"].make_scale("step")
    return tok


def make_variant(f, rng, tok, name, k, texts, shape, width, words, samples, method):
    n = len(texts) * samples
    group = f.create_group(f"variants/{name}")
    for key, value in dict(base_model="tiny", weights_fingerprint="0" * 64, adapter_sha256="none",
                           template="{user} \"{text}\".\\n{bot} ", generation='{"max_new_tokens":%d}' % width).items():
        group.attrs[key] = np.bytes_(value.encode())
    prompts = [tok.encode('<human>: "' + texts[i // samples] + '".\n<bot>: ') for i in range(n)]
    tokens = np.full((n, width), -1, "i4")
    length, finish, generated = np.zeros(n, "i4"), np.zeros(n, "u1"), []
    for i in range(n):
        g = [] if i == 5 else tok.encode(" " + " ".join(rng.choice(WORDS[:34], rng.integers(3, width - 2))))[:width - 1]
        if i % 3:
            g, finish[i] = g + [0], 1
        else:
            finish[i] = 2
        if i == 4:
            g[0] = tok.vocab[ALPHABET[0xE2]]  # a part of a character
        if shape == "partial" and (i % 4 == 3 or k > 0):
            g, finish[i] = [], 0
        tokens[i, :len(g)], length[i] = g, len(g)
        generated.append(g)
    c = group.create_group("completions")
    c["tokens"], c["length"], c["finish"] = tokens, length, finish
    c["prompt_offset"], c["prompt_tokens"] = flat(prompts, "i4")
    c["logprob"] = np.full((n, width), -1, "f4")
    if shape == "full":
        c["text_offset"], c["text_bytes"] = flat([tok.decode(g).decode("utf-8", "replace").encode() for g in generated], "u1")
        c.attrs["complete"] = np.int64(1)
    if shape == "partial" and k > 0:
        return
    a = group.create_group(f"attribution/{method}")
    a.attrs["method"], a.attrs["target"] = np.bytes_(b"input_x_gradient"), np.bytes_(b"probability")
    G = np.array([len([x for x in g if x]) for g in generated], "i4")
    T = np.array([len(p) for p in prompts], "i4") + G
    row_offset = np.zeros(n + 1, "u8")
    row_offset[1:] = np.cumsum(G.astype("u8") * T)
    value = np.full(int(row_offset[-1]), np.nan, "f4")
    curves = {q: np.full((n, width), np.nan, "f4") for q in ("step_probability", "entropy", "prompt_dependence")}
    done = np.zeros(n, "u1")
    for i in range(n):
        if shape == "partial" and (i % 8 in (2, 6) or finish[i] == 0):
            continue
        P = T[i] - G[i]
        m = np.full((G[i], T[i]), np.nan)
        for g in range(G[i]):
            x = rng.gamma(.4, size=P + g)
            x[P:] *= 1 + .12 * g
            m[g, :P + g] = x / x.sum()
            p = m[g, :P] / m[g, :P].sum()
            curves["entropy"][i, g] = -(p[p > 0] * np.log2(p[p > 0])).sum() + .1 * k
            curves["prompt_dependence"][i, g] = m[g, :P].sum()
            curves["step_probability"][i, g] = rng.uniform()
        value[row_offset[i]:row_offset[i + 1]] = m.astype("f4").ravel()
        done[i] = 1
    a["G"], a["T"], a["row_offset"], a["value"], a["done"] = G, T, row_offset, value, done
    for key, x in curves.items():
        a[key] = x
    if words:
        w = a.create_group("words")
        for key, x in curves.items():
            w[key] = np.where(np.arange(width) < G[:, None] // 2, x, np.nan).astype("f4")
    check = a.create_group("check")
    check["row"] = np.array([0, 1, 7, 9], "i8")
    check["drop_top"] = np.array([.4, .2, .3, .34], "f4")
    check["drop_random"] = np.array([.1, .15, .11, .12], "f4")
    for key, x in dict(rows=np.int64(4), integration_steps=np.int64(50), mean_drop_top=.31, mean_drop_random=.12,
                       mean_completeness_error=1e-5, mean_completeness_scale=.2).items():
        check.attrs[key] = x


def add_scores(run, seed=7):
    """Toxicity sets as score and import write them: some completions without a score, one variant less toxic than the other."""
    rng = np.random.default_rng(seed)
    with h5py.File(os.path.join(run, "run.h5"), "a") as f:
        base = None
        for k, name in enumerate(sorted(f["variants"], key=lambda v: ("IT", "FT", "RL").index(v) if v in ("IT", "FT", "RL") else 9)):
            finish = f[f"variants/{name}/completions/finish"][:]
            n = len(finish)
            base = rng.uniform(0, 1, n) if base is None else base
            for score_set, shift in (("perspective", .25), ("hate", .1)):
                score = np.clip(base + rng.normal(0, .15, n) - shift * (k > 0), 0, 1).astype("f4")
                score[(rng.uniform(size=n) < .08) | (finish == 0)] = np.nan
                group = f.create_group(f"variants/{name}/toxicity/{score_set}")
                group["completion"] = score
                group["prompt"] = base.astype("f4") if score_set == "hate" else np.full(n, np.nan, "f4")
                group["status"] = np.where(np.isnan(score), np.where(finish == 0, 0, 6), 1).astype("u1")
                group.attrs["scorer"] = np.bytes_(b"imported")


def add_keywords(run, score_set="perspective", seed=11):
    """Each generated token's share of its completion's toxicity, as score.keywords stores it."""
    rng = np.random.default_rng(seed)
    with h5py.File(os.path.join(run, "run.h5"), "a") as f:
        for name in f["variants"]:
            c, group = f[f"variants/{name}/completions"], f[f"variants/{name}/toxicity/{score_set}"]
            share = np.full(c["tokens"].shape, np.nan, "f4")
            for i, (length, finish, status) in enumerate(zip(c["length"][:], c["finish"][:], group["status"][:])):
                n = length - (finish == 1)
                if n > 0 and status == 1:
                    share[i, :n] = rng.dirichlet(np.full(n, .3))
            group["token_share"] = share


def cross(run, variant, of, method="input_x_gradient", seed=13):
    """OF's attribution, changed a little, as VARIANT's attribution of the same completions: METHOD@OF."""
    rng = np.random.default_rng(seed)
    with h5py.File(os.path.join(run, "run.h5"), "a") as f:
        f.copy(f"variants/{of}/attribution/{method}", f[f"variants/{variant}/attribution"], f"{method}@{of}")
        a = f[f"variants/{variant}/attribution/{method}@{of}"]
        value = a["value"][:] * rng.uniform(.5, 1.5, len(a["value"])).astype("f4")
        at = a["row_offset"][:].astype("i8")
        for i, (G, T) in enumerate(zip(a["G"][:], a["T"][:])):
            m = value[at[i]:at[i + 1]].reshape(G, T)
            m /= np.nansum(m, 1, keepdims=True) if G else 1
        a["value"][...] = value
        for q in ("entropy", "prompt_dependence", "step_probability"):
            a[q][...] = a[q][:] * rng.uniform(.8, 1, a[q].shape).astype("f4")


if __name__ == "__main__":
    import sys
    make(sys.argv[1], *sys.argv[2:3])
