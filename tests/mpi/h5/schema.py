"""The table of run.h5 (inspect --schema) against a study of all jobs, and hostile files: schema.py [HOW MANY [SEED]] changes datasets
and attributes of that study (shape, type, values, kind; gone altogether) and runs the jobs that read them. None may crash, hang
or leave a sanitizer's report; a shape or type that a job needs otherwise is exit 3 naming both. `all` takes every change."""
import glob
import json
import os
import random
import re
import shutil
import subprocess
import sys

try:
    import h5py
    import numpy as np
except ImportError as e:
    print("skipped:", e)
    sys.exit(77)
from whole_study import BEGUN, detoxlens, make

STORED = {"u8": "u1", "i32": "<i4", "i64": "<i8", "u64": "<u8", "f32": "<f4", "f64": "<f8"}
KINDS = {"text": "S", "whole number": "i", "number": "f"}


def text(x):
    return x.decode() if isinstance(x, bytes) else x


def pattern(path):
    return re.compile(re.sub(r"\\?\{[^}]*\}", "[^/]+", re.escape(path).replace(r"\{", "{").replace(r"\}", "}")) + r"\Z")


# --- the table and the file ---
def check_attributes(what, attrs, known, ignore=()):
    for name, value in attrs.items():
        if name in ignore:
            continue
        match = [a for a in known if pattern(a["name"]).match(name)]
        assert len(match) == 1, f"{what}@{name} is not described"
        kind = np.asarray(value).dtype.kind
        assert kind == KINDS[match[0]["type"]] and np.asarray(value).shape == (), f"{what}@{name} is {value!r}, described as {match[0]['type']}"


def check_table(schema, path):
    """Every object of the file is described as it is; returns the names of the datasets and axes that occur."""
    axes, seen = {a["name"]: a for a in schema["axes"]}, set()
    groups = [(pattern(g["path"]), g) for g in schema["groups"]]

    def group_of(name):
        return [g for p, g in groups if p.match(name)]

    def visit(file, name):
        obj = file[name]
        if isinstance(obj, h5py.Group):
            if group_of(name):
                check_attributes(name, obj.attrs, group_of(name)[0]["attributes"])
            else:  # a part of a dataset's name, "timing/time"
                assert not obj.attrs, f"{name} is not described and has attributes"
            for member in obj:
                visit(file, f"{name.rstrip('/')}/{member}")
            return
        leaf = name.rsplit("/", 1)[1]
        if text(obj.attrs.get("CLASS", b"")) == "DIMENSION_SCALE":
            assert leaf in axes, f"{name} is a scale of no axis"
            seen.add(leaf)
            return
        parts = name.split("/")
        for k in range(len(parts) - 1, 0, -1):
            group, rest = "/".join(parts[:k]) or "/", "/".join(parts[k:])
            found = [(g, d) for g in group_of(group) for d in g["datasets"] if d["name"] == rest]
            if found:
                break
        assert found, f"{name} is not described"
        g, d = found[0]
        seen.add((g["path"], d["name"]))
        assert obj.dtype == STORED[d["type"]] and obj.dtype.str[1:] == np.dtype(STORED[d["type"]]).str[1:], (name, obj.dtype, d["type"])
        assert obj.ndim == len(d["axes"]), (name, obj.shape, d["axes"])
        for i, axis in enumerate(d["axes"]):
            assert obj.dims[i][0].name.rsplit("/", 1)[1] == axis, (name, i, obj.dims[i][0].name, axis)
        assert text(obj.attrs["units"]) == d["units"], (name, obj.attrs["units"])
        assert text(obj.attrs["long_name"]) in (d["long_name"], d.get("long_name_imported")), (name, obj.attrs["long_name"])
        fill = obj.fillvalue
        assert np.isnan(fill) if d["fill"] == "NaN" else fill == d["fill"], (name, fill)
        check_attributes(name, obj.attrs, d["attributes"], ("DIMENSION_LIST", "long_name", "units"))

    with h5py.File(path) as file:
        visit(file, "/")
    return seen


