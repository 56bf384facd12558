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

# curve FILE COLUMN: first and last value of a named column of a CSV, blanks left out.
curve() {
    awk -F, -v name="$2" 'NR == 1 {for (i = 1; i <= NF; i++) if ($i == name) c = i; next}
        c && $c != "" {if (first == "") first = $c; last = $c} END {printf "%.3f %.3f\n", first, last}' "$1"
}
read -r loss_first loss_last < <(curve "$run/report/training_pretrain-IT.csv" loss)
# The first token has nothing but the prompt before it, and the last steps are reached by few completions: shown are the
# second token and the last one that at least half of the completions reach.
read -r dependence_early late_step dependence_late < <(awk -F, 'NR == 2 {all = $3} NR == 3 {early = $4}
    NR > 1 && $3 >= all / 2 {step = $2 + 1; mean = $4}
    END {printf "%.3f %d %.3f\n", early, step, mean}' "$run/report/prompt_dependence_by_step.csv")

say "Done in $((SECONDS - begun)) s: $run/run.h5"
"$detoxlens" inspect "$run" --row 0
cat <<EOF

training loss                 $loss_first at first, $loss_last at the end
prompt dependence             $dependence_early at the second generated token, $dependence_late at token $late_step
                              (the share of a token's attribution that falls on the prompt, mean of all completions)
figures and token heat maps   $run/report/index.html
everything in numbers         $detoxlens inspect $run
EOF
