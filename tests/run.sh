#!/usr/bin/env bash
# run.sh [CTEST OPTION...]: installs what is missing (Debian), builds with warnings as errors, and runs the tests, except
# the long ones of the label study (tests/run.sh -L study). Fails when no test was executed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=jobs/setup.sh
. "$root/jobs/setup.sh"
cd "$root"

install_packages jobs/packages.txt tests/packages.txt

say "Build: build/dev"
cmake --preset dev -DBUILD_TESTING=ON | tail -n 3
cmake --build --preset dev

say "Tests"
# Short names: sockets of Open MPI live below. Its other settings stand in tests/mpirun.sh.
export TMPDIR=/tmp
selection=(-LE '^study$')
for option in "$@"; do
    case $option in
    *study*) selection=() ;;
    esac
done
log=build/dev/ctest.log
rc=0
ctest --test-dir build/dev --output-on-failure --no-tests=error -j "${CTEST_PARALLEL_LEVEL:-$(nproc)}" \
    ${selection[@]+"${selection[@]}"} "$@" | tee "$log" || rc=$?
# What is skipped counts as success for CTest, also when that is everything.
if [ "$rc" -eq 0 ] && ! grep -qE ' Passed +[0-9.]+ sec' "$log"; then
    echo "error: no test was executed" >&2
    rc=1
fi
exit "$rc"
