"""Several launches on one run at once, and names planted where a launch writes: reports and exports side by side all succeed,
what is alive is not removed, what is dead is, and no link is followed out of the run."""
import fcntl
import filecmp
import os
import shutil
import struct
import subprocess
import sys

DETOXLENS, SOURCE, MAKE_MODEL = os.environ["DETOXLENS"], os.environ["DTX_SOURCE"], sys.argv[1]
TEXTS = f"{SOURCE}/data/quickstart/texts.jsonl"
os.environ["DETOXLENS_THREADS"] = "1"
failed = 0


def check(fine, *what):
    global failed
    if not fine:
        failed += 1
        print("FAILED:", *what)


def run(*args, code=0):
    r = subprocess.run([DETOXLENS, *args], capture_output=True, text=True)
    check(r.returncode == code, args, r.returncode, r.stderr[-400:])
    return r.stderr


def at_once(what, n, *args):
    """n launches of one command, started together."""
    several = [subprocess.Popen([DETOXLENS, *args], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(n)]
    for p in several:
        err = p.communicate()[1]
        check(p.returncode == 0, what, "at once:", p.returncode, err[-300:])


def temporary(folder):
    return [n for n in os.listdir(folder) if ".tmp" in n]


subprocess.run([MAKE_MODEL, "neox", "model", f"{SOURCE}/data/quickstart/corpus.txt"], check=True)
MODEL = ("--set", "model.path=model", "--set", f"data.prompts={TEXTS}", "--set", "data.limit=6", "--set", "generate.max_new_tokens=8")
FT = ("--variant", "FT", "--set", "variants.FT.adapter=model/adapter")
run("generate", "--run", "run", *MODEL)
run("generate", "--run", "run", *MODEL, *FT)
run("attribute", "--run", "run", *MODEL)

# --- side by side ---

gnuplot = shutil.which("gnuplot") is not None
for i in range(2):
    if gnuplot:
        at_once("report", 4, "report", "--run", "run")
        check(os.path.getsize("run/report/index.html") > 10000, "the page is not whole")
    at_once("export --csv", 4, "export", "--csv", "--run", "run", "tables")
    at_once("export --inseq", 4, "export", "--inseq", "--run", "run", "--set", "model.path=model", "out.json")
run("export", "--csv", "--run", "run", "alone")
run("export", "--inseq", "--run", "run", "--set", "model.path=model", "alone.json")
same = filecmp.cmpfiles("tables", "alone", os.listdir("alone"), shallow=False)
check(len(same[0]) == 6 and filecmp.cmp("out.json", "alone.json", shallow=False), "tables of several launches differ", same)
check(temporary("tables") == [] and temporary(".") == [] and (not gnuplot or temporary("run/report") == []), "temporary files are left")

# --- what is dead goes, what is alive stays ---

dead, alive = "tables/prompts.csv.tmp.00000000000000aa", "tables/prompts.csv.tmp.00000000000000bb"
for name in (dead, alive):
    with open(name, "w") as f:
        f.write("half of a table")
with open(alive, "r+") as held:
    fcntl.fcntl(held, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    run("export", "--csv", "--run", "run", "tables")
    check(not os.path.exists(dead), "what a killed launch left is not removed")
    check(os.path.exists(alive), "another launch's file is removed under it")
run("export", "--csv", "--run", "run", "tables")
check(not os.path.exists(alive), "what was let go is not removed")

# --- planted links ---

os.mkdir("outside")
SECRET = "outside/secret"


def plant(path, to=SECRET):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    if os.path.lexists(path):
        os.remove(path)
    with open(SECRET, "w") as f:
        f.write("untouched")
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    os.symlink(os.path.abspath(to), path)


def untouched(what):
    with open(SECRET) as f:
        check(os.listdir("outside") == ["secret"] and f.read() == "untouched", what, "was followed", os.listdir("outside"))
    shutil.rmtree("outside")
    os.mkdir("outside")


for name in ("prompts.csv.tmp", "prompts.csv"):
    plant(f"tables/{name}")
    run("export", "--csv", "--run", "run", "tables")
    untouched(f"tables/{name}")
for name in ("out.json.tmp", "out.json"):
    plant(name)
    run("export", "--inseq", "--run", "run", "--set", "model.path=model", "out.json")
    untouched(name)
if gnuplot:
    figure = next(n for n in os.listdir("run/report") if n.endswith(".svg"))
    for name in ("index.html", figure):
        plant(f"run/report/{name}")
        run("report", "--run", "run")
        untouched(f"run/report/{name}")

for name in ("run/run.h5.edit", "run/run.h5.new", "fresh/run.h5.edit", "fresh/run.h5.new"):
    plant(name)
    run("generate", "--run", os.path.dirname(name), *MODEL, "--redo")
    untouched(name)
plant("run/log/generate.log")
run("generate", "--run", "run", *MODEL, "--redo")
untouched("run/log/generate.log")
os.remove("run/log/generate.log")
os.rename("run/lock", "lock")
plant("run/lock")
check("symbolic link" in run("generate", "--run", "run", *MODEL, "--redo", code=4), "a planted lock is not named")
untouched("run/lock")
os.remove("run/lock")

# Adapters of merged runs: the folder in the making and its files.
for name in ("one", "two"):
    run("generate", "--run", name, *MODEL, *(FT if name == "two" else ()))
    shutil.copytree("model/adapter", f"{name}/adapters/FT")
plant("merged/adapters/.FT.merge", "outside")
run("merge", "one", "two", "--run", "merged")
untouched("merged/adapters/.FT.merge")
check(os.path.exists("merged/adapters/FT/adapter_config.json") and not os.path.islink("merged/adapters/FT"), "merge leaves no adapter")
sys.exit(failed > 0)
