"""kill -9 of one rank, of all ranks, or of mpirun at random times while run.h5 is filled; after every kill the file is
read, all rows that are marked done must be right; the same command continues, and the end has the same bytes as an
undisturbed run.    run_kill.py KILLS SEED"""
import os
import random
import signal
import subprocess
import sys
import time

try:
    import h5py
    import numpy as np
except ImportError as missing:
    print(f"python3-h5py is needed: {missing}")
    sys.exit(77)

tool = os.environ["DTX_BUILD"] + "/tests/run_tool"
mpirun = os.environ["MPIRUN"]
wanted, seed = int(sys.argv[1]), int(sys.argv[2])
choose = random.Random(seed)
os.environ["OMPI_MCA_btl_vader_backing_directory"] = os.getcwd()  # killed ranks leave nothing in /dev/shm


def stat(pid):
    """(name, state, parent) of a process, None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            text = file.read()
    except OSError:
        return None
    rest = text[text.rindex(")") + 2:].split()
    return text[text.index("(") + 1:text.rindex(")")], rest[0], int(rest[1])


def descendants(root):
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (s := stat(int(entry))) is not None and s[1] != "Z":
            found[int(entry)] = s
    known, grew = {root}, True
    while grew:
        more = {pid for pid, s in found.items() if s[2] in known and pid not in known}
        known |= more
        grew = bool(more)
    return {pid: found[pid][0] for pid in known if pid in found}


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def alive(pid):
    s = stat(pid)
    return s is not None and s[1] != "Z"


def check(path):
    """Rows done; fails when the file is unreadable or a done row is wrong."""
    if not os.path.exists(path):
        return 0
    with h5py.File(path) as file:
        if "variants" not in file:
            return 0
        with h5py.File("reference/run.h5") as reference:
            c, r = file["variants/IT/attribution/c"], reference["variants/IT/attribution/c"]
            done = c["done"][...].astype(bool)
            edge, size = r["row_offset"][...], r["value"].shape[0]
            items = np.zeros(size, bool)
            for row in np.flatnonzero(done):
                items[edge[row]:edge[row + 1]] = True
            assert (c["row_offset"][...] == edge).all()
            ids = "/variants/IT/completions/tokens"
            for name, some in ((ids, done), ("entropy", done), ("value", items)):
                ours, right = c[name][...][some], r[name][...][some]
                assert ours.tobytes() == right.tobytes(), f"{path}: {name} is wrong in a row that is done"
            return int(done.sum())


begun = time.time()
subprocess.run([mpirun, "3", tool, "resume", "reference"], check=True)
usual = time.time() - begun
kills = {"rank": 0, "all": 0, "mpirun": 0}
runs, finished, hung = 1, 0, 0
progress = set()
while finished < runs:
    directory = f"run{runs}"
    log = open("log", "w")
    job = subprocess.Popen([mpirun, choose.choice("23"), tool, "resume", directory], stdout=log, stderr=log,
                           start_new_session=True)
    if sum(kills.values()) >= wanted:
        wait = 300
    else:
        wait = choose.uniform(0.1, 1.1 * usual)
    try:
        code = job.wait(timeout=wait)
    except subprocess.TimeoutExpired:
        assert wait < 300, "hangs"
        family = descendants(job.pid)
        ranks = [pid for pid, name in family.items() if name == "run_tool"]
        launcher = [pid for pid, name in family.items() if name in ("mpirun", "orterun")]
        kind = choose.choice(["rank", "all", "mpirun"])
        victims = launcher if kind == "mpirun" else ranks if kind == "all" else ranks[:1] and [choose.choice(ranks)]
        for pid in victims:
            kill(pid)
        kills[kind] += bool(victims)
        try:
            job.wait(timeout=20)
        except subprocess.TimeoutExpired:  # Open MPI's mpirun may miss that all its ranks died while it started them
            assert "run_tool" not in descendants(job.pid).values(), f"ranks go on after a kill ({kind})"
            for pid in launcher:
                kill(pid)
            hung += 1
            job.wait(timeout=60)
        limit = time.time() + 60
        while any(alive(pid) for pid in ranks):
            assert time.time() < limit, f"ranks go on after a kill ({kind})"
            time.sleep(0.05)
        progress.add(check(directory + "/run.h5"))
        continue
    if code != 0:
        print(open("log").read())
    assert code == 0, f"{directory} ended with code {code}"
    finished += 1
    runs += sum(kills.values()) < wanted
    assert check(directory + "/run.h5") == 2000
    same = subprocess.run([tool, "same", "reference/run.h5", directory + "/run.h5"], capture_output=True, text=True)
    assert same.returncode == 0, same.stdout + same.stderr
print(f"seed {seed}: kills {kills} (mpirun hung after {hung}), runs finished {finished}, undisturbed run {usual:.1f} s, rows done at kills: "
      f"{sorted(progress)}")
