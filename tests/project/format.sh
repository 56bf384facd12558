#!/usr/bin/env bash
# format.sh [--write]: C sources are as clang-format makes them by .clang-format, but for those of format-later.txt, which were
# written before it was checked; that list only becomes shorter. --write formats every source that is not as it should be, and empties
# the list.
set -u
sources() { find src mpi jobs tests -name '*.[ch]' | sort; }
later=tests/project/format-later.txt
if [ "${1-}" = --write ]; then
    cd "$(dirname "$0")/../.." || exit 1
    sources | xargs clang-format -i --style=file
    : >$later
    exit
fi
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../script.sh" "$0" "$@"
cd "$DTX_SOURCE" || exit 1
command -v clang-format >/dev/null || { echo "clang-format is not installed"; exit 77; }
# shellcheck disable=SC2016
other=$(sources | xargs -n 16 -P "$(nproc)" bash -c 'for f; do clang-format --style=file "$f" | cmp -s - "$f" || echo "$f"; done' formatted | sort)
wrong=$(comm -23 <(echo "$other" | grep .) <(sort $later))
[ -z "$wrong" ] || { echo "FAILED: run clang-format -i on"; echo "$wrong"; exit 1; }
ready=$(comm -13 <(echo "$other" | grep .) <(sort $later))
[ -z "$ready" ] || { echo "these need no place in $later any more:"; echo "$ready"; }
