"""Every example of every job's --help runs as it stands, in a folder where the names that it uses are there. Further --set keep
trainings and models small; what is not run, and why, is told by DRY."""
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
    import numpy
except ImportError as e:
    print("skipped:", e)
    sys.exit(77)
import make_run

DETOXLENS, SOURCE, MPIRUN, MAKE_MODEL = (*(os.environ[k] for k in ("DETOXLENS", "DTX_SOURCE", "MPIRUN")), sys.argv[1])
DEMO = f"{SOURCE}/data/quickstart"
PPO = "ppo.steps=1 ppo.batch=4 ppo.mini_batch=2 ppo.accumulate=2 ppo.epochs=1 generate.max_new_tokens=6"
SMALL = {"pretrain": "pretrain.steps=4 pretrain.layers=1 pretrain.hidden=16 pretrain.heads=2 pretrain.vocab=300 pretrain.context=64 pretrain.batch=4",
         "finetune": "finetune.batch=4", "dpo": "dpo.batch=4 dpo.min_toxicity=0.01", "ppo": PPO, "generate": "generate.max_new_tokens=4"}
OWN = {"plan": "model.path=models/small data.dialogues=DIALOCONAN.csv data.prompts=prompts.jsonl data.expect_count=0"}
# Only read and resolved: they need a service, gigabytes, or the seconds of a measurement.
DRY = [r"--scorer service", r"bench --make-model", r"bench (attribute|generate)"]


def examples():
    top = subprocess.run([DETOXLENS, "--help"], capture_output=True, text=True, check=True).stdout
    jobs = re.findall(r"^  ([a-z]+)  +\*? ", top, re.M)
    assert len(jobs) > 15, top
    found = {}
    for job in jobs:
        text = subprocess.run([DETOXLENS, job, "--help"], capture_output=True, text=True, check=True).stdout.replace("\\\n", " ")
        found[job] = [re.sub(r"\s+\(.*\)$|\s\.\.\.$", "", line.strip()) for line in re.findall(r"^(?:Example:| )  *((?:mpirun|detoxlens|echo) .*)", text, re.M)]
        assert found[job], f"{job} --help shows no example"
    return found


def launch(m):
    return f"{MPIRUN} {min(int(m[1]), 4)}"


def shell(command, code=0):
    r = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert r.returncode == code, (command, r.returncode, r.stdout[-2000:], r.stderr[-2000:])
    return r.stdout


