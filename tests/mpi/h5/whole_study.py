"""make(FOLDER): a run.h5 that holds everything the program writes, at toy size, in FOLDER/run; whole_study.py FOLDER by hand.
FOLDER also gets what the jobs need (model, judge, cfg.json, published.csv) and the run directories `half`, which merge joins, and
`begun`, whose ppo was stopped."""
import csv
import json
import os
import subprocess
import sys

N, WIDTH = 24, 5


def detoxlens(folder, *args, run="run", code=0, **more):
    r = subprocess.run([os.environ["DETOXLENS"], *args, "--config", "cfg.json", "--run", run, "--quiet"], cwd=folder, capture_output=True, text=True,
                       **more)
    assert code is None or r.returncode == code, (args, r.returncode, r.stderr)
    return r


def inputs(folder):
    data = f"{os.environ['DTX_SOURCE']}/data/quickstart"
    os.makedirs(folder, exist_ok=True)
    for kind, name in (("neox", "model"), ("roberta", "judge")):
        subprocess.run([f"{os.environ['DTX_BUILD']}/tests/make_model", kind, name, f"{data}/corpus.txt"], cwd=folder, check=True)
    with open(f"{data}/short-dialogues.csv", encoding="utf-8") as f:
        talk = list(csv.reader(f))[:25]
    with open(f"{folder}/talk.csv", "w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows(talk)
    with open(f"{data}/corpus.txt", encoding="utf-8") as f:
        corpus = f.read()
    with open(f"{folder}/corpus.txt", "w", encoding="utf-8") as f:
        f.write(corpus[:20000])
    with open(f"{data}/texts.jsonl", encoding="utf-8") as f:
        texts = [json.loads(line)["prompt"]["text"] for line in f][:N]
    with open(f"{folder}/texts.txt", "w", encoding="utf-8") as f:
        f.writelines(t + "\n" for t in texts)
    with open(f"{folder}/published.csv", "w", newline="", encoding="utf-8") as f:
        w = csv.writer(f)
        w.writerow(["", "prompts", "responses", "prompt_score", "response_score", "pro_API_response_score"])
        for i, t in enumerate(texts):
            answer = ["an answer", "no, thank you", "", "bees"][i % 4]
            w.writerow([i, f'<human>: "{t}".\n<bot>: ', answer, i / N, (i * 7 % N) / N, (i * 5 % N) / N])
    small = {"layers": 1, "hidden": 16, "heads": 2, "vocab": 300, "context": 64, "batch": 4, "steps": 3}
    config = {"threads": 1, "model": {"path": "model"}, "data": {"prompts": "texts.txt", "dialogues": "talk.csv"},
              "generate": {"max_new_tokens": WIDTH, "batch": 4}, "lora": {"r": 2, "alpha": 4, "dropout": 0}, "attribute": {"check": 2},
              "finetune": {"epochs": 1, "batch": 4, "accumulate": 1, "context": 64, "ear_weight": 0.01},
              "ppo": {"steps": 2, "batch": 4, "mini_batch": 2, "accumulate": 1, "epochs": 1, "context": 96},
              "dpo": {"epochs": 1, "batch": 4, "context": 96, "rejected": "sampled"}, "pretrain": small,
              "reward": {"path": "judge#hate"}, "score": {"path": "judge", "name": "toy", "folds": 2}}
    with open(f"{folder}/cfg.json", "w", encoding="utf-8") as f:
        json.dump(config, f)


# Every job that writes into run.h5, in an order in which each finds what it reads.
JOBS = [("pretrain", "--variant", "SMALL", "--set", "model.path=small", "--set", 'data.text=["corpus.txt"]'),
        ("pretrain", "--variant", "RATER", "--task", "classifier", "--label", "TARGET", "--set", "pretrain.arch=roberta", "--set", "model.path=rater",
         "--set", 'data.text=["talk.csv:text"]'),
        ("generate",), ("finetune", "--variant", "FT"), ("ppo", "--variant", "RL"), ("dpo", "--variant", "DPO"),
        ("generate", "--variant", "FT"), ("generate", "--variant", "RL"),
        ("import", "published.csv", "--variant", "PUB", "--set", "model.path="), ("import", "published.csv", "--variant", "OLD"),
        ("score", "--keywords", "true"), ("score", "--variant", "FT"),
        ("score", "--calibrate", "--from", "hate", "--to", "perspective"),
        ("attribute",), ("attribute", "--completions-of", "FT"), ("attribute", "--variant", "FT", "--merge", "none", "--check", "0"),
        ("attribute", "--variant", "PUB", "--set", "variants.PUB.adapter=run/adapters/FT")]
# A training that its time limit stops.
BEGUN = ("ppo", "--variant", "RL", "--set", "ppo.steps=400", "--set", "ppo.save_every=1", "--max-hours", "0.0001")


def make(folder):
    inputs(folder)
    for args in JOBS:
        detoxlens(folder, *args)
    for rows, run in (("0:12", "half"), ("12:24", "rest")):
        detoxlens(folder, "generate", "--rows", rows, run=run)
    detoxlens(folder, "generate", "--variant", "FT", "--set", "variants.FT.adapter=run/adapters/FT", run="rest")
    detoxlens(folder, "merge", "rest", run="half")
    detoxlens(folder, *BEGUN, run="begun", code=75)


if __name__ == "__main__":
    make(sys.argv[1])
