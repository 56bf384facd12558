"""The program as a process: closed standard streams, a full disk or nobody behind standard output, a limit on address space,
single processes side by side, Ctrl-C."""
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

DETOXLENS, SOURCE, MPIRUN, MAKE_MODEL = os.environ["DETOXLENS"], os.environ["DTX_SOURCE"], os.environ["MPIRUN"], sys.argv[1]
TEXTS = f"{SOURCE}/data/quickstart/texts.jsonl"
os.environ["DETOXLENS_THREADS"] = "1"
failed = 0


def check(fine, *what):
    global failed
    if not fine:
        failed += 1
        print("FAILED:", *what)


def run(*args, limit=60, **more):
    """(exit code or "hangs", standard output, standard error)"""
    more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **more}
    p = subprocess.Popen([DETOXLENS, *args], **more)
    try:
        out, err = p.communicate(timeout=limit)
        return p.returncode, out, err
    except subprocess.TimeoutExpired:
        p.kill()
        p.communicate()
        return "hangs", b"", b""


def generate(folder, texts=2, new=5):
    return ("generate", "--run", folder, "--set", "model.path=model", "--set", f"data.prompts={TEXTS}", "--set", f"data.limit={texts}", "--set",
            f"generate.max_new_tokens={new}")


subprocess.run([MAKE_MODEL, "neox", "model", f"{SOURCE}/data/quickstart/corpus.txt"], check=True)
code, out, err = run(*generate("run"))
check(code == 0, "generate", code, err)

# --- closed streams: what is sound stays sound, and no message goes into a file ---

for closed in ((2,), (1, 2), (0, 1, 2)):
    def close(fds=closed):
        for fd in fds:
            os.close(fd)
    for command in (("inspect", "model"), ("inspect", "run"), ("export", "--csv", "--run", "run", "tables"), (*generate("closed"), "--redo")):
        code, out, err = run(*command, preexec_fn=close)
        prints = command[0] == "inspect"
        check(code == (4 if prints and 1 in closed else 0), command[0], "with", closed, "closed ends with", code)
    code, out, err = run("verify", "--same", "run/run.h5", "closed/run.h5")
    check(code == 0, "run.h5 differs with", closed, "closed", out)
code, out, err = run("--help", preexec_fn=lambda: os.close(1))
check(code == 4 and b"standard output" in err, "--help with standard output closed", code, err)

# --- no room behind standard output, nobody behind it ---

PRINTING = [("--help",), ("--version",), ("generate", "--help"), ("help", "report"), ("inspect", "model"), ("inspect", "run", "--json"),
            ("inspect", "run", "--row", "0"), ("verify", "--same", "run/run.h5", "run/run.h5"), (*generate("new"), "--dry-run"),
            ("plan", *generate("new"))]
for command in PRINTING:
    with open("/dev/full", "w") as full:
        code, out, err = run(*command, stdout=full)
    check(code == 4 and err.count(b"standard output: cannot write: No space left on device") == 1, command, "into a full device", code, err)
    read, write = os.pipe()
    os.close(read)
    code, out, err = run(*command, stdout=write, preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_DFL))
    os.close(write)
    check(code == -signal.SIGPIPE and b"rror" not in err, command, "into a closed pipe", code, err)
with open("ids", "w") as f:
    f.write('{"text": "Hello world"}\n' * 20000)
with open("/dev/full", "w") as full, open("ids") as lines:
    code, out, err = run("tokenize", "--tokenizer", "model", stdin=lines, stdout=full)
check(code == 4 and b"No space left" in err, "tokenize into a full device", code, err)

# --- a limit on address space: an answer, never a wait ---

for megabytes, codes in ((150, (4,)), (250, (0, 4)), (400, (0, 4)), (1000, (0,)), (4000, (0,))):
    def limit(n=megabytes << 20):
        resource.setrlimit(resource.RLIMIT_AS, (n, n))
    for command in (("--version",), (*generate("limited"), "--redo"), (*generate("limited"), "--redo", "--set", "compute.gemm=openblas")):
        code, out, err = run(*command, preexec_fn=limit, limit=30)
        check(code in codes and (code == 0 or b"ulimit -v" in err), megabytes, "MB of address space:", command[0], command[-1], code, err[-300:])
for kilobytes, want in ((150000, 4), (1000000, 0)):
    r = subprocess.run([MPIRUN, "2", "bash", "-c", f"ulimit -v {kilobytes}; exec \"$@\"", "bash", DETOXLENS, *generate("limited"), "--redo"],
                       capture_output=True, env={**os.environ, "DTX_LAUNCH_SECONDS": "60"})
    check(r.returncode == want and r.stderr.count(b"(ulimit -v) is") == (want != 0), "two ranks with", kilobytes, "kB", r.returncode, r.stderr[-300:])

# --- single processes side by side: the end of one takes nothing from another ---

os.mkdir("sessions")
beside = {**os.environ, "TMPDIR": os.path.abspath("sessions")}
first = subprocess.Popen([DETOXLENS, *generate("first", 100, 30)], env=beside, stderr=subprocess.DEVNULL)
while not os.listdir("sessions"):
    time.sleep(0.001)
time.sleep(0.05)
first.send_signal(signal.SIGSTOP)
code, out, err = run(*generate("second"), env=beside)
left = os.listdir("sessions")
check(code == 0 and len(left) == 1, "a process that ends takes another's session folder along", code, left, err[-300:])
first.kill() # leaves its folder behind
first.wait()
several = [subprocess.Popen([DETOXLENS, *generate(f"many-{i}")], env=beside, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for i in range(20)]
for p in several:
    err = p.communicate()[1]
    check(p.returncode == 0, "one of 20 at once", p.returncode, err[-300:])
check(os.listdir("sessions") == [], "session folders are left:", os.listdir("sessions"))
code, out, err = run(*generate("third"), env={**beside, "OMPI_MCA_orte_tmpdir_base": os.path.abspath("sessions")})
check(code == 0, "a session folder of the user's own", code, err[-300:])

# --- Ctrl-C ---


def interrupt(folder, *launcher):
    """Interrupts a generation once it has begun to write; the exit code."""
    command = [*launcher, DETOXLENS, *generate(folder, 100, 60), "--set", "generate.batch=1"]
    p = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    while not os.path.exists(f"{folder}/log/generate.jsonl") and p.poll() is None:
        time.sleep(0.002)
    os.killpg(p.pid, signal.SIGINT) # as the terminal does: all processes of the group
    err = p.communicate(timeout=120)[1]
    return p.returncode, err


def complete(folder, *launcher):
    r = subprocess.run([*launcher, DETOXLENS, *generate(folder, 100, 60), "--set", "generate.batch=1"], capture_output=True)
    check(r.returncode == 0, folder, "does not continue", r.returncode, r.stderr[-300:])


complete("whole")
code, err = interrupt("alone")
check(code == 75 and b"stopped before the end" in err, "Ctrl-C ends a single process with", code, err[-300:])
complete("alone")
code, err = interrupt("two", "mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2")
check(code in (1, 75, 130), "Ctrl-C ends mpirun with", code, err[-300:])
deadline = time.time() + 30
while subprocess.run([DETOXLENS, *generate("two", 100, 60), "--dry-run"], capture_output=True).returncode != 0 and time.time() < deadline:
    time.sleep(0.5)
complete("two", MPIRUN, "2")
for folder in ("alone", "two"):
    code, out, err = run("verify", "--same", "whole/run.h5", f"{folder}/run.h5")
    check(code == 0, folder, "interrupted holds other bytes", out[-300:])
shutil.rmtree("sessions")
sys.exit(failed > 0)
