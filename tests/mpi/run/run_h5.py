"""run.h5 as an analyst reads it (h5py, xarray with both engines, h5dump), the same bytes from any number of ranks, and
dtx_h5_same against differences planted with h5py."""
import os
import shutil
import subprocess
import sys

try:
    import h5py
    import numpy as np
    import xarray
    import h5netcdf  # noqa: F401
except ImportError as missing:
    print(f"python3-h5py, python3-xarray and python3-h5netcdf are needed: {missing}")
    sys.exit(77)

tool = os.environ["DTX_BUILD"] + "/tests/run_tool"
mpirun = os.environ["MPIRUN"]


def groups(file):
    names = ["/"]
    file.visititems(lambda name, o: names.append("/" + name) if isinstance(o, h5py.Group) else None)
    return names


def contents(path):
    """Every dataset's bytes and every attribute, but for provenance and references."""
    out = {}

    def visit(name, o):
        if name.startswith("provenance"):
            return
        if isinstance(o, h5py.Dataset):
            out[name] = (str(o.dtype), o.shape, o[()].tobytes())
        for key, value in o.attrs.items():
            if key not in ("DIMENSION_LIST", "REFERENCE_LIST"):
                out[name + "@" + key] = np.asarray(value).tobytes()

    with h5py.File(path) as file:
        file.visititems(visit)
    return out


def same(a, b):
    done = subprocess.run([tool, "same", a, b], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


# --- the same bytes from 1, 2, 3 and 5 ranks, and from more ranks than a round has rows for ---
for ranks in (1, 2, 3, 5):
    subprocess.run([mpirun, str(ranks), tool, "resume", f"r{ranks}"], check=True)
reference = contents("r1/run.h5")
assert len(reference) > 20
for ranks in (2, 3, 5):
    assert contents(f"r{ranks}/run.h5") == reference, f"{ranks} ranks gave other bytes than 1"
    code, text = same("r1/run.h5", f"r{ranks}/run.h5")
    assert code == 0, text

# --- an analyst's view ---
path = "r3/run.h5"
with h5py.File(path) as file:
    c, t = file["variants/IT/attribution/c"], file["variants/IT/completions/tokens"]
    assert c.attrs["complete"] == 1 and file.attrs["schema_version"] == 1
    assert t.dtype == "<i4" and t.shape == (2000, 24)
    assert (t[...] == np.arange(2000 * 24).reshape(2000, 24)).all()
    assert np.isnan(c["entropy"][:, 3:]).all() and not np.isnan(c["entropy"][:, :3]).any()
    assert c["entropy"].attrs["units"] == b"nat" and c["entropy"].attrs["long_name"] == b"entropy"
    assert t.dims[0][0].name == "/row" and t.dims[1][0].name == "/step"
    assert c["row_offset"].dtype == "<u8" and c["row_offset"][-1] == c["value"].shape[0]
    assert c["value"].chunks is None and c["value"].id.get_storage_size() == 4 * c["value"].shape[0]
    assert c["score"].id.get_storage_size() == 0
    for dataset in (t, c["value"], c["done"]):
        assert dataset.id.get_create_plist().get_alloc_time() == h5py.h5d.ALLOC_TIME_EARLY
    p = file["provenance/0"].attrs
    assert p["ranks"] == 3 and p["exit_code"] == 0 and p["job"] == b"resume"
    assert len(p["stop"]) == 20 and p["hosts"].endswith(b":3")
    names = groups(file)
for engine in ("h5netcdf", "netcdf4"):
    try:
        __import__({"netcdf4": "netCDF4"}.get(engine, engine))
    except ImportError:
        print(f"engine {engine} is not there: left out")
        continue
    for group in names:
        with xarray.open_dataset(path, engine=engine, group=group) as data:
            data.load()
            if group == "/variants/IT/attribution/c":
                assert dict(data.sizes)["row"] == 2000 and dict(data.sizes)["step"] == 24
                assert data["value"].dims == ("score",) and "score" not in data.variables
            if group == "/variants/IT/completions":
                with h5py.File(path) as file:
                    assert (data["tokens"].values == file["variants/IT/completions/tokens"][...]).all()
dump = subprocess.run(["h5dump", "-d", "/variants/IT/completions/tokens", "-s", "7,0", "-c", "1,2", path], capture_output=True, text=True)
assert dump.returncode == 0 and "(7,0): 168, 169" in dump.stdout, dump.stdout + dump.stderr
assert subprocess.run(["h5dump", path], capture_output=True).returncode == 0
listing = subprocess.run(["h5ls", "-r", "-v", path], capture_output=True, text=True)
assert listing.returncode == 0 and "score" in listing.stdout and "Modified" not in listing.stdout  # no times

# --- planted differences ---


def planted(change, *words):
    shutil.copy(path, "changed.h5")
    with h5py.File("changed.h5", "r+") as file:
        change(file)
    code, text = same(path, "changed.h5")
    assert code == (1 if words else 0), text
    for word in words:
        assert word in text, (word, text)


def one_bit(file):
    raw = file["variants/IT/attribution/c/entropy"]
    row = raw[17]
    bits = row.view(np.uint32)
    bits[20] ^= 1  # of a NaN
    raw[17] = row


def set_token(file):
    file["variants/IT/completions/tokens"][1999, 23] = -5


def remake(file):
    d = file["variants/IT/attribution/c/done"][...]
    del file["variants/IT/attribution/c/done"]
    file["variants/IT/attribution/c/done"] = d.astype("i1")


def other_scale(file):
    c = file["variants/IT/attribution/c"]
    c["rows"] = np.arange(2000)
    c["rows"].make_scale("rows")
    c["done"].dims[0].detach_scale(file["row"])
    c["done"].dims[0].attach_scale(c["rows"])


def set_attribute(file):
    file["variants/IT"].attrs.modify("base_model", np.bytes_(b"a small model, for testz"))


def provenance(file):
    file["provenance/0"].attrs["exit_code"] = 4
    file["provenance"].create_group("1")


def timing(file):
    file.create_group("training/pretrain-IT/timing")["seconds"] = np.arange(3.0)


def not_timing(file):
    file.create_group("training/pretrain-IT/timing2")["seconds"] = np.arange(3.0)


planted(lambda file: None)
planted(provenance)
planted(one_bit, "/variants/IT/attribution/c/entropy[17, 20]", "(0100c07f)")
planted(set_token, "/variants/IT/completions/tokens[1999, 23]: 47999 (7fbb0000), -5 (fbffffff)")
planted(remake, "/variants/IT/attribution/c/done: another type")
planted(other_scale, "/variants/IT/attribution/c/done: axis 0 has the scale '/row', '/variants/IT/attribution/c/rows'", "only in the second file")
planted(set_attribute, "/variants/IT@base_model")
planted(lambda file: file.__delitem__("variants/IT/attribution/c/value"), "/variants/IT/attribution/c/value: only in the first file")
planted(lambda file: file["variants/IT/attribution/c"].attrs.__setitem__("x", 1), "/variants/IT/attribution/c@x: only in the second file")
planted(not_timing, "/training: only in the second file")
shutil.copy(path, "timed.h5")
with h5py.File("timed.h5", "r+") as file:
    file.create_group("training/pretrain-IT")["loss"] = np.arange(3.0)
shutil.copy("timed.h5", "untimed.h5")
with h5py.File("timed.h5", "r+") as file:
    timing(file)
code, text = same("timed.h5", "untimed.h5")
assert code == 0, text
assert same(path, "absent.h5")[0] == 4
print("ok")
