#!/usr/bin/env bash
# All of src, linked alone into one program, needs neither MPI nor HDF5: by the symbols of its objects and by the libraries
# that the program loads. The same questions to the mpi layer must find them, or this test would prove nothing.
set -u
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../script.sh" "$0" "$@"
core=$DTX_BUILD/tests/core_only
rc=0
refuse() {
    echo "FAILED: $1"
    rc=1
}

symbols='[[:space:]]U (O?MPI_|ompi_|H5[A-Z])'
nm -u "$DTX_BUILD/libdtx_core.a" | grep -E "$symbols" && refuse "objects of src use MPI or HDF5"
nm -u "$DTX_BUILD/libdtx_par.a" | grep -qE "$symbols" || refuse "the search finds no MPI in the objects of mpi either"

libraries='lib(mpi|open-rte|open-pal|hdf5)[._-]'
ldd "$core" | grep -E "$libraries" && refuse "a program of src alone loads MPI or HDF5"
for library in libmpi libhdf5; do
    ldd "$DTX_BUILD/tests/run_tool" | grep -qE "${library}[._-]" || refuse "a program of mpi does not load $library either"
done
"$core" > /dev/null || refuse "a program of src alone does not run"
exit $rc
