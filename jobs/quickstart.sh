#!/usr/bin/env bash
# quickstart.sh [RUN_DIR]: installs what is missing (Debian), builds, and runs the study at small scale on the texts of
# data/quickstart: a model of a million parameters is trained and then fine-tuned on counter-narratives; both answer the
# evaluation texts, and every generated token is attributed to the tokens before it. Takes minutes on two cores, asks
# nothing, and may be repeated: what is done is kept.
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
stage "1 of 7" "a small model is trained on data/quickstart: variant IT" \
    mpirun -n 2 "$detoxlens" pretrain "${settings[@]}"
stage "2 of 7" "it answers the evaluation texts" \
    mpirun -n 2 "$detoxlens" generate "${settings[@]}"
stage "3 of 7" "every generated token is attributed to the tokens before it" \
    mpirun -n 2 "$detoxlens" attribute "${settings[@]}"
stage "4 of 7" "it is fine-tuned on counter-narratives: variant FT" \
    mpirun -n 2 "$detoxlens" finetune --variant FT "${settings[@]}"
stage "5 of 7" "FT answers the same texts" \
    mpirun -n 2 "$detoxlens" generate --variant FT "${settings[@]}"
stage "6 of 7" "FT's tokens are attributed" \
    mpirun -n 2 "$detoxlens" attribute --variant FT "${settings[@]}"
stage "7 of 7" "tables, figure and page compare IT and FT" \
    "$detoxlens" report "${settings[@]}"

# curve FILE COLUMN: first and last value of a named column of a CSV, blanks left out.
curve() {
    awk -F, -v name="$2" 'NR == 1 {for (i = 1; i <= NF; i++) if ($i == name) c = i; next}
        c && $c != "" {if (first == "") first = $c; last = $c} END {printf "%.3f %.3f\n", first, last}' "$1"
}
read -r loss_first loss_last < <(curve "$run/report/training_pretrain-IT.csv" loss)
read -r held_first held_last < <(curve "$run/report/training_finetune-FT.csv" eval_loss)
# dependence VARIANT: the first token has nothing but the prompt before it, and the last steps are reached by few
# completions: the second token, and the last one that at least half of the completions reach.
dependence() {
    awk -F, -v v="$1" '$1 != v {next} !all {all = $3} $2 == 1 {early = $4} $3 >= all / 2 {step = $2 + 1; mean = $4}
        END {printf "%.3f at the second generated token, %.3f at token %d\n", early, mean, step}' \
        "$run/report/prompt_dependence_by_step.csv"
}

say "Done in $((SECONDS - begun)) s: $run/run.h5"
"$detoxlens" inspect "$run" --row 0
"$detoxlens" inspect "$run" --row 0 --variant FT
cat <<EOF

training loss                 $loss_first at first, $loss_last at the end
held-out loss of fine-tuning  $held_first at first, $held_last at the end
prompt dependence of IT       $(dependence IT)
prompt dependence of FT       $(dependence FT)
                              (the share of a token's attribution that falls on the prompt, mean of all completions)
figures and token heat maps   $run/report/index.html
everything in numbers         $detoxlens inspect $run
EOF
