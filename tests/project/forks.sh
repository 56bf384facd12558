#!/usr/bin/env bash
# No process that uses MPI starts another: the calls that could stand in these files alone, for the reason given.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../script.sh" "$0" "$@"
cd "$DTX_SOURCE"
allowed='
src/base/helper.c        its fork comes before MPI (dtx_par_init), the others are those of the helper, which has no MPI
jobs/program/launch.c    exec of mpirun, in place of this process and before MPI
jobs/program/limits.c    exec of this program, before the libraries begin
'
bad=0
while IFS=: read -r file line text; do
    grep -q "^$file " <<< "$allowed" || { echo "FAILED: $file:$line starts a process: $text"; bad=1; }
done < <(grep -rnE '\b(fork|vfork|clone3?|popen|system|posix_spawnp?|exec[lv][vpe]*)\(' src mpi jobs --include='*.c' --include='*.h')
while read -r file _; do
    [ -z "$file" ] || grep -qE '\b(fork|exec[lv][vpe]*)\(' "$file" || { echo "FAILED: $file starts nothing any more"; bad=1; }
done <<< "$allowed"
grep -n 'dtx_helper_start()\|dtx_helper_no_more()\|MPI_Init_thread(' mpi/par/par.c | sed 's/:.*dtx_helper_start.*/ start/;s/:.*no_more.*/ no_more/;s/:.*MPI_Init.*/ init/' |
    sort -n | awk '{print $2}' | tr '\n' ' ' | grep -qx 'start no_more init ' || { echo "FAILED: the helper is not started before MPI"; bad=1; }
exit "$bad"
