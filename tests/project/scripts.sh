#!/usr/bin/env bash
# Every shell script parses and passes shellcheck where that is installed, those that are called by hand are executable; no
# test source is forgotten in tests/CMakeLists.txt.
set -u
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../script.sh" "$0" "$@"
cd "$DTX_SOURCE" || exit 1
bad=0
mapfile -t scripts < <(find .ci jobs slurm tests data -type f \( -name '*.sh' -o -name '*.sbatch' -o -name '*.conf' -o -path '.ci/*' \))
[ "${#scripts[@]}" -gt 5 ] || { echo "FAILED: only ${#scripts[@]} scripts found"; bad=1; }
for script in "${scripts[@]}"; do
    bash -n "$script" || bad=1
done
for script in .ci/run jobs/quickstart.sh tests/run.sh tests/mpirun.sh tests/script.sh slurm/submit.sh slurm/*.sbatch tests/slurm/cluster.sh; do
    [ -x "$script" ] || { echo "FAILED: $script is not executable"; bad=1; }
done
if command -v shellcheck >/dev/null; then
    shellcheck -s bash -S warning -x "${scripts[@]}" || bad=1
else
    echo "shellcheck is not installed: only the syntax was checked"
fi
while IFS= read -r source; do
    grep -qF "$source" tests/CMakeLists.txt || { echo "FAILED: $source is not registered in tests/CMakeLists.txt"; bad=1; }
done < <(find tests -name 'test_*.c' -printf '%P\n')
# Started by hand, a shell test goes through script.sh, which gives it a folder of its own.
while IFS= read -r script; do
    # shellcheck disable=SC2016
    grep -qE '^\[ -n "\$\{DTX_WORK-\}" \] \|\| exec "\$\(dirname "\$0"\)/[./]*/script\.sh" "\$0" "\$@"$' "tests/$script" ||
        { echo "FAILED: tests/$script works in the folder that it is started in: see the second command of tests/project/setup.sh"; bad=1; }
done < <(sed -nE 's/^ *dtx_add_script\([a-z0-9_]+ ([^ )]+\.sh)[ )].*/\1/p' tests/CMakeLists.txt | sort -u)
exit "$bad"
