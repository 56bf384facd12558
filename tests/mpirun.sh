#!/usr/bin/env bash
# mpirun.sh N COMMAND...: mpirun as the tests need it: as root, more ranks than cores, waiting ranks give up the core, a
# session folder of its own so that tests can run side by side.
set -eu
n=$1
shift
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/dtx.XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_hwloc_base_binding_policy=none
rc=0
mpirun -n "$n" "$@" || rc=$?
exit "$rc"
