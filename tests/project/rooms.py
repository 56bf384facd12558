"""The rooms of docs/rooms.txt: every source lies in one, includes only what its room may include, and no room or file is
reached from itself. Files: by their headers, and by the symbols that the object files ask of each other."""
import glob
import os
import re
import subprocess
import sys

SOURCE, BUILD = os.environ["DTX_SOURCE"], os.environ["DTX_BUILD"]
bad = 0


def failed(*words):
    global bad
    bad = 1
    print("FAILED:", *words)


def circles(graph):
    """Sets of nodes that reach each other."""
    def reach(start):
        seen, todo = set(), list(graph.get(start, ()))
        while todo:
            node = todo.pop()
            if node not in seen:
                seen.add(node)
                todo += graph.get(node, ())
        return seen
    reached = {node: reach(node) for node in graph}
    found = {frozenset(b for b in reached[a] if a in reached.get(b, ())) for a in graph if a in reached[a]}
    return [sorted(c) for c in found]


# --- the rooms ---
allowed = {}
for line in open(f"{SOURCE}/docs/rooms.txt"):
    line = line.split("#")[0].strip()
    if line:
        room, _, uses = line.partition(":")
        allowed[room] = uses.split()
for room, uses in allowed.items():
    for other in uses:
        if other not in allowed:
            failed(f"docs/rooms.txt: {room} may include {other}, which is no room")
for circle in circles(allowed):
    failed("docs/rooms.txt: rooms in a circle:", *circle)

files = [os.path.relpath(f, SOURCE) for layer in ("src", "mpi", "jobs")
         for f in glob.glob(f"{SOURCE}/{layer}/**/*.[ch]", recursive=True)]
if len(files) < 200:
    failed(f"only {len(files)} sources found")
headers = {}
for f in files:
    room = os.path.dirname(f)
    if room not in allowed:
        failed(f"{f}: {room} is not listed in docs/rooms.txt")
        continue
    text = open(f"{SOURCE}/{f}").read()
    for other in re.findall(r'^#\s*include\s*"([^"]+)"', text, re.M):
        if other not in files:
            failed(f'{f}: includes "{other}", which is not there (paths begin at the top level)')
            continue
        to = os.path.dirname(other)
        if to != room and to not in allowed[room] and not (f.startswith("jobs/") and to.startswith(("src/", "mpi/"))):
            failed(f"{f}: includes {other}, which {room} may not (docs/rooms.txt)")
        if f.endswith(".h"):
            headers.setdefault(f, set()).add(other)
    if room.startswith("src/") and re.search(r'#\s*include\s*[<"](mpi|hdf5|H5)', text):
        failed(f"{f}: src knows neither MPI nor HDF5")
    if room.startswith("src/") and f.endswith(".c") and re.search(r"\b(exit|abort|printf|puts|putchar)\(", text):
        failed(f"{f}: src neither ends the process nor prints")
    if room.startswith("jobs/") and re.search(r"\bH5[FDGASP][a-z]*[A-Z]?[a-z_]*\(", text):
        failed(f"{f}: HDF5 is called in mpi alone")
    if f.endswith(".c") and f != "mpi/par/par.c" and re.search(r"\bMPI_COMM_WORLD\b", text):
        failed(f"{f}: MPI_COMM_WORLD outside of mpi/par/par.c")
for circle in circles(headers):
    failed("headers in a circle:", *circle)
for room in allowed:
    if not any(os.path.dirname(f) == room for f in files):
        failed(f"docs/rooms.txt: {room} holds no sources")
    readme = f"{SOURCE}/{room}/README.md"
    if not os.path.exists(readme):
        failed(f"{room} has no README.md")
    elif len(open(readme).readlines()) > 15 :
        failed(f"{room}/README.md is longer than 15 lines")

# --- calls between files ---
objects = {}
for path in glob.glob(f"{BUILD}/CMakeFiles/*/**/*.c.o", recursive=True):
    m = re.search(r"CMakeFiles/(?:dtx_core|dtx_par|detoxlens)\.dir/((?:src|mpi|jobs)/.*)\.o$", path)
    if m and m.group(1) in files:
        objects[m.group(1)] = path
if len(objects) < 150:
    failed(f"only {len(objects)} object files found in {BUILD}")
defined, wanted = {}, {}
for name, path in objects.items():
    for line in subprocess.run(["nm", path], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines():
        part = line.split()
        if part[-2] == "U":
            wanted.setdefault(name, set()).add(part[-1])
        elif part[-2].isupper():
            defined[part[-1]] = name
calls = {a: {defined[s] for s in symbols if defined.get(s, a) != a} for a, symbols in wanted.items()}
for circle in circles(calls):
    failed("files that call each other in a circle:", *(f"\n  {a}: {' '.join(s for s in wanted[a] if defined.get(s) in circle and defined[s] != a)}"
                                                       for a in circle))
sys.exit(bad)
