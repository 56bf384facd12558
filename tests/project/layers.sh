#!/usr/bin/env bash
# jobs -> mpi -> src, one direction, by the includes; tests/project/core_only.sh shows what src is linked with.
set -u
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
ls src/*.c src/*.h mpi/*.c mpi/*.h jobs/*.c jobs/report/*.c >/dev/null || exit 1
none "src includes MPI or HDF5" '#[[:space:]]*include[[:space:]]*[<"](mpi|hdf5|H5)' src/*.c src/*.h
none "src includes another layer" '#[[:space:]]*include[[:space:]]*"(mpi|jobs|tests)/' src/*.c src/*.h
none "mpi includes jobs" '#[[:space:]]*include[[:space:]]*"(jobs|tests)/' mpi/*.c mpi/*.h
none "jobs call HDF5's writing functions" '\bH5(F|D|G|A|S|P)[a-z]*[A-Z]?[a-z_]*\(' jobs/*.c jobs/report/*.c
mapfile -t others < <(find jobs mpi -name '*.c' ! -path mpi/par/par.c)
none "MPI_COMM_WORLD outside par.c" '\bMPI_COMM_WORLD\b' "${others[@]}"
none "src ends the process or prints to standard output" '\b(exit|abort|printf|puts|putchar)\(' src/*.c
exit "$bad"
