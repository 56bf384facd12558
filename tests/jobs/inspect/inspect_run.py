"""inspect of a run directory: rows done, progress of a job under way, settings, launches. The file is written here, so
that every figure is known."""
import fcntl
import json
import os
import subprocess
import sys

try:
    import h5py
    import numpy as np
except ImportError as e:
    print("SKIPPED:", e)
    sys.exit(77)

N = 40


def text(s):
    return np.bytes_(s)


def write(path, version=1):
    with h5py.File(path, "w") as f:
        f.attrs["schema_version"] = np.int64(version)
        f["/prompts/id"] = np.arange(N)
        f["/prompts/row"] = np.arange(N)
        v = f.create_group("/variants/IT")
        v.attrs["base_model"] = text("tiny")
        v.attrs["weights_fingerprint"] = text("0123abcd")
        v.attrs["generation"] = text('{"seed":7,"top_k":50}')
        finish = np.zeros(N, "u1")
        finish[:25] = 1
        finish[25:30] = 2
        f["/variants/IT/completions/finish"] = finish
        done = np.zeros(N, "u1")
        done[3:8] = 1
        f["/variants/IT/attribution/input_x_gradient/done"] = done
        f["/variants/IT/attribution/input_x_gradient"].attrs["method"] = text("input_x_gradient")
        status = np.array([1] * 10 + [6] * 2 + [0] * (N - 12), "u1")
        f["/variants/IT/toxicity/hate/status"] = status
        f.create_group("/variants/FT")
        f["/training/pretrain/loss"] = np.zeros(5, "f4")
        for k in range(11):  # "10" sorts before "2" as text
            p = f.create_group("/provenance/%d" % k)
            p.attrs["job"] = text("generate")
            p.attrs["argv"] = text('["detoxlens", "generate"]')
            p.attrs["start"] = text("2026-01-01T00:00:%02dZ" % k)
            p.attrs["stop"] = text("" if k == 10 else "2026-01-01T00:01:%02dZ" % k)
            p.attrs["exit_code"] = np.int64(-1 if k == 10 else 0)
            p.attrs["ranks"] = np.int64(2)
            p.attrs["hosts"] = text("node1")


def inspect(*args):
    r = subprocess.run([os.environ["DETOXLENS"], "inspect", *args], capture_output=True, text=True)
    return r.returncode, r.stdout, r.stderr


def check(what, got, expected):
    if got != expected:
        sys.exit("FAILED: %s: %r, expected %r" % (what, got, expected))


os.makedirs("run/log")
write("run/run.h5")
with open("run/log/generate.jsonl", "w") as f:
    f.write('{"time":"t1","job":"generate","unit":"rows","done":5,"total":40,"rate":1.0}\n')
    f.write('{"time":"t2","job":"generate","unit":"rows","done":30,"total":40,"rate":2.5,"eta_s":3725.0}\n')
    f.write('{"time":"t3","job":"gene')  # half a line
open("run/log/attribute.jsonl", "w").close()

code, out, err = inspect("run", "--json")
check("exit code", (code, err), (0, ""))
j = json.loads(out)
check("prompts", j["run"]["prompts"], N)
it = j["variants"]["IT"]
check("completions", (it["completions"]["done"], it["completions"]["rows"]), (30, N))
check("complete", it["completions"]["complete"], False)
a = it["attribution"]["input_x_gradient"]
check("attribution", (a["done"], a["rows"], a["method"]), (5, N, "input_x_gradient"))
check("toxicity", it["toxicity"]["hate"]["done"], 12)
check("settings", it["generation"], {"seed": 7, "top_k": 50})
check("fingerprint", it["weights_fingerprint"], "0123abcd")
check("variants", sorted(j["variants"]), ["FT", "IT"])
check("training", j["training"]["pretrain"], 1)
check("launches", list(j["provenance"]), [str(k) for k in range(11)])
check("launch", (j["provenance"]["3"]["argv"], j["provenance"]["3"]["exit_code"]), (["detoxlens", "generate"], 0))
check("under way", j["progress"]["under_way"], False)
check("progress", j["progress"]["generate"]["done"], 30)
check("empty log", "attribute" in j["progress"], False)

with open("run/lock", "w") as lock:
    lock.write("host node1, process 4711, Slurm job none\n")
    lock.flush()
    fcntl.lockf(lock, fcntl.LOCK_EX)
    code, out, err = inspect("run")
for part in ("30 of 40 (75.0 %)", "job under way", "yes", "process 4711", "30 of 40 rows, 2.5 rows/s, 01:02:05 left",
             "not ended, or killed", "2026-01-01T00:00:03Z to 2026-01-01T00:01:03Z, exit code 0, 2 ranks on node1"):
    if part not in out:
        sys.exit("FAILED: %r is not in:\n%s" % (part, out))

code, out, err = inspect("run/run.h5")
check("the file itself", (code, "30" in out), (0, True))

write("run/run.h5", version=99)
code, out, err = inspect("run")
check("another schema version", (code, out), (2, ""))
check("one message", err.count("error:"), 1)
with open("run/run.h5", "r+b") as f:
    f.truncate(700)
code, out, err = inspect("run")
check("a truncated file", (code, out), (3, ""))
print("inspect of a run: all as expected")
