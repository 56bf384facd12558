#!/usr/bin/env bash
# The program's command line: help of every job, the README and the manual page know every job, errors, precedence.
set -u
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../../script.sh" "$0" "$@"
d=$DETOXLENS
bad=0
failed() {
    echo "FAILED: $*"
    bad=1
}

jobs=$("$d" --help | sed -n '/^Jobs/,/^$/p' | awk 'NR > 1 && NF {print $1}')
[ "$(wc -w <<<"$jobs")" -ge 1 ] || failed "no jobs in the help"
for job in $jobs; do
    help=$("$d" "$job" --help) || failed "$job --help ended with $?"
    grep -q "^Usage: .*detoxlens $job" <<<"$help" || failed "$job --help has no usage"
    grep -qi "detoxlens $job " <<<"$(tail -n +4 <<<"$help")" || failed "$job --help has no example"
    [ "$help" = "$("$d" help "$job")" ] || failed "help $job differs from $job --help"
    grep -q "^| \`$job\` |" "$DTX_SOURCE/README.md" || failed "README.md does not know $job"
    grep -q "^\.B $job\$" "$DTX_SOURCE/jobs/detoxlens.1.in" || failed "the manual page does not know $job"
    if awk 'length > 120 {exit 1}' <<<"$help"; then :; else failed "$job --help has a line above 120 columns"; fi

    # Bad words on the command line: exit 2 and one message, alone and on two ranks.
    for arguments in "--no-such-option" "--set no.such.key=1" "--set seed=x" "--config"; do
        for run in "" "$MPIRUN 2"; do
            [ -z "$run" ] || { [ "$arguments" = "--set seed=x" ] && grep -q "^Usage: \[mpirun" <<<"$help"; } || continue
            # shellcheck disable=SC2086
            out=$($run "$d" "$job" $arguments 2>&1 </dev/null)
            rc=$?
            [ "$rc" -eq 2 ] || failed "$run $job $arguments ended with $rc: $out"
            [ "$(grep -c 'error: ' <<<"$out")" -eq 1 ] || failed "$run $job $arguments: not one message: $out"
        done
    done
done
while IFS= read -r row; do
    case $row in
    src | mpi | jobs | slurm | packaging | data | docs | tests) ;;
    *) grep -qw "$row" <<<"$jobs" || failed "README.md lists the job $row, the program does not" ;;
    esac
done < <(sed -n 's/^| `\([a-z]*\)` |.*/\1/p' "$DTX_SOURCE/README.md")
version=$("$d" --version)
[[ $version =~ ^detoxlens\ [0-9]+\.[0-9]+\.[0-9]+\ \([0-9a-z-]+\)$ ]] || failed "--version says $version"
grep -q "^version: ${version:10:5}$" "$DTX_SOURCE/CITATION.cff" || failed "CITATION.cff names another version than $version"
grep -q "\"version\": \"${version:10:5}\"" "$DTX_SOURCE/codemeta.json" || failed "codemeta.json names another version than $version"
exit "$bad"
