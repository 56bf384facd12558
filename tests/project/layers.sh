#!/usr/bin/env bash
# jobs -> mpi -> src, one direction, by the includes; tests/project/core_only.sh shows what src is linked with.
set -u
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../script.sh" "$0" "$@"
cd "$DTX_SOURCE" || exit 1
bad=0
none() { # none WHAT PATTERN FILE...
    local what=$1 pattern=$2 found
    shift 2
    if found=$(grep -nE "$pattern" "$@"); then
        echo "FAILED: $what: $found"
        bad=1
    fi
}
files() { find "$1" -type f -name '*.[ch]'; }
mapfile -t src < <(files src)
mapfile -t mpi < <(files mpi)
mapfile -t jobs < <(files jobs)
for layer in "${#src[@]}" "${#mpi[@]}" "${#jobs[@]}"; do
    [ "$layer" -gt 10 ] || { echo "FAILED: only $layer files of a layer found"; bad=1; }
done
none "src includes MPI or HDF5" '#[[:space:]]*include[[:space:]]*[<"](mpi|hdf5|H5)' "${src[@]}"
none "src includes another layer" '#[[:space:]]*include[[:space:]]*"(mpi|jobs|tests)/' "${src[@]}"
none "mpi includes jobs" '#[[:space:]]*include[[:space:]]*"(jobs|tests)/' "${mpi[@]}"
none "jobs call HDF5's writing functions" '\bH5(F|D|G|A|S|P)[a-z]*[A-Z]?[a-z_]*\(' "${jobs[@]}"
mapfile -t others < <(find jobs mpi -name '*.c' ! -path mpi/par/par.c)
none "MPI_COMM_WORLD outside par.c" '\bMPI_COMM_WORLD\b' "${others[@]}"
mapfile -t sources < <(find src -name '*.c')
none "src ends the process or prints to standard output" '\b(exit|abort|printf|puts|putchar)\(' "${sources[@]}"
exit "$bad"
