#!/usr/bin/env bash
# A mistyped --run: every job that needs what another one made ends 4, names the file, and makes neither file nor folder.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../../script.sh" "$0" "$@"
export DETOXLENS_THREADS=1
"$DTX_BUILD/tests/make_model" neox model "$DTX_SOURCE/data/quickstart/corpus.txt"
"$DTX_BUILD/tests/make_model" roberta classifier "$DTX_SOURCE/data/quickstart/corpus.txt"
mkdir empty nothere_target
bad=0

# missing WHAT COMMAND...: exit 4, one message that names a run.h5 or a run directory, and nothing new
missing() {
    local what=$1 rc=0
    shift
    find . -not -name out.txt -not -name err.txt | sort > before.txt
    "$@" > out.txt 2> err.txt || rc=$?
    find . -not -name out.txt -not -name err.txt | sort > after.txt
    [ "$rc" -eq 4 ] || { cat err.txt; echo "FAILED: $what: exit $rc, expected 4"; bad=1; }
    [ "$(grep -c 'error:' err.txt)" -eq 1 ] || { cat err.txt; echo "FAILED: $what: not one message"; bad=1; }
    grep 'error:' err.txt | grep -qE 'nosuch|empty' || { cat err.txt; echo "FAILED: $what: the message does not name the run"; bad=1; }
    cmp -s before.txt after.txt || { diff before.txt after.txt || true; echo "FAILED: $what made something"; bad=1; }
}
touch before.txt after.txt

for run in nosuch nosuch/deeper empty; do
    for ranks in 1 3; do
        [ "$ranks" -eq 1 ] || [ $run = nosuch ] || continue
        mpi=("$DETOXLENS")
        [ "$ranks" -eq 1 ] || mpi=("$DTX_SOURCE/tests/mpirun.sh" "$ranks" "$DETOXLENS")
        for dry in "" --dry-run; do
            missing "attribute $dry, $run, $ranks ranks" "${mpi[@]}" attribute --run $run --set model.path=model $dry
            missing "score $dry, $run, $ranks ranks" "${mpi[@]}" score --run $run --set score.path=classifier $dry
        done
        missing "score, service, $run" "${mpi[@]}" score --run $run --scorer service --set score.endpoint=http://localhost:9/x
        missing "score --calibrate, $run" "${mpi[@]}" score --calibrate --run $run
        missing "merge, $run, $ranks ranks" "${mpi[@]}" merge $run --run joined
        # a variant whose adapter a training would have made
        missing "generate FT, $run" "${mpi[@]}" generate --run $run --variant FT --set model.path=model \
            --set "data.prompts=$DTX_SOURCE/data/quickstart/texts.jsonl"
        for job in finetune dpo ppo; do
            missing "$job from FT, $run" "${mpi[@]}" $job --run $run --variant X --set $job.init=FT --set model.path=model \
                --set reward.path=classifier --set "data.dialogues=$DTX_SOURCE/data/quickstart/dialogues.csv"
        done
    done
    missing "report, $run" "$DETOXLENS" report --run $run
    missing "export --csv, $run" "$DETOXLENS" export --csv nothere_target --run $run
    missing "export --inseq, $run" "$DETOXLENS" export --inseq nothere.json --run $run --set model.path=model
    missing "export --merged, $run" "$DETOXLENS" export nothere --merged --run $run --variant FT --set model.path=model
    missing "inspect, $run" "$DETOXLENS" inspect $run
    missing "inspect --row, $run" "$DETOXLENS" inspect $run --row 0
    missing "verify --same, $run" "$DETOXLENS" verify --same $run $run
    missing "verify, $run" "$DETOXLENS" verify $run/run.h5 --set model.path=model
done
exit $bad
