#!/usr/bin/env bash
# script.sh SCRIPT [ARG...]: runs a test script in a fresh folder that is removed afterwards. Exit 77 = skipped.
set -eu
work=$(mktemp -d "${TMPDIR:-/tmp}/dtx.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
export TMPDIR=$work
export MPIRUN="$DTX_SOURCE/tests/mpirun.sh"
script=$1
shift
rc=0
case $script in
*.py) /usr/bin/python3 "$script" "$@" || rc=$? ;;
*) bash "$script" "$@" || rc=$? ;;
esac
[ "$rc" -ne 77 ] || echo "SKIPPED: a precondition is absent (see above)"
exit "$rc"
