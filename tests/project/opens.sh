#!/usr/bin/env bash
# Files are opened in src/base/file.c, which never waits for a pipe and never follows a planted link. Elsewhere: what the system
# itself provides (/proc, /dev), the driver of HDF5 and what is opened beside it, and Open MPI's session folder.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../script.sh" "$0" "$@"
grep -rnE '(^|[^A-Za-z0-9_.>])(open|openat|creat|fopen|freopen|mkstemp|tmpfile|tempnam)\(' "$DTX_SOURCE"/src "$DTX_SOURCE"/mpi "$DTX_SOURCE"/jobs --include='*.c' --include='*.h' |
    sed "s:^$DTX_SOURCE/::" |
    grep -vE '^(src/base/file\.c|mpi/h5/(disk|edit)\.c|mpi/par/session\.c):|"/(proc|dev)/' >found || true
grep -vE '^mpi/run/run\.c:[0-9]+: +run->fd = open\(run->path, O_WRONLY' found >others || true
[ ! -s others ] || { echo "opened elsewhere than in src/base/file.c:"; cat others; exit 1; }
