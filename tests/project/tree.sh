#!/usr/bin/env bash
# tree.sh before|after FILE: none of the tests leaves anything in the source tree. CTest runs it as a fixture around every
# selection of tests: a tree that git calls clean before them is clean after them; in one that is being worked on nothing
# untracked has come, ignored files included.
set -eu
[ "$#" -eq 2 ] || { echo "tree.sh before|after FILE"; exit 2; }
cd "$(dirname "$0")/../.."
if ! git rev-parse --is-inside-work-tree > /dev/null 2>&1; then
    echo "the sources are not in a git work tree"
    [ "$1" = before ] || exit 77
    exit 0
fi
git status --porcelain --ignored --untracked-files=all -- . ':!build' > "$2.$1" # builds lie there
[ "$1" = after ] || exit 0
if [ "$(grep -cv '^!!' "$2.before")" -eq 0 ]; then pattern=.; else pattern='^[?!]'; fi
left=$(comm -13 <(sort "$2.before") <(sort "$2.after") | grep -e "$pattern") || exit 0
echo "FAILED: the tests have left these in the source tree (or somebody has edited it meanwhile):"
echo "$left"
exit 1
