#!/usr/bin/env bash
# Every shell script parses, is executable unless it is sourced, and passes shellcheck where that is installed; no test
# source is forgotten in tests/CMakeLists.txt.
set -u
cd "$DTX_SOURCE" || exit 1
bad=0
mapfile -t scripts < <(find .ci jobs slurm tests data -type f \( -name '*.sh' -o -name '*.sbatch' -o -path '.ci/*' \))
[ "${#scripts[@]}" -gt 5 ] || { echo "FAILED: only ${#scripts[@]} scripts found"; bad=1; }
for script in "${scripts[@]}"; do
    bash -n "$script" || bad=1
    if head -n 1 "$script" | grep -q '^#!' && [ ! -x "$script" ]; then
        echo "FAILED: $script is not executable"
        bad=1
    fi
done
if command -v shellcheck >/dev/null; then
    shellcheck -S warning -x "${scripts[@]}" || bad=1
else
    echo "shellcheck is not installed: only the syntax was checked"
fi
while IFS= read -r source; do
    grep -qF "$source" tests/CMakeLists.txt || { echo "FAILED: $source is not registered in tests/CMakeLists.txt"; bad=1; }
done < <(find tests -name 'test_*.c' -printf '%P\n')
exit "$bad"