def check_schema(study):
    out = subprocess.run([os.environ["DETOXLENS"], "inspect", "--schema"], capture_output=True, text=True, check=True).stdout
    schema = json.loads(subprocess.run([os.environ["DETOXLENS"], "inspect", "--schema", "--json"], capture_output=True, text=True, check=True).stdout)
    with open(f"{os.environ['DTX_SOURCE']}/mpi/README.md", encoding="utf-8") as f:
        shown = re.search(r"```text\n(schema_version .*?)```", f.read(), re.S)
    assert shown and shown[1] == out, "mpi/README.md does not show what detoxlens inspect --schema prints"
    seen = check_table(schema, f"{study}/run/run.h5") | check_table(schema, f"{study}/half/run.h5")
    for g in schema["groups"]:
        for d in g["datasets"]:
            assert (g["path"], d["name"]) in seen or "when" in d, f"{g['path']}/{d['name']} is in no file of the study, and the table does not say when"
    assert {a["name"] for a in schema["axes"]} == {s for s in seen if isinstance(s, str)}
    conditional = [f"{g['path']}/{d['name']}" for g in schema["groups"] for d in g["datasets"] if (g["path"], d["name"]) not in seen]
    print(f"{len(seen)} datasets and axes of the table occur; not in this study: {', '.join(conditional) or 'none'}")


def check_sources():
    """Paths of run.h5 stand in the table alone."""
    found = []
    for layer in ("jobs", "mpi"):
        for name in glob.glob(f"{os.environ['DTX_SOURCE']}/{layer}/**/*.[ch]", recursive=True):
            if not name.endswith("mpi/h5/schema.c"):
                with open(name, encoding="utf-8") as f:
                    found += [f"{name}:{i + 1}" for i, line in enumerate(f)
                              if re.search(r'"/(variants|prompts|training|rollouts|rejected|calibration|provenance)(/%|"|/")', line)]
    assert not found, f"paths of run.h5 outside of mpi/h5/schema.c: {found}"


