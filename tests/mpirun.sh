#!/usr/bin/env bash
# mpirun.sh N COMMAND...: mpirun as the tests need it: as root, more ranks than cores, waiting ranks give up the core, a
# session folder of its own so that tests can run side by side. A launch that has not ended after DTX_LAUNCH_SECONDS
# (default 600) is hung: its processes are shown, ended, and the exit code is 124. Open MPI's mpirun may miss that all its
# ranks were killed while it started them: one without ranks for 30 s is ended, exit code 137.
set -eu
n=$1
shift
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/dtx.XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_hwloc_base_binding_policy=none
# After a rank's exit code other than 0 mpirun waits a second for each of the others, which have said what they had to say and are
# gone: hundreds of refusals are tested.
export OMPI_MCA_odls_base_sigkill_timeout=0

# show_hung PID: mpirun and its ranks, what each thread waits for, and their stacks where gdb is installed
show_hung() {
    local pid
    echo "mpirun.sh: not ended after $limit s: $shown"
    for pid in "$1" $(pgrep -P "$1"); do
        ps -L -o pid,lwp,stat,wchan:24,etimes,args -p "$pid"
        ! command -v gdb > /dev/null || timeout 60 gdb -p "$pid" -batch -ex 'thread apply all bt 25' 2> /dev/null | grep -E '^(Thread|#)'
    done
}

limit=${DTX_LAUNCH_SECONDS:-600} shown="$n ranks of $*"
mpirun -n "$n" "$@" <&0 &
launch=$!
(
    set +e
    trap - EXIT
    alone=0
    for _ in $(seq "$limit"); do
        sleep 1 > /dev/null 2>&1
        kill -0 "$launch" 2> /dev/null || exit 0
        if pgrep -r D,R,S,T,t -P "$launch" > /dev/null; then alone=0; else alone=$((alone + 1)); fi
        if [ "$alone" -ge 30 ]; then
            echo "mpirun.sh: mpirun has had no ranks for $alone s: ended" >&2
            kill -9 "$launch"
            exit 0
        fi
    done
    show_hung "$launch" >&2
    touch "$TMPDIR/hung"
    # shellcheck disable=SC2046 # one word for each rank
    kill -9 $(pgrep -P "$launch") "$launch"
) &
watch=$!
rc=0
wait "$launch" || rc=$?
[ ! -e "$TMPDIR/hung" ] || rc=124
kill "$watch" 2> /dev/null || true
exit "$rc"
