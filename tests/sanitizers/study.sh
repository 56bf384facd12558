#!/usr/bin/env bash
# study.sh address|thread: a short study, every job of it, on two ranks with two threads each, by a program built with sanitizers:
# address, leaks and undefined behaviour (gcc, preset asan); data races (clang, preset tsan: its OpenMP run-time tells Archer,
# and so the sanitizer, of every synchronisation; GCC's does not, and gives false alarms). A report ends the process with code 86.
# The program is built here, below the build folder of the tests; again, only what has changed is.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../script.sh" "$0" "$@"
fail() { echo "FAILED: $*" >&2; exit 1; }
here=$DTX_SOURCE/tests/sanitizers
case $1 in
address) preset=asan faults='heap undefined leak' ;;
thread)
    preset=tsan faults='threads openmp ordered'
    command -v clang >/dev/null || { echo "clang is not installed"; exit 77; }
    archer=$(dirname "$(readlink -f "$(command -v clang)")")/../lib/libarcher.so
    [ -e "$archer" ] || { echo "libomp's Archer (libarcher.so) is not installed"; exit 77; }
    export OMP_TOOL_LIBRARIES=$archer
    ;;
*) fail "study.sh address|thread" ;;
esac
build=$DTX_BUILD/$preset
(cd "$DTX_SOURCE" && cmake --preset $preset -B "$build" && cmake --build "$build" --target detoxlens sanitizer_control) >build.log 2>&1 ||
    { tail -n 40 build.log; ! grep -q 'is not able to compile a simple test program' build.log || exit 77; fail "it does not build"; }
detoxlens=$build/detoxlens

common="exitcode=86:log_path=$PWD/report"
# Whole stacks: those through libraries without frame pointers end otherwise before they reach what a suppression names.
export ASAN_OPTIONS=$common:fast_unwind_on_malloc=0:malloc_context_size=60:strict_string_checks=1:intercept_tls_get_addr=0
export UBSAN_OPTIONS=print_stacktrace=1
export LSAN_OPTIONS=suppressions=$here/leaks.txt:print_suppressions=0
export TSAN_OPTIONS=$common:suppressions=$here/races.txt:ignore_noninstrumented_modules=1:history_size=5
data=$DTX_SOURCE/data/quickstart
cat >cfg.json <<JSON
{"threads": 2, "model": {"path": "model"}, "lora": {"r": 2, "alpha": 4}, "round_seconds": 0.05,
 "data": {"text": ["$data/chat.txt"], "prompts": "$data/texts.jsonl", "limit": 6, "dialogues": "talk.csv"},
 "pretrain": {"layers": 2, "hidden": 32, "heads": 2, "vocab": 400, "context": 96, "batch": 4, "steps": 4, "eval_every": 2, "save_every": 2},
 "generate": {"max_new_tokens": 6, "batch": 2, "samples": 2}, "attribute": {"check": 1},
 "finetune": {"epochs": 1, "batch": 2, "accumulate": 1, "context": 96, "save_every": 4},
 "dpo": {"epochs": 1, "batch": 2, "min_toxicity": 0.01, "save_every": 4},
 "ppo": {"steps": 2, "batch": 4, "mini_batch": 2, "accumulate": 1, "epochs": 1, "context": 96, "save_every": 1},
 "reward": {"path": "judge"}, "score": {"path": "judge", "name": "toy", "attributes": ["CN"]}}
JSON
head -n 25 "$data/short-dialogues.csv" >talk.csv
reports() { # WHAT: ends the test when a sanitizer has reported something
    local found
    found=$(find . -name 'report.*' -size +0 | head -n 3)
    [ -z "$found" ] || { echo "$found" | xargs head -n 60; fail "$1: the sanitizer's report is above"; }
}
run() { # RANKS JOB ARG...
    local n=$1 rc try
    shift
    for try in 1 2 3 4; do
        rc=0
        timeout 300 "$MPIRUN" "$n" "$detoxlens" "$@" --config cfg.json >log 2>&1 || rc=$?
        # The search for leaks at a process's end, not the process, sometimes fails on thread-local memory of libraries that are
        # unloaded: then it has found nothing and the command, which is complete, is given again.
        grep -qs 'LeakSanitizer has encountered a fatal error' report.* || break
        ! grep -qE 'AddressSanitizer|runtime error|leak of' report.* || break
        rm -f report.*
    done
    reports "$*"
    ! grep -q 'runtime error:' log || { cat log; fail "$*"; }
    [ "$rc" -eq 0 ] || { tail -n 60 log; fail "$*: exit $rc"; }
    echo "$SECONDS s  $*$([ "$try" = 1 ] || echo " ($try times)")"
}

# what is watched is reported
for fault in $faults; do
    rc=0
    OMP_NUM_THREADS=2 "$build/tests/sanitizer_control" "$fault" >log 2>&1 || rc=$?
    if [ "$fault" = ordered ]; then
        reports "no race"
        [ "$rc" -eq 0 ] || { cat log; fail "no race: exit $rc"; }
    else
        { [ "$rc" -ne 0 ] && grep -qE 'Sanitizer|runtime error' log report.*; } || { cat log; fail "$fault, made on purpose, is not reported"; }
        rm -f report.*
    fi
done
run 2 pretrain --run base
run 2 pretrain --task classifier --label type --group dialogue_id --run judged --set model.path=judge \
    --set "data.text=[\"$data/dialogues.csv:text\"]" --layers 1 --context 64 --holdout 0.2
run 2 finetune --run out/FT --variant FT
run 2 ppo --run out/RL --variant RL
run 2 dpo --run out/DPO --variant DPO
for variant in IT FT RL; do
    run 2 generate --run out/$variant --variant $variant
    run 2 score --run out/$variant --variant $variant --keywords true
    run 2 attribute --run out/$variant --variant $variant
done
run 1 merge out/IT out/FT out/RL out/DPO --run out
run 2 attribute --run out --variant FT --completions-of IT
run 1 report --run out
run 1 export --merged --variant FT --run out merged
run 1 export --csv --run out tables
run 1 export --inseq --variant FT --run out ft.json
run 1 inspect model
run 1 inspect out --row 1
run 1 verify out --rows 0:1
run 2 generate --run merged-run --set model.path=merged
