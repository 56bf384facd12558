"""A plain RoBERTa classifier in numpy, what the program is compared with."""
import json
from math import erf

import numpy as np


def tensors(path):
    raw = open(path, "rb").read()
    n = int.from_bytes(raw[:8], "little")
    head = json.loads(raw[8:8 + n])
    return {k: np.frombuffer(raw[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]], "<f4").reshape(v["shape"]).astype("f8")
            for k, v in head.items() if k != "__metadata__"}


def embed(w, ids):
    return w["roberta.embeddings.word_embeddings.weight"][ids]


def classify(w, config, ids):
    """RoBERTa: P(label 1) in double precision, written down from the paper."""
    return 1 / (1 + np.exp(-log_odds(w, config, embed(w, ids))))


def log_odds(w, config, words):
    """Of label 1, from the word embeddings (rows, d), which stand for the ids."""
    heads, d = config["num_attention_heads"], config["hidden_size"]
    norm = lambda x, p: (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + config["layer_norm_eps"]) * w[p + ".weight"] + w[p + ".bias"]
    linear = lambda x, p: x @ w[p + ".weight"].T + w[p + ".bias"]
    e = "roberta.embeddings."
    x = words + w[e + "position_embeddings.weight"][np.arange(len(words)) + 2] + w[e + "token_type_embeddings.weight"][0]
    x = norm(x, e + "LayerNorm")
    for i in range(config["num_hidden_layers"]):
        p = f"roberta.encoder.layer.{i}."
        q, k, v = (linear(x, p + "attention.self." + n).reshape(len(words), heads, d // heads).transpose(1, 0, 2) for n in ("query", "key", "value"))
        a = q @ k.transpose(0, 2, 1) / np.sqrt(d // heads)
        a = np.exp(a - a.max(-1, keepdims=True))
        y = (a / a.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(len(words), d)
        x = norm(x + linear(y, p + "attention.output.dense"), p + "attention.output.LayerNorm")
        h = linear(x, p + "intermediate.dense")
        h = h * .5 * (1 + np.vectorize(erf)(h / np.sqrt(2)))
        x = norm(x + linear(h, p + "output.dense"), p + "output.LayerNorm")
    z = linear(np.tanh(linear(x[0], "classifier.dense")), "classifier.out_proj")
    return z[1] - z[0]
