#!/usr/bin/env bash
# quickstart.sh [RUN_DIR]: installs what is missing (Debian), builds, and runs the study at small scale on the texts of
# data/quickstart: a model of a million parameters is trained, answers the evaluation texts, and every generated token is
# attributed to the tokens before it. Takes minutes on two cores, asks nothing, and may be repeated: what is done is kept.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
run=$(realpath -m "${1:-$root/quickstart-run}")
# shellcheck source=jobs/setup.sh
. "$root/jobs/setup.sh"
cd "$root"

install_packages jobs/packages.txt

say "Build: build/release"
cmake --preset release -DBUILD_TESTING=OFF | tail -n 3
cmake --build --preset release --target detoxlens
detoxlens=$root/build/release/detoxlens
setup_mpi
settings=(--config data/configs/tiny.json --run "$run" --set "model.path=$run/model")

stage() {
    say "$1: $2"
    shift 2
    printf '   %s\n' "$*"
    "$@"
}

begun=$SECONDS
stage "1 of 4" "a small model is trained on data/quickstart/*.txt" \
    mpirun -n 2 "$detoxlens" pretrain "${settings[@]}"
stage "2 of 4" "it answers the evaluation texts" \
    mpirun -n 2 "$detoxlens" generate "${settings[@]}"
stage "3 of 4" "every generated token is attributed to the tokens before it" \
    mpirun -n 2 "$detoxlens" attribute "${settings[@]}"
stage "4 of 4" "tables, figure and page" \
    "$detoxlens" report "${settings[@]}"

say "Done in $((SECONDS - begun)) s"
