#!/usr/bin/env bash
# cmake --install gives a tree that works on its own: program, manual page, texts.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../script.sh" "$0" "$@"
cmake --install "$DTX_BUILD" --prefix "$PWD/tree" >/dev/null
test -x tree/bin/detoxlens
"$PWD/tree/bin/detoxlens" --version
(cd tree && find . -name detoxlens.1 | grep -q 'man/man1')
test -s tree/share/detoxlens/configs/tiny.json
test -s tree/share/detoxlens/quickstart/texts.jsonl
test -s tree/share/doc/detoxlens/LICENSE
# OpenBLAS is found where it was when the program was linked, whatever the environment says.
env -u LD_LIBRARY_PATH ldd tree/bin/detoxlens | grep -q 'libopenblas.*=> /'

# The installed README names nothing that is not there, relative to where it stands.
doc=tree/share/doc/detoxlens
! grep -n 'quickstart\.sh\|tests/\|packages\.txt\|<!-- source\|end source' "$doc/README.md" || { echo "README tells of the sources"; exit 1; }
grep -q '^## Exit codes' "$doc/README.md"
names=$(grep -oE '(^|[^A-Za-z0-9_/.-])(data|docs|jobs|mpi|packaging|slurm|src)/[A-Za-z0-9_./-]+' "$doc/README.md" | sed 's/^[^a-z]//; s/[.,:]*$//' | sort -u)
[ "$(wc -w <<<"$names")" -ge 6 ]
for name in $names; do
    case $name in data/[a-z]*.csv | data/*realtox*) continue ;; esac
    [ -e "$doc/$name" ] || { echo "README names $name, which is not installed"; exit 1; }
done
links=$(grep -oE '\]\([^)#]+\)' "$doc/README.md" | sed 's/^](//; s/)$//' | grep -v '^https\?:' || true)
for name in $links; do [ -e "$doc/$name" ] || { echo "README links to $name, which is not installed"; exit 1; }; done

# The batch scripts find one another from any folder, and the scripts that are handed to Slurm find what they share.
mkdir elsewhere
cd elsewhere
PATH=$DTX_WORK/tree/bin:$PATH
"$DTX_WORK/tree/share/detoxlens/slurm/submit.sh" --dry-run --run study "$DTX_WORK/tree/share/detoxlens/configs/tiny.json" >lines
[ "$(grep -c '^sbatch' lines)" -ge 9 ] || { cat lines; exit 1; }
for script in $(grep -oE '[^ ]*\.sbatch' lines | sort -u); do [ -x "$script" ] || [ -r "$script" ] || { echo "$script is not there"; exit 1; }; done
"$DTX_WORK/tree/share/doc/detoxlens/slurm/submit.sh" --dry-run report --run study | grep -q 'report\.sbatch'
DTX_SLURM=$DTX_WORK/tree/share/detoxlens/slurm bash -c '. "$DTX_SLURM/common.sh" && load_modules && declare -F run_job' >/dev/null
