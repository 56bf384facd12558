"""docs/reading-run-h5.md: every block runs, and gives what the report's tables hold."""
import csv
import os
import re
import subprocess
import sys

try:
    import h5py
    import numpy as np
    import pandas
except ImportError as e:
    print("skipped:", e)
    sys.exit(77)
sys.path.insert(0, os.path.join(os.environ["DTX_SOURCE"], "tests/jobs/shared"))
import make_run

make_run.make("run", "full", n=60)
make_run.add_scores("run")
subprocess.run([os.environ["DETOXLENS"], "report", "--run", "run", "--sample", "0"], check=True, capture_output=True)
text = open(os.path.join(os.environ["DTX_SOURCE"], "docs/reading-run-h5.md")).read()
blocks = re.findall(r"```python\n(.*?)```\n(?:<!-- is (.*?) -->)?", text, re.S)
assert len(blocks) > 8
scope, compared = {}, 0
for code, cell in blocks:
    exec(code, scope)
    if cell:
        if cell.startswith("a["):
            want = eval(cell, scope)
        else:
            name, column, where = re.fullmatch(r"(\S+) (\S+): (.*)", cell).groups()
            keys = dict(k.split("=") for k in where.split())
            rows = [r for r in csv.DictReader(open(f"run/report/{name}", newline="")) if all(r[k] == v for k, v in keys.items())]
            assert len(rows) == 1, (cell, rows)
            want = float(rows[0][column])
        assert abs(scope["value"] - want) <= 1e-4 * max(1, abs(want)), (cell, scope["value"], want)
        compared += 1
assert compared == len(re.findall(r"<!-- is ", text)), "a comment that stands after no block"
assert list(scope["answers"].columns) == ["prompt", "IT", "FT"] and len(scope["answers"]) == 60
print("ok", compared)
