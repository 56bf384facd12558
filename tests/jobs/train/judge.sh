#!/usr/bin/env bash
# Study: a small RoBERTa classifier on DIALOCONAN's hateful turns against its counter-narratives, whole dialogues held out,
# from three seeds, each with a split of its own.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../../script.sh" "$0" "$@"
fail() { echo "FAILED: $*" >&2; exit 1; }
real=$DTX_SHARED/data/dialoconan/DIALOCONAN.csv
[ -e "$real" ] || { echo "skipped: $real is not there"; exit 77; }
sum=0
for seed in 1 2 3; do
    "$MPIRUN" 2 "$DETOXLENS" pretrain --config "$DTX_SOURCE/data/configs/judge-dialoconan.json" --run "run$seed" --set threads=1 \
        --set "seed=$seed" --set "model.path=judge$seed" --set "data.text=[\"$real:text\"]" >log 2>&1 || { cat log; fail "seed $seed"; }
    accuracy=$(sed -n 's/.*held-out accuracy \([0-9.]*\).*/\1/p' log | tail -n 1)
    echo "seed $seed: held-out accuracy $accuracy"
    sum=$(awk "BEGIN { print $sum + $accuracy }")
done
awk "BEGIN { exit !($sum / 3 >= 0.96) }" || fail "mean held-out accuracy $(awk "BEGIN { print $sum / 3 }")"
