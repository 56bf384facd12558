#!/usr/bin/env bash
# The code of dtx_par_abort must be the launcher's exit code, with and without mpirun, and nothing may hang.
set -u
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../../script.sh" "$0" "$@"
test_par=$DTX_BUILD/tests/test_par
for n in 1 3; do
    timeout 60 "$MPIRUN" "$n" "$test_par" abort 2> err
    rc=$?
    [ "$rc" -eq 5 ] || { echo "mpirun -n $n: exit code $rc instead of 5"; cat err; exit 1; }
    grep -q "rank $((n - 1)) of $n on .* ends all ranks with code 5: test of the last resort" err || { cat err; exit 1; }
done
timeout 60 "$test_par" abort 2> err
rc=$?
[ "$rc" -eq 5 ] || { echo "without mpirun: exit code $rc instead of 5"; cat err; exit 1; }