# --- hostile files ---
def remake(file, name, data):
    """The dataset with other content; its scales where they still fit."""
    old = file[name]
    scales = [[s.name for s in old.dims[i].values()] for i in range(old.ndim)]
    attrs = {k: v for k, v in old.attrs.items() if k not in ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME")}
    for i in range(old.ndim):
        for s in scales[i]:
            old.dims[i].detach_scale(file[s])
    del file[name]
    new = file.create_dataset(name, data=data)
    for k, v in attrs.items():
        new.attrs[k] = v
    for i in range(min(new.ndim, len(scales))):
        for s in scales[i]:
            if file[s].shape[0] == new.shape[i]:
                new.dims[i].attach_scale(file[s])


def put(file, name, index, value):
    data = file[name][...]
    data[index] = value
    file[name][...] = data


SHAPES = {
    "shorter": lambda f, n: remake(f, n, f[n][:-1]),
    "longer": lambda f, n: remake(f, n, np.concatenate([f[n][...], f[n][-1:]])),
    "zero": lambda f, n: remake(f, n, f[n][:0]),
    "rank": lambda f, n: remake(f, n, f[n][...].reshape(-1) if f[n].ndim == 2 else np.stack([f[n][...]] * 2, 1)),
    "rank 3": lambda f, n: remake(f, n, np.stack([np.stack([f[n][...].reshape(-1)] * 2)] * 2)),
    "scalar": lambda f, n: remake(f, n, f[n][...].reshape(-1)[0]),
    "wider": lambda f, n: remake(f, n, np.concatenate([f[n][...], f[n][:, -1:]], 1)),
    "narrower": lambda f, n: remake(f, n, f[n][:, :-1]),
    "other number": lambda f, n: remake(f, n, np.nan_to_num(f[n][...]).astype("f8" if f[n].dtype.kind != "f" else "i8")),
    "text": lambda f, n: remake(f, n, np.full(f[n].shape, b"words")),
    "a group": lambda f, n: (f.__delitem__(n), f.create_group(n)),
}
OTHERS = {
    "removed": lambda f, n: f.__delitem__(n),
    "huge": lambda f, n: put(f, n, -1, 2 ** 30 if f[n].dtype.itemsize > 1 else 200),
    "huge inside": lambda f, n: put(f, n, len(f[n]) // 2, 2 ** 30 if f[n].dtype.itemsize > 1 else 200),
    "negative": lambda f, n: put(f, n, 0, -3 if f[n].dtype.kind == "i" else 7),
    "list as text": lambda f, n: replace_attribute(f[n], "DIMENSION_LIST", b"x" * 200),
    "list as numbers": lambda f, n: replace_attribute(f[n], "DIMENSION_LIST", np.arange(40)),
    "users as text": lambda f, n: replace_attribute(f[n].dims[0][0], "REFERENCE_LIST", b"y" * 300),
    "class as numbers": lambda f, n: replace_attribute(f[n].dims[0][0], "CLASS", np.arange(20)),
    "name as numbers": lambda f, n: replace_attribute(f[n].dims[0][0], "NAME", np.arange(20)),
    "units as number": lambda f, n: replace_attribute(f[n], "units", 4),
}


def replace_attribute(obj, name, value):
    if name in obj.attrs.keys():
        h5py.h5a.delete(obj.id, name.encode())
    obj.attrs.create(name, value)


def other_kind(value):
    return {"number for text": 7, "text for number": b"seven", "several": np.array([value, value])}


def changes(path):
    """(object, name of the change, what to call) of all that can be changed in a file."""
    out, curves = [], 0
    with h5py.File(path) as file:
        names = []
        file.visit(names.append)
        for name in names:
            obj = file[name]
            if isinstance(obj, h5py.Group):
                if name.startswith("provenance/") and not name.endswith("/0"):
                    continue
                for a, value in obj.attrs.items():
                    for kind, other in other_kind(value).items():
                        if kind != ("number for text" if isinstance(value, (int, float, np.number)) else "text for number"):
                            out.append((name, f"@{a} {kind}", lambda f, n, a=a, o=other: replace_attribute(f[n], a, o)))
                continue
            if text(obj.attrs.get("CLASS", b"")) == "DIMENSION_SCALE":
                continue
            curves += name.startswith("training/")
            if name.startswith("training/") and curves % 8:
                continue
            for kind, change in {**SHAPES, **OTHERS}.items():
                if (kind in ("wider", "narrower") and obj.ndim != 2) or (kind in ("huge", "huge inside", "negative") and obj.dtype.kind == "f"):
                    continue
                out.append((name, kind, change))
    return out


def readers(name):
    """Arguments of the jobs that look at an object; `same` and `merge` stand for theirs."""
    v = name.split("/")[1] if name.startswith("variants/") and "/" in name[9:] else "IT"
    of = ("--variant", v)
    more = ("--set", "variants.PUB.adapter=run/adapters/FT", "--set", "variants.OLD.adapter=run/adapters/FT")
    jobs = [("same",), ("merge",), ("inspect", "run"), ("report",), ("export", "--csv", "csv")]
    if name.startswith(("prompts", "variants")):
        as_made = (("--merge", "none", "--check", "0") if v == "FT" else ()) + (("--completions-of", "FT") if "@FT" in name else ())
        jobs += [("inspect", "run", "--row", "3", *of), ("attribute", *of, *more, *as_made), ("score", *of), ("score", *of, "--keywords", "true"), ("attribute", *of, *more, *as_made, "--redo")]
        if v in ("IT", "FT", "RL"):
            jobs += [("generate", *of)]
        if v != "OLD":  # of which nothing can be recomputed
            jobs += [("verify", "run", *of, *more)]
    if "attribution" in name:
        jobs += [("export", "--inseq", "inseq.json", *of)]
    if "toxicity" in name or name.startswith("prompts"):
        jobs += [("score", "--calibrate", "--from", "hate", "--to", "perspective")]
    if name.startswith("rollouts"):
        jobs += [BEGUN]
    if name.startswith("rejected"):
        jobs += [("dpo", "--variant", "DPO")]
    return jobs


def run_job(job, study):
    folder = "case"
    if job == ("same",):
        return subprocess.run([os.environ["DETOXLENS"], "verify", "--same", f"{folder}/run", f"{study}/run"], capture_output=True, text=True, timeout=100)
    if job == ("merge",):
        return detoxlens(folder, "merge", "run", run="into", code=None, timeout=100)
    if job[0] == "dpo":  # only its answers are there
        with h5py.File("case/run/run.h5", "r+") as f:
            del f["training/dpo-DPO"]
        shutil.rmtree("case/run/adapters/DPO")
    return detoxlens(folder, *job, run="begun" if job == BEGUN else "run", code=None, timeout=100)


def try_case(study, name, kind, change, jobs):
    bad = []
    for job in jobs:
        if job == BEGUN and name.endswith(("text_offset", "text_bytes")):  # made at the training's end
            continue
        shutil.rmtree("case", ignore_errors=True)
        shutil.copytree(study, "case", ignore=shutil.ignore_patterns("rest", "half", "log", "report", "run" if job == BEGUN else "begun"))
        if job == ("merge",):
            shutil.copytree(f"{study}/run", "case/into")
        try:
            with h5py.File(f"case/{'begun' if job == BEGUN else 'run'}/run.h5", "r+") as file:
                change(file, name)
        except (KeyError, ValueError, RuntimeError, OSError, IndexError) as e:  # there is no such change of this dataset
            return bad, str(e)
        try:
            r = run_job(job, study)
            words, code = r.stderr + r.stdout, r.returncode
        except subprocess.TimeoutExpired:
            words, code = "hangs", -1
        allowed = {0, 3}
        if kind not in SHAPES:
            allowed |= {2, 4} | ({1} if job[0] == "verify" else set())
        if job == ("same",):
            allowed |= {1}
        if job == ("merge",) and "has the shape" in words:
            allowed |= {2}  # another width of all that has one is another run's
        if job == BEGUN and kind not in SHAPES:
            allowed |= {75}
        if job[0] in ("merge", "generate", "score", "attribute", "ppo", "dpo") and kind in ("zero", "a group", "shorter", "longer"):
            allowed |= {2}  # what is not there was not made with these settings
        said = kind not in SHAPES or code != 3 or re.search(r"shape|expected|is not|texts|rows|axes|dataset|fit|elements|damaged", words)
        if code not in allowed or "Sanitizer" in words or "runtime error" in words or not said:
            bad.append(f"{name}, {kind}: {' '.join(job)}: exit {code}\n{words[-1500:]}")
    return bad, None


def hostile(study, how_many, seed):
    cases = changes(f"{study}/run/run.h5")
    chooser = random.Random(seed)
    print(f"{len(cases)} changes; seed {seed}")
    if how_many is not None:
        cases = chooser.sample(cases, how_many)
    bad, left_out, runs = [], 0, 0
    for name, kind, change in cases:
        jobs = readers(name)
        if how_many is not None:
            jobs = chooser.sample(jobs, min(int(os.environ.get("JOBS", 2)), len(jobs)))
        runs += len(jobs)
        found, without = try_case(study, name, kind, change, jobs)
        left_out += without is not None
        bad += found
        for b in found:
            print("FAILED:", b, flush=True)
    print(f"{len(cases)} changes, {left_out} of them impossible, {runs} runs, {len(bad)} of them bad")
    return not bad


if __name__ == "__main__":
    how_many = sys.argv[1] if len(sys.argv) > 1 else "12"
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    study = os.path.abspath("study") if "STUDY" not in os.environ else os.environ["STUDY"]
    if "STUDY" not in os.environ:
        make(study)
    check_sources()
    check_schema(study)
    sys.exit(not hostile(study, None if how_many == "all" else int(how_many), seed))
