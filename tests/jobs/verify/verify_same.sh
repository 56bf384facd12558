# detoxlens verify --same: equal files exit 0, a changed value exit 1 and its path, a missing file exit 4.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../../script.sh" "$0" "$@"
tool=$DTX_BUILD/tests/run_tool
"$tool" resume one
"$tool" resume two
"$DETOXLENS" verify --same one two/run.h5
/usr/bin/python3 - <<'PY'
import h5py
with h5py.File("two/run.h5", "r+") as f:
    f["variants/IT/completions/tokens"][5, 2] = 123456
PY
expect() {
    rc=0
    "$DETOXLENS" verify "${@:2}" > out 2> err || rc=$?
    [ "$rc" -eq "$1" ] || { cat out err; echo "verify ${*:2}: exit $rc, expected $1"; exit 1; }
}
expect 1 --same one/run.h5 two
grep -q tokens out || { cat out; echo "the difference is not named"; exit 1; }
expect 1 --json --same one two
grep -q '"differences":1}' out || { cat out; exit 1; }
expect 4 --same one three.h5
expect 2 --same one
expect 2
