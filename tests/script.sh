#!/usr/bin/env bash
# script.sh SCRIPT [ARG...]: runs a test script in a fresh folder, DTX_WORK, that is removed afterwards. Exit 77 = skipped.
# CTest sets the environment; by hand the program of build/dev is tested, and a shell script starts itself through here.
set -eu
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export DTX_SOURCE=${DTX_SOURCE:-$root}
export DTX_BUILD=${DTX_BUILD:-$DTX_SOURCE/build/dev} DTX_SHARED=${DTX_SHARED:-$DTX_SOURCE/../shared}
export DETOXLENS=${DETOXLENS:-$DTX_BUILD/detoxlens}
export MPIRUN=$DTX_SOURCE/tests/mpirun.sh
export PYTHONDONTWRITEBYTECODE=1 # nothing appears beside the sources
script=$(realpath "$1")
shift
work=$(mktemp -d "${TMPDIR:-/tmp}/dtx.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
export TMPDIR=$work DTX_WORK=$work
rc=0
case $script in
*.py) /usr/bin/python3 "$script" "$@" || rc=$? ;;
*) bash "$script" "$@" || rc=$? ;;
esac
[ "$rc" -ne 77 ] || echo "SKIPPED: a precondition is absent (see above)"
exit "$rc"
