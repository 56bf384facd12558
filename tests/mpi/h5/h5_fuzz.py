"""Damaged run.h5: a few bytes of the structure changed, or the end cut off. Each is compared with the whole one; whatever
that finds, it ends with one of its exit codes, never with a signal or without an end.    h5_fuzz.py FILES SEED"""
import collections
import os
import random
import subprocess
import sys

try:
    import h5py
except ImportError as missing:
    print(f"python3-h5py is needed: {missing}")
    sys.exit(77)

tool = os.environ["DTX_BUILD"] + "/tests/run_tool"
files, seed = int(sys.argv[1]), int(sys.argv[2])
choose = random.Random(seed)
subprocess.run([tool, "resume", "whole"], check=True)
whole = open("whole/run.h5", "rb").read()
values = []  # where the datasets' values stand: any byte may be there
with h5py.File("whole/run.h5") as file:
    def visit(name, o):
        if isinstance(o, h5py.Dataset) and o.id.get_offset():
            values.append((o.id.get_offset(), o.id.get_offset() + o.id.get_storage_size()))
    file.visititems(visit)
structure = [i for i in range(len(whole)) if not any(a <= i < b for a, b in values)]
codes = collections.Counter()
for k in range(files):
    data = bytearray(whole)
    for _ in range(choose.choice([1, 1, 2, 5])):
        data[choose.choice(structure)] = choose.choice([0, 255, choose.randrange(256)])
    if choose.random() < 0.1:
        data = data[:choose.randrange(len(data))]
    with open("damaged.h5", "wb") as file:
        file.write(data)
    done = subprocess.run([tool, "same", "whole/run.h5", "damaged.h5"], capture_output=True, timeout=400)
    codes[done.returncode] += 1
    assert done.returncode in (0, 1, 2, 3, 4), (k, done.returncode, done.stderr)
    assert done.returncode == 0 or done.stderr, k
assert codes[3] > files / 10, codes
print(f"seed {seed}: exit codes {dict(codes)}")