def prepare():
    os.makedirs("bin")
    os.symlink(DETOXLENS, "bin/detoxlens")
    with open("bin/jq", "w", encoding="utf-8") as f:  # as far as the examples use it
        f.write("#!/usr/bin/python3\nimport json, sys\nprint(json.load(sys.stdin)[sys.argv[1][1:]])\n")
    os.chmod("bin/jq", 0o755)
    os.environ["PATH"] = os.path.abspath("bin") + ":" + os.environ["PATH"]
    os.environ["DETOXLENS_THREADS"] = "1"
    os.environ["DETOXLENS_GENERATE__MAX_NEW_TOKENS"] = "4"
    for kind, folder in (("neox", "MODEL"), ("roberta", "roberta")):
        shell(f"{MAKE_MODEL} {kind} {folder} {DEMO}/corpus.txt")
    os.makedirs("models")
    for name in "small", "RedPajama-INCITE-Chat-3B-v1", "redpajama-3b":
        os.symlink("../MODEL", f"models/{name}")
    for name in "judge", "roberta-hate-speech-dynabench-r4-target":
        os.symlink("../roberta", f"models/{name}")
    os.makedirs("adapters")
    os.symlink("../MODEL/adapter", "adapters/FT")
    os.symlink("MODEL", "DIR")
    with open(f"{DEMO}/dialogues.csv", encoding="utf-8") as f, open("DIALOCONAN.csv", "w", encoding="utf-8") as g:
        g.writelines(f.readlines()[:60])
    shutil.copy("DIALOCONAN.csv", "talk.csv")
    with open(f"{DEMO}/corpus.txt", encoding="utf-8") as f, open("corpus.txt", "w", encoding="utf-8") as g:
        g.write(f.read()[:20000])
    with open(f"{DEMO}/texts.jsonl", encoding="utf-8") as f:
        both = ("prompt", "continuation")
        lines = [x for x in f if all((json.loads(x)[k]["toxicity"] or 0) > .5 for k in both)][:52]
    os.makedirs("data")
    os.symlink(f"{SOURCE}/data/configs", "data/configs")
    for name in "prompts.jsonl", "data/prompts.jsonl", "FILE":
        with open(name, "w", encoding="utf-8") as f:
            f.writelines(lines)
    os.makedirs("new")  # where pretrain finds no models yet
    for name in "corpus.txt", "talk.csv", "DIALOCONAN.csv":
        shutil.copy(name, "new")
    for variant in "IT", "FT":
        with open(f"completions.{variant}.csv", "w", newline="", encoding="utf-8") as f:
            w = csv.writer(f)
            w.writerow(["", "prompts", "responses", "prompt_score", "response_score", "pro_API_response_score"])
            for i, line in enumerate(lines):
                text = " ".join(json.loads(line)[k]["text"] for k in both)
                w.writerow([i, f'<human>: "{text}".\n<bot>: ', f" answer {i} of {variant}", .5, i / 60, i / 80])
    with open("study.json", "w", encoding="utf-8") as f:
        keys = {"model": {"path": "models/small"}, "data": {"prompts": "prompts.jsonl", "dialogues": "DIALOCONAN.csv", "limit": 4},
                "reward": {"path": "models/judge"}, "score": {"path": "models/judge"}, "finetune": {"epochs": 1, "batch": 4}, "lora": {"r": 4},
                "ppo": {"steps": 1, "batch": 4, "mini_batch": 2, "accumulate": 2, "epochs": 1}, "generate": {"max_new_tokens": 6}}
        json.dump(keys, f)
    os.makedirs("golden")
    os.symlink(f"{SOURCE}/tests/golden/neox-tiny-seq", "golden/neox-tiny")
    base = "--set model.path=MODEL --set data.prompts=prompts.jsonl --quiet"
    for run, variants in (("out", ("IT", "FT")), ("runs/IT", ("IT",)), ("runs/FT", ("FT",)), ("runs/RL", ("RL",)), ("runs/redpajama", ("FT",))):
        for v in variants:
            who = f"--run {run} --variant {v}" + (f" --set variants.{v}.adapter=MODEL/adapter" if v != "IT" else "")
            rows = "" if run == "runs/redpajama" else " --set data.limit=6"  # a calibration needs 50
            shell(f"detoxlens generate {who} {base}{rows}")
            if run == "out":
                shutil.copytree("MODEL/adapter", "out/adapters/FT", dirs_exist_ok=True)
                shell(f"detoxlens attribute {who} --set model.path=MODEL --quiet")
    for run in "quickstart-run", "run1", "run2":
        shutil.copytree("out", run)
    for run in "seed1", "seed2", "seed3":
        make_run.make(run, n=12, width=8)
        make_run.add_scores(run)


def scored_by_service():
    """The next example needs what a service would have said."""
    with h5py.File("runs/redpajama/run.h5", "r+") as f:
        t = f["variants/FT/toxicity"]
        t.copy("hate", "perspective")
        t["perspective"].attrs["scorer"] = "service"
        n = t["perspective/completion"].shape[0]
        t["perspective/completion"][:] = numpy.linspace(.1, .8, n)
        t["perspective/status"][:] = 1


ran = dry = 0
prepare()
for job, commands in examples().items():
    for command in commands:
        if job == "fetch":  # its own test has a server
            continue
        if "--calibrate" in command:
            scored_by_service()
        words = SMALL.get(job, "") if job in command else ""
        if f"detoxlens {job}" in command:
            words += " " + OWN.get(job, "") if "study.json" not in command else ""
        extra = "".join(f" --set {w}" for w in words.split())
        if job == "attribute" and "--run" not in command:
            extra += " --set model.path=MODEL --run runs/redpajama --variant FT --set variants.FT.adapter=MODEL/adapter"
        if job == "attribute" and "--variant" not in command + extra:
            extra += " --variant FT --set variants.FT.adapter=MODEL/adapter"
        if any(re.search(d, command) for d in DRY):
            extra += " --dry-run"
            dry += 1
        pipe = re.match(r"(.*?)( \| jq .*| > .*)$", command)
        line = pipe[1] + extra + pipe[2] if pipe else command + extra
        print(line, flush=True)
        shell(("cd new; " if job == "pretrain" else "") + re.sub(r"\bmpirun -n (\d+)(?: --map-by core)?", launch, line))
        ran += 1
assert ran > 35 and dry <= 6, (ran, dry)
print(f"{ran} examples, {dry} of them with --dry-run")
