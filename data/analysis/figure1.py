#!/usr/bin/env python3
"""Figure 1 from run.h5 alone, in h5py and pandas: a starting point for an analysis of one's own.

    python3 data/analysis/figure1.py RUN [THRESHOLD] > figure1.csv

Entropy, entropy / log2(prompt length) and prompt dependence over generated tokens, by variant and by class of completion
(toxic: a score above THRESHOLD, 0.66 unless told): mean over completions and mean -+ 1.96 sd / sqrt(n). The same numbers stand
in RUN/report/figure1.csv, which `detoxlens report` writes; mpi/README.md tells all paths of run.h5.
"""
import sys

import h5py
import numpy as np
import pandas as pd

METHOD = "input_x_gradient"
CLASSES = ("all", "toxic", "not_toxic")


def read_tokens(f, variant, score_set, threshold):
    """A line for each generated token of a variant, with its completion's class."""
    group = f[f"variants/{variant}"]
    a, finish = group[f"attribution/{METHOD}"], group["completions/finish"][:]
    done = (a["done"][:] == 1) & (finish != 0)
    score = np.full(len(done), np.nan, "f4")
    if score_set is not None and f"toxicity/{score_set}" in group:
        scores = group[f"toxicity/{score_set}"]
        score = np.where(scores["status"][:] == 1, scores["completion"][:], np.nan)
    kind = np.where(np.isnan(score), "unscored", np.where(score > np.float32(threshold), "toxic", "not_toxic"))
    entropy, dependence = a["entropy"][:].astype("f8"), a["prompt_dependence"][:].astype("f8")
    prompt = (a["T"][:] - a["G"][:]).astype("f8")[:, None]  # attributed tokens - generated ones
    with np.errstate(divide="ignore"):
        normalised = np.where(prompt > 1, entropy / np.log2(prompt), np.nan)
    row, step = np.nonzero(np.isfinite(entropy) & done[:, None])
    return pd.DataFrame({"variant": variant, "class": kind[row], "step": step, "entropy": entropy[row, step],
                         "entropy_normalised": normalised[row, step], "prompt_dependence": dependence[row, step]})


def figure1(path, threshold=0.66):
    with h5py.File(path) as f:
        order = {"IT": 0, "FT": 1, "RL": 2}
        variants = sorted((v for v in f["variants"] if f"attribution/{METHOD}" in f[f"variants/{v}"]), key=lambda v: (order.get(v, 3), v))
        sets = {s for v in variants for s in f[f"variants/{v}"].get("toxicity", ())}
        score_set = next((s for s in ("perspective", "service", *sorted(sets)) if s in sets), None)
        tokens = pd.concat([read_tokens(f, v, score_set, threshold) for v in variants])
    everything = tokens.assign(**{"class": "all"})  # completions without a score belong to "all" alone
    long = pd.concat([everything, tokens[tokens["class"] != "unscored"]]).melt(["variant", "class", "step"], var_name="measure")
    curve = long.dropna().groupby(["measure", "class", "variant", "step"])["value"].agg(["count", "mean", "std"])
    half = 1.96 * curve["std"] / np.sqrt(curve["count"])
    curve = curve.assign(ci_low=curve["mean"] - half, ci_high=curve["mean"] + half).rename(columns={"count": "n"})
    curve = curve.reset_index()
    for key, values in (("measure", ("entropy", "entropy_normalised", "prompt_dependence")), ("class", CLASSES), ("variant", variants)):
        curve[key] = pd.Categorical(curve[key], values)  # the report's order
    return curve.sort_values(["measure", "class", "variant", "step"])[["measure", "class", "variant", "step", "n", "mean", "ci_low", "ci_high"]]



if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    table = figure1(f"{sys.argv[1]}/run.h5", *map(float, sys.argv[2:]))
    table.to_csv(sys.stdout, index=False, float_format="%.9g")
