#!/usr/bin/env bash
# A run directory that cannot be used is an answer with its exit code, and nothing that exists is touched: not HDF5, cut
# off, another schema, no schema, locked, no permission; a disk that is full during an edit and during a write.
set -u
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../../script.sh" "$0" "$@"
tool=$DTX_BUILD/tests/run_tool
fail() {
    echo "FAILED: $*"
    cat err 2> /dev/null
    exit 1
}
# expect CODE TEXT COMMAND...
expect() {
    local code=$1 text=$2 rc=0
    shift 2
    timeout 60 "$@" > out 2> err || rc=$?
    [ "$rc" -eq "$code" ] || fail "'$*' ended with $rc instead of $code"
    [ -z "$text" ] || grep -q -- "$text" err || fail "'$*' does not say '$text'"
}

"$tool" open good || fail "a new directory"
for n in 1 3; do # agreement: one message, the same code, whatever the ranks
    run=$tool
    [ "$n" -eq 1 ] || run="$MPIRUN $n $tool"
    rm -rf bad && mkdir bad && echo "this is no HDF5 file" > bad/run.h5
    expect 3 "bad/run.h5: not a readable HDF5 file" $run open bad
    [ "$(grep -c 'not a readable' err)" -eq 1 ] || fail "more than one message"
    [ "$(cat bad/run.h5)" = "this is no HDF5 file" ] || fail "the bad file was changed"
    : > bad/run.h5
    expect 3 "not a readable HDF5 file" $run open bad
    head -c 900 good/run.h5 > bad/run.h5
    expect 3 "not a readable HDF5 file" $run open bad
done
/usr/bin/python3 - << 'END' || { echo "python3-h5py is needed"; exit 77; }
import h5py, shutil
for name in ("other", "none"):
    shutil.copytree("good", name)
with h5py.File("other/run.h5", "r+") as f:
    f.attrs.modify("schema_version", 7)
with h5py.File("none/run.h5", "r+") as f:
    del f.attrs["schema_version"]
END
expect 2 "schema_version 7; this program reads and writes 1" "$tool" open other
expect 3 "no run.h5 of detoxlens" "$tool" open none
rm -rf dir && mkdir -p dir/run.h5
expect 4 "not a regular file, but a folder" "$tool" open dir
echo x > file
expect 4 "file" "$tool" open file
expect 2 "in use by another job (host .*, process [0-9]*, Slurm job 4711 night)" bash -c '
    SLURM_JOB_ID=4711 SLURM_JOB_NAME=night HOLD=20 "$0" open good & holder=$!
    for i in $(seq 100); do grep -q "4711 night" good/lock && break; sleep 0.1; done
    "$0" open good; rc=$?
    kill $holder; exit $rc' "$tool"
"$tool" open good || fail "the lock did not end with its holder"

# --- no permission (root is always allowed: another user tries) ---
if [ "$(id -u)" -eq 0 ] && command -v setpriv > /dev/null; then
    as="setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nonexistent"
    chmod 755 . && mkdir -p closed && "$tool" open closed/run && chmod 755 closed
    if $as test -x "$tool"; then
        mkdir -p anyone && chmod 777 anyone
        export TMPDIR=$PWD/anyone
        expect 4 "Permission denied" $as "$tool" open closed/run
        chmod 777 closed/run closed/run/log closed/run/checkpoints closed/run/report && chmod 666 closed/run/lock
        expect 4 "run.h5: cannot read and write: Permission denied" $as "$tool" open closed/run
        expect 4 "cannot make the folder: Permission denied" $as "$tool" open closed/new
    else
        echo "left out: another user cannot reach $tool, so missing permission is not tested"
    fi
else
    echo "left out: missing permission needs root and setpriv"
fi

# --- full disk ---
mkdir small
if ! mount -t tmpfs -o size=6m none small 2> /dev/null; then
    echo "left out: no tmpfs can be mounted here, so a full disk is not tested"
    exit 0
fi
trap 'umount small' EXIT
for n in 1 2; do
    run=$tool
    [ "$n" -eq 1 ] || run="$MPIRUN $n $tool"
    rm -rf small/*
    expect 0 "" $run grow small/run 1
    sum=$(sha256sum < small/run/run.h5)
    expect 4 "No space left" $run grow small/run 30   # the dataset does not fit
    [ "$sum" = "$(sha256sum < small/run/run.h5)" ] || fail "run.h5 was changed by an edit that failed"
    [ ! -e small/run/run.h5.edit ] || fail "the copy was left behind"
    head -c 4500000 /dev/zero > small/filler
    expect 4 "a copy of .* MB beside it is needed.*No space left\|No space left" $run grow small/run 1 # nor does the copy
    [ "$sum" = "$(sha256sum < small/run/run.h5)" ] || fail "run.h5 was changed by an edit that failed"
    expect 0 "" $run rewrite small/run # values need no new space: the datasets were allocated when they were made
    rm small/filler
    expect 0 "" $run grow small/run 2
    # a hole where the values stand, and no space to fill it
    at=$(/usr/bin/python3 -c 'import h5py; print(h5py.File("small/run/run.h5")["variants/IT/attribution/big/value"].id.get_offset())')
    if fallocate --punch-hole --offset $((at + 100000)) --length 1000000 small/run/run.h5; then
        head -c 6000000 /dev/zero > small/filler 2> /dev/null
        expect 4 "cannot write\|No space left" $run rewrite small/run
        rm small/filler
        h5dump -H small/run/run.h5 > /dev/null || fail "run.h5 cannot be read after a write on a full disk"
        expect 0 "" $run rewrite small/run
    fi
done
echo ok
