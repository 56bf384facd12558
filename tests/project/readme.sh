#!/usr/bin/env bash
# Runs the commands of README.md that are marked as tested, in a folder that looks like the project after a build, and then
# its Python example on what they made.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../script.sh" "$0" "$@"
readme=$DTX_SOURCE/README.md
ln -s "$DTX_SOURCE/data" data
mkdir -p build/release
ln -s "$DETOXLENS" build/release/detoxlens
sed -n 's/^    \(export OMPI_.*\)/\1/p' "$readme" >settings.sh
[ "$(wc -l <settings.sh)" -eq 3 ] || { echo "README.md: three lines with Open MPI's settings are expected"; exit 1; }
sed -n '/^<!-- tested -->/,/^<!-- end -->/s/^    //p' "$readme" >commands.sh
[ "$(wc -l <commands.sh)" -ge 5 ] || { echo "README.md: the tested commands are missing"; exit 1; }
# shellcheck disable=SC1091
(set -e; . ./settings.sh; . ./commands.sh) >out.txt 2>&1 || { cat out.txt; exit 1; }
test -s out/report/index.html
grep -q '^  completion ' out.txt || { echo "inspect --row shows no completion"; cat out.txt; exit 1; }
"$DETOXLENS" inspect --families >families.txt
sed -n '/^<!-- families -->/,/^<!-- end -->/p' "$readme" | grep -v '^<!--' | diff - families.txt ||
    { echo "README.md: the model types are not those that inspect --families prints"; exit 1; }
rc=0
"$DETOXLENS" inspect out --row 6 2>err.txt || rc=$?
{ [ "$rc" -eq 2 ] && grep -q 'rows 0 to 5' err.txt; } || { echo "inspect --row 6 of 6 rows: $rc"; cat err.txt; exit 1; }
# shellcheck disable=SC2016
sed -n '/^<!-- python -->/,$p' "$readme" | sed -n '/^```python/,/^```$/p' | sed '/^```/d' >example.py
grep -q h5py example.py
/usr/bin/python3 example.py
