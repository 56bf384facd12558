#!/usr/bin/env python3
"""Fault injection: in each job the n-th place that allocates, reads, writes, opens, syncs or renames fails on one rank.

    inject.py LIBRARY [--jobs generate,...] [--kinds alloc,...] [--how error,short,stuck] [--ranks 2] [--sample N] [--seed S] [--all] [--at N]

What is expected of every case: the launch ends by itself within a time limit, with an exit code of the table (0 to 5, never a
signal's), with one message if it is not 0; run.h5 can be read by h5py; the same command without the fault then ends with the bytes
of an undisturbed run. "kill" ends the rank in front of the call instead. --sample N tries N places of each job, kind and rank, spread evenly; without it all are tried.
"""
import argparse, errno, glob, hashlib, os, random, re, shutil, subprocess, sys, time

import h5py

ap = argparse.ArgumentParser()
ap.add_argument("library")
ap.add_argument("--jobs", default="generate,attribute,finetune,ppo,pretrain,dpo,score,merge,import,report,export")
ap.add_argument("--kinds", default="alloc,read,write,open,sync,rename")
ap.add_argument("--how", default="error,short,stuck", help="error, short (reads and writes), stuck (the same), kill")
ap.add_argument("--ranks", type=int, default=2)
ap.add_argument("--sample", type=int, default=0)
ap.add_argument("--seed", type=int, default=1)
ap.add_argument("--all", action="store_true", help="count calls, not places")
ap.add_argument("--at", type=int, default=0)
ap.add_argument("--only-rank", type=int, default=-1)
ap.add_argument("--limit", type=int, default=60, help="seconds of a launch")
ap.add_argument("--seconds", type=int, default=0, help="end after so many, with what was tried till then")
a = ap.parse_args()
source, binary, mpirun = os.environ["DTX_SOURCE"], os.environ["DETOXLENS"], os.environ["MPIRUN"]
if "libasan" in subprocess.run(["ldd", binary], capture_output=True, text=True).stdout:
    print("the sanitizer's own functions stand in the way")
    sys.exit(77)
work = os.getcwd()
data = f"{source}/data/quickstart"
begun = time.time()

with open("tiny.jsonc", "w") as f:
    f.write(f"""{{"model": {{"path": "model"}}, "threads": 1,
 "data": {{"text": ["corpus.txt"], "dialogues": "talk.csv", "prompts": "texts.jsonl", "select": "all", "limit": 6}},
 "pretrain": {{"layers": 2, "hidden": 32, "heads": 2, "vocab": 300, "context": 256, "batch": 4, "steps": 5, "warmup_steps": 1, "save_every": 2}},
 "lora": {{"r": 2, "alpha": 4, "target_modules": ["query_key_value"]}},
 "finetune": {{"epochs": 1, "batch": 4, "accumulate": 2, "lr": 0.01, "warmup_steps": 1, "context": 48, "save_every": 1, "eval_every": 2}},
 "dpo": {{"epochs": 1, "batch": 4, "lr": 0.01, "warmup_steps": 1, "context": 48}},
 "ppo": {{"steps": 2, "batch": 4, "mini_batch": 2, "epochs": 1, "context": 64, "save_every": 1}},
 "generate": {{"max_new_tokens": 6, "min_new_tokens": 2, "batch": 2}}, "reward": {{"path": "judge"}},
 "score": {{"path": "judge", "name": "toy"}}, "attribute": {{"name": "toy"}}}}""")
for name, lines in (("corpus.txt", 400), ("texts.jsonl", 6)):
    with open(f"{data}/{name}") as f, open(name, "w") as out:
        out.writelines(f.readlines()[:lines])
with open(f"{data}/dialogues.csv") as f, open("talk.csv", "w") as out:
    out.writelines(f.readlines()[:40])


