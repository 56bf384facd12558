#!/usr/bin/env bash
# quickstart.sh [RUN_DIR]: installs what is missing (Debian), builds, and runs the study at small scale on the texts of
# data/quickstart: a model of a million parameters is trained (IT), fine-tuned on counter-narratives (FT), and rewarded by a
# small classifier (RL); all three answer the evaluation texts, the classifier scores the answers, and every generated token
# is attributed to the tokens before it. Takes minutes on two cores, asks nothing, and may be repeated: what is done is kept.
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
settings=(--config data/configs/tiny.json --run "$run" --set "model.path=$run/model"
    --set "reward.path=$run/judge" --set "score.path=$run/judge")

stage() {
    say "$1: $2"
    shift 2
    printf '   %s\n' "$*"
    "$@"
}

begun=$SECONDS
stage "1 of 12" "a small model is trained on data/quickstart: variant IT" \
    mpirun -n 2 "$detoxlens" pretrain "${settings[@]}"
stage "2 of 12" "a small classifier learns to tell rude from friendly: the judge" \
    mpirun -n 2 "$detoxlens" pretrain --config data/configs/tiny-judge.json --run "$run" --variant judge \
    --set "model.path=$run/judge"
stage "3 of 12" "IT is fine-tuned on counter-narratives: variant FT" \
    mpirun -n 2 "$detoxlens" finetune --variant FT "${settings[@]}"
stage "4 of 12" "IT is rewarded for what the judge finds friendly: variant RL" \
    mpirun -n 2 "$detoxlens" ppo --variant RL "${settings[@]}"
n=5
for variant in IT FT RL; do
    stage "$n of 12" "$variant answers the evaluation texts" \
        mpirun -n 2 "$detoxlens" generate --variant "$variant" "${settings[@]}"
    n=$((n + 1))
done
stage "8 of 12" "the judge scores all answers" \
    mpirun -n 2 "$detoxlens" score --variant IT "${settings[@]}"
for variant in FT RL; do
    mpirun -n 2 "$detoxlens" score --variant "$variant" "${settings[@]}"
done
for variant in IT FT RL; do
    n=$((n + 1))
    stage "$n of 12" "every token of $variant is attributed to the tokens before it" \
        mpirun -n 2 "$detoxlens" attribute --variant "$variant" "${settings[@]}"
done
stage "12 of 12" "tables, figures and page compare IT, FT and RL" \
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

read -r reward_first reward_last < <(curve "$run/report/training_ppo-RL.csv" env/reward_mean)
# toxic VARIANT: share of its answers that the judge finds rude.
toxic() {
    awk -F, -v v="$1" 'NR == 1 {for (i = 1; i <= NF; i++) if ($i == "share_all") c = i; next} $1 == "all" && $2 == v {print $c; exit}' \
        "$run/report/table1.csv"
}

say "Done in $((SECONDS - begun)) s: $run/run.h5"
"$detoxlens" inspect "$run" --row 0
"$detoxlens" inspect "$run" --row 0 --variant FT
"$detoxlens" inspect "$run" --row 0 --variant RL
cat <<EOF

training loss                 $loss_first at first, $loss_last at the end
held-out loss of fine-tuning  $held_first at first, $held_last at the end
reward of the rollouts        $reward_first at first, $reward_last at the end
share of rude answers         IT $(toxic IT), FT $(toxic FT), RL $(toxic RL)
prompt dependence of IT       $(dependence IT)
prompt dependence of FT       $(dependence FT)
prompt dependence of RL       $(dependence RL)
                              (the share of a token's attribution that falls on the prompt, mean of all completions)
figures and token heat maps   $run/report/index.html
everything in numbers         $detoxlens inspect $run
EOF