def run(ranks, args, env=None, cwd=work):
    full = dict(os.environ, DTX_LAUNCH_SECONDS=str(a.limit), **(env or {}))
    command = [mpirun, str(ranks), binary] if ranks > 1 else ["timeout", str(a.limit), binary]
    return subprocess.run(command + args, cwd=cwd, env=full, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")


def must(ranks, args):
    r = run(ranks, args)
    if r.returncode != 0:
        sys.exit(f"setting up: {' '.join(args)}: {r.returncode}\n{r.stdout}{r.stderr}")


# --- what is there before each job ---
C = ["--config", "tiny.jsonc"]
COMMANDS = {
    "pretrain": C + ["--run", "run", "--set", "model.path=made"],
    "finetune": C + ["--run", "run", "--variant", "FT"],
    "dpo": C + ["--run", "run", "--variant", "DPO"],
    "ppo": C + ["--run", "run", "--variant", "RL"],
    "generate": C + ["--run", "run"],
    "attribute": C + ["--run", "run"],
    "score": C + ["--run", "run"],
    "import": ["published.csv", "--run", "run", "--variant", "FT"],
    "merge": ["other", "third", "--run", "run"],
    "report": ["--run", "run"],
    "export": ["out", "--csv", "--run", "run"],
}
LOCAL = {"report", "export"}
wanted = a.jobs.split(",")
must(1, ["pretrain", "--run", "base"] + C + ["--set", "pretrain.steps=20"])
with open("labels.csv", "w") as f:
    f.write("text,label\n" + "".join(f"{w} {i},{i % 2}\n" for i in range(40) for w in [("good day to you", "bad bad person")[i % 2]]))
must(1, ["pretrain", "--task", "classifier", "--label", "label", "--run", "jbase", "--set", "model.path=judge", "--set",
         'data.text=["labels.csv:text"]', "--set", "pretrain.layers=1", "--set", "pretrain.hidden=16", "--set", "pretrain.heads=2",
         "--set", "pretrain.vocab=290", "--set", "pretrain.context=32", "--set", "pretrain.batch=4", "--set", "pretrain.steps=2",
         "--set", "pretrain.warmup_steps=0", "--set", "pretrain.arch=roberta"])
os.mkdir("before")
for folder in ("base", "jbase"):
    shutil.rmtree(folder)
with open("published.csv", "w") as f:
    f.write("prompts,prompt_score,responses,response_score,pro_API_response_score\n")
    f.writelines(f'"a prompt {i}",0.6,"an answer {i}",0.{i},0.{i}\n' for i in range(1, 7))
must(1, ["generate", "--run", "answers"] + C)
if set(wanted) & {"report", "export"}:
    shutil.copytree("answers", "full")
    must(1, ["attribute", "--run", "full"] + C)
    must(1, ["score", "--run", "full"] + C)
START = {"attribute": "answers", "score": "answers", "report": "full", "export": "full", "merge": None}
if "merge" in wanted: # rows of the same texts in two run directories
    must(1, ["generate", "--run", "other", "--rows", "0:3"] + C)
    must(1, ["generate", "--run", "third", "--rows", "3:6"] + C)


def fresh(job):
    for folder in ("run", "made", "out"):
        shutil.rmtree(folder, ignore_errors=True)
    if START.get(job):
        shutil.copytree(START[job], "run")


def outcome(job):
    """What a job made, apart from run.h5."""
    h = hashlib.sha256()
    for path in sorted(glob.glob("run/adapters/**/*", recursive=True) + glob.glob("made/**/*", recursive=True) +
                       glob.glob("out/**/*", recursive=True) + glob.glob("run/report/**/*.csv", recursive=True)):
        if os.path.isfile(path):
            h.update(path.encode() + b"\0" + open(path, "rb").read())
    return h.hexdigest()


def readable():
    if not os.path.exists("run/run.h5"):
        return None
    try:
        with h5py.File("run/run.h5", "r") as f:
            f.visititems(lambda name, o: (dict(o.attrs), o[()] if isinstance(o, h5py.Dataset) else None) and None)
    except Exception as e: # whatever h5py says of a damaged file
        return repr(e)
    return None


bad = tried = unfinished = 0
for job in wanted:
    ranks = 1 if job in LOCAL else a.ranks
    args = [job] + COMMANDS[job]
    fresh(job)
    must(ranks, args)
    shutil.rmtree("reference", ignore_errors=True)
    shutil.copytree("run", "reference")
    good = outcome(job)
    for kind in a.kinds.split(","):
        for rank in range(ranks) if a.only_rank < 0 else [a.only_rank]:
            env = {"LD_PRELOAD": a.library, "DTX_FAULT_KIND": kind, "DTX_FAULT_RANK": str(rank), "DTX_FAULT_DIR": work,
                   "DTX_FAULT_LOG": f"{work}/fault.log", "DTX_FAULT_AT": "0"}
            if a.all:
                env["DTX_FAULT_ALL"] = "1"
            fresh(job)
            open("fault.log", "w").write("0")
            r = run(ranks, args, env)
            n = int(open("fault.log").read().split()[0])
            hows = [h for h in a.how.split(",") if h in ("error", "kill") or kind in ("read", "write")]
            cases = [(k, how) for how in hows for k in range(1, n + 1)]
            if a.at:
                cases = [(a.at, how) for how in hows]
            if a.sample and len(cases) > a.sample:
                cases = random.Random(f"{a.seed} {job} {kind} {rank}").sample(cases, a.sample)
            counts = {}
            for k, how in cases:
                if a.seconds and time.time() - begun > a.seconds:
                    break
                no = {"write": errno.ENOSPC, "open": errno.EIO}.get(kind, errno.EIO)
                fresh(job)
                open("fault.log", "w").write("0 not reached")
                r = run(ranks, args, dict(env, DTX_FAULT_AT=str(k), DTX_FAULT_HOW=how, DTX_FAULT_ERRNO=str(no)))
                log, text = open("fault.log").read(), r.stdout + r.stderr
                errors = [line for line in text.splitlines() if re.search(r"\berror: ", line)]
                why = []
                if r.returncode == 124:
                    why.append("hang")
                elif how == "kill":
                    pass # the launcher's code
                elif r.returncode not in (0, 1, 2, 3, 4, 5):
                    why.append(f"exit {r.returncode}")
                elif how == "short" and r.returncode != 0:
                    why.append(f"exit {r.returncode} after a short count")
                elif r.returncode not in (0, 4):
                    why.append(f"exit {r.returncode}: what is not there is 4")
                if r.returncode != 124 and how != "kill" and len(errors) != (r.returncode != 0):
                    why.append(f"{len(errors)} messages")
                damage = readable()
                if damage and os.path.exists("run/run.h5.journal"): # killed while the journal went into the file: this program reads it
                    seen = run(1, ["inspect", "run/run.h5"])
                    damage = None if seen.returncode == 0 else seen.stderr
                    unfinished += 1
                if damage:
                    why.append("run.h5 cannot be read: " + damage)
                again = run(ranks, args)
                if again.returncode != 0:
                    why.append(f"the same command again: exit {again.returncode}: " + again.stderr[-600:])
                else:
                    same = run(1, ["verify", "--same", "reference/run.h5", "run/run.h5"])
                    if same.returncode != 0:
                        why.append("other bytes in run.h5: " + same.stdout[:300])
                    if outcome(job) != good:
                        why.append("other files")
                tried += 1
                counts[r.returncode] = counts.get(r.returncode, 0) + 1
                if why:
                    bad += 1
                    print(f"FAILED {job} on {ranks} ranks, {kind} {k} of {n}, {how}, rank {rank}: {'; '.join(why)}\n{log}" +
                          "\n".join(text.splitlines()[-25:]), flush=True)
            print(f"{job} {kind} rank {rank}: {n} {'calls' if a.all else 'places'}, {len(cases)} cases, exit codes {counts}", flush=True)
print(f"{tried} cases, {bad} bad, {unfinished} read through a journal, {time.time() - begun:.0f} s")
sys.exit(bad > 0)
