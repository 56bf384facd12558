#!/usr/bin/env bash
# merge: run directories that were filled at the same time become one with the bytes of a sequential run's; slices of rows too;
# again and step by step; what does not fit is refused and touches nothing; kills and a full disk leave the run as it was.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../../script.sh" "$0" "$@"
fail() { echo "FAILED: $*" >&2; exit 1; }
data=$DTX_SOURCE/data/quickstart
"$DTX_BUILD/tests/make_model" neox model "$data/corpus.txt"
"$DTX_BUILD/tests/make_model" falcon other "$data/corpus.txt"
"$DTX_BUILD/tests/make_model" roberta judge "$data/corpus.txt"
cat >cfg.json <<JSON
{"threads": 1, "model": {"path": "model"}, "data": {"prompts": "$data/texts.jsonl", "limit": 21, "dialogues": "$data/short-dialogues.csv"},
 "generate": {"max_new_tokens": 12, "batch": 4}, "lora": {"r": 2, "alpha": 4},
 "finetune": {"epochs": 1, "batch": 2, "accumulate": 1, "context": 96},
 "ppo": {"steps": 2, "batch": 4, "mini_batch": 2, "accumulate": 1, "epochs": 1, "context": 128, "save_every": 1},
 "reward": {"path": "judge#hate"}, "score": {"path": "judge", "name": "toy"}}
JSON
job() { # RUN JOB ARG...
    local run=$1 job=$2
    shift 2
    "$DETOXLENS" "$job" --config cfg.json --run "$run" --quiet "$@" >log 2>&1 || { rc=$?; cat log; fail "$job into $run: exit $rc"; }
}
answers() { # RUN V
    job "$1" generate --variant "$2"
    job "$1" score --variant "$2"
    job "$1" attribute --variant "$2"
}
merge() { # INTO RUN...
    local into=$1
    shift
    "$DETOXLENS" merge "$@" --run "$into" >merge.log 2>&1 || { rc=$?; cat merge.log; fail "merge into $into: exit $rc"; }
}
same() {
    "$DETOXLENS" verify --same "$1" "$2" >log || { cat log; fail "$1 and $2 differ"; }
}
refuse() { # CODE WORD COMMAND...
    local want=$1 word=$2 rc=0
    shift 2
    "$@" >log 2>&1 || rc=$?
    [ "$rc" = "$want" ] || { cat log; fail "exit code $rc instead of $want: $*"; }
    [ "$(grep -c 'error:' log)" = 1 ] || { cat log; fail "not one message: $*"; }
    grep -q -- "$word" log || { cat log; fail "no word on $word: $*"; }
}

# one run after the other, and the same in three run directories
job seq finetune --variant FT
job seq ppo --variant RL
for v in IT FT RL; do answers seq $v; done
answers par/IT IT
job par/FT finetune --variant FT
answers par/FT FT
rc=0 # the training of RL stops after its first step
"$DETOXLENS" ppo --variant RL --config cfg.json --run par/RL --max-hours 1e-9 >log 2>&1 || rc=$?
[ "$rc" = 75 ] || { cat log; fail "a stop ends with $rc"; }

echo "a training under way stays out, and comes when it has ended"
merge step par/RL par/IT par/FT
grep -q 'warning: merge: .*ppo-RL.safetensors' merge.log || { cat merge.log; fail "no word on RL's training"; }
h5dump -n step/run.h5 >names
! grep -q /rollouts/RL/tokens names || fail "half of RL's rollouts are there"
[ ! -e step/adapters/RL ] || fail "an adapter of a training under way is there"
job par/RL ppo --variant RL
answers par/RL RL
merge step par/RL
same seq step

echo "all at once, with adapters, logs and launches; again; with several ranks"
"$DETOXLENS" merge par/IT par/FT par/RL --run all --dry-run >plan.txt 2>log || { cat log; fail "dry run"; }
grep -q 'all/run.h5 (new)' plan.txt
[ ! -e all ] || fail "--dry-run made something"
merge all par/IT par/FT par/RL
same seq all
for v in FT RL; do diff -r par/$v/adapters/$v all/adapters/$v || fail "adapter of $v"; done
for f in FT/finetune.log IT/generate.jsonl merge.log; do [ -e all/log/$f ] || fail "the log $f is not there"; done
launches() { h5dump -n "$1/run.h5" | grep -c ' /provenance/[0-9]'; }
[ "$(launches all)" = $(($(launches par/IT) + $(launches par/FT) + $(launches par/RL) + 1)) ] || fail "launches of all"
cp all/run.h5 before.h5
merge all par/IT par/FT par/RL
grep -q 'holds all of it already' merge.log || { cat merge.log; fail "merged again"; }
cmp all/run.h5 before.h5 || fail "merging again changed the file"
"$MPIRUN" 3 "$DETOXLENS" merge par/IT par/FT par/RL --run ranks >log 2>&1 || { cat log; fail "three ranks"; }
same seq ranks
job all finetune --variant FT # trained already
job all ppo --variant RL
answers all RL
same seq all
chmod -R a-w par/IT # a run directory that must not be written
merge ro par/IT par/FT
chmod -R u+w par/IT
merge ro par/RL
same seq ro

echo "slices of rows"
job s/a generate --rows 0:9
job s/b generate --rows 7:21
merge s/half s/b
[ "$("$DETOXLENS" inspect s/half 2>/dev/null | grep -c 14)" -ge 1 ] || fail "14 rows are there"
merge s/all s/a s/b
job whole generate
same whole s/all
job s/half generate # a merged part goes on
same whole s/half
cp -r s/a s/c
job s/c generate --rows 9:12
merge s/a2 s/c s/a s/b --set model.path=model
same whole s/a2
for k in a b; do merge s/x$k s/all; done # attribution needs all completions
job s/xa attribute --rows 0:11
job s/xb attribute --rows 10:21
job s/xb score --rows 0:5
job s/xa score --rows 4:21
merge s/done s/xa s/xb
job whole attribute
job whole score
same whole s/done
for k in a b; do merge s/y$k s/done; done # what is added to rows that are scored has flags of its own
job s/ya score --keywords true --rows 0:12
job s/yb score --keywords true --rows 9:21
merge s/keys s/ya s/yb
job whole score --keywords true
same whole s/keys

echo "axes of other lengths: several samples, published completions"
/usr/bin/python3 - <<'PY'
import csv, h5py
with h5py.File("par/IT/run.h5") as f, open("published.csv", "w", newline="") as out:
    b, e = f["prompts/text_bytes"][:].tobytes(), f["prompts/text_offset"][:]
    w = csv.writer(out)
    w.writerow(["prompts", "responses"])
    for i in range(len(e) - 1):
        w.writerow(['<human>: "%s".\n<bot>: ' % b[e[i]:e[i + 1]].decode(), "A demonstrative answer " + "and more " * i])
PY
two() { job "$1" generate --set generate.samples=2 --variant "$2" --set variants.FT.adapter=par/FT/adapters/FT; }
two axes IT
two axes FT
job axes import published.csv --variant PUB
two x/IT IT
two x/FT FT
job x/PUB import published.csv --variant PUB
merge axes2 x/IT x/FT x/PUB
same axes axes2
h5dump -n axes2/run.h5 | grep -q /variants/PUB/completions/step || fail "the axes are not those that were meant"
/usr/bin/python3 - <<'PY'
try:
    import xarray
    for g in ("prompts", "variants/FT/completions", "variants/PUB/completions"):
        xarray.open_dataset("axes2/run.h5", engine="h5netcdf", group=g).load()
except ImportError:
    pass
PY

echo "what does not fit is refused, and nothing is touched"
cp all/run.h5 before.h5
find all -type f ! -name merge.log ! -name lock | sort >files
untouched() {
    cmp all/run.h5 before.h5 || fail "$1 changed the run"
    find all -type f ! -name merge.log ! -name lock | sort | diff - files || fail "$1 left files"
}
job bad/texts generate --set data.limit=20
job bad/seed generate --set seed=1
job bad/model generate --set model.path=other
job bad/settings generate --set generate.temperature=0.5
cp -r par/IT bad/values
job bad/norm generate
job bad/norm attribute --set attribute.norm=l1
cp -r par/FT bad/adapter
printf X >>bad/adapter/adapters/FT/adapter_config.json
/usr/bin/python3 - <<'PY'
import h5py, shutil, os
with h5py.File("bad/values/run.h5", "r+") as f:
    f["variants/IT/attribution/input_x_gradient/value"][3] = 7
shutil.copytree("par/IT", "bad/schema")
with h5py.File("bad/schema/run.h5", "r+") as f:
    f.attrs["schema_version"] = 99
os.makedirs("bad/cut"), os.makedirs("bad/none"), os.makedirs("bad/foreign")
open("bad/cut/run.h5", "wb").write(open("par/IT/run.h5", "rb").read()[:5000])
h5py.File("bad/foreign/run.h5", "w").create_group("variants")
PY
refuse 2 'other evaluation texts' "$DETOXLENS" merge bad/texts --run all
refuse 2 'the seed of /variants/IT' "$DETOXLENS" merge bad/seed --run all
refuse 2 'other weights' "$DETOXLENS" merge bad/model --run all
refuse 2 'generation of /variants/IT is ..."temperature":0.5' "$DETOXLENS" merge bad/settings --run all
refuse 2 'row 0 of .*value is done in both' "$DETOXLENS" merge bad/values --run all
refuse 2 'norm of .* is l1 there and l2 here' "$DETOXLENS" merge bad/norm --run all
refuse 2 'different adapters' "$DETOXLENS" merge bad/adapter --run all
refuse 2 'different adapters' "$DETOXLENS" merge par/FT bad/adapter --run new
refuse 2 'schema_version 99' "$DETOXLENS" merge bad/schema --run all
refuse 3 'bad/cut/run.h5' "$DETOXLENS" merge bad/cut --run all
refuse 3 'schema_version' "$DETOXLENS" merge bad/foreign --run all
refuse 4 'bad/none/run.h5' "$DETOXLENS" merge bad/none --run all
refuse 4 'nowhere' "$DETOXLENS" merge nowhere --run all
refuse 2 'name the others only' "$DETOXLENS" merge all --run all
refuse 2 'same run directory' "$DETOXLENS" merge par/IT par/../par/IT --run all
refuse 2 'which runs' "$DETOXLENS" merge --run all
refuse 2 'different there\|other weights' "$DETOXLENS" merge par/IT bad/model --run new
untouched "a refusal"
# two that conflict with each other alone: the first must not stay behind
[ ! -e new/run.h5 ] || [ "$(h5dump -n new/run.h5 | grep -c /variants/)" = 0 ] || fail "half a merge is there"
# a run directory in use
exec 8>par/IT/lock
/usr/bin/python3 - <<'PY' &
import fcntl, time
f = open("par/IT/lock", "r+")
fcntl.lockf(f, fcntl.LOCK_EX)
open("locked", "w").close()
time.sleep(60)
PY
holder=$!
exec 8>&-
while [ ! -e locked ]; do sleep 0.1; done
refuse 2 'in use by another job' "$DETOXLENS" merge par/IT --run all
kill "$holder"
wait "$holder" 2>/dev/null || true
untouched "a locked run"

echo "no room: exit 4, the run stays as it was, the same command goes on"
rm -rf full
merge full par/IT
cp full/run.h5 before.h5
rc=0
(
    trap '' XFSZ
    ulimit -f $(($(stat -c %s full/run.h5) / 1024 + 40))
    exec "$DETOXLENS" merge par/FT par/RL --run full >log 2>&1
) || rc=$?
[ "$rc" = 4 ] || { cat log; fail "no room: exit $rc"; }
"$DETOXLENS" verify --same full/run.h5 before.h5 >log || { cat log; fail "no room: the run has changed"; }
merge full par/FT par/RL
same seq full

echo "killed at any time"
milliseconds() { echo $(($(date +%s%N) / 1000000)); }
t=$(milliseconds)
merge timed par/IT par/FT par/RL
t=$(($(milliseconds) - t))
RANDOM=11 struck=0
for i in $(seq 12); do
    [ $((i % 4)) -ne 1 ] || rm -rf hit
    "$DETOXLENS" merge par/IT par/FT par/RL --run hit >log 2>&1 &
    pause=$((RANDOM % (t + 1)))
    sleep "$((pause / 1000)).$(printf '%03d' $((pause % 1000)))"
    kill -9 $! 2>/dev/null || true
    rc=0
    wait $! 2>/dev/null || rc=$?
    [ "$rc" -eq 0 ] || struck=$((struck + 1))
    [ ! -e hit/run.h5 ] || h5dump -H hit/run.h5 >/dev/null || fail "run.h5 cannot be read after a kill"
    if [ $((i % 4)) -eq 0 ]; then
        merge hit par/IT par/FT par/RL
        same seq hit
        for v in FT RL; do diff -r par/$v/adapters/$v hit/adapters/$v || fail "adapter of $v after a kill"; done
        [ -z "$(find hit -name '*.merge')" ] || fail "something half copied is left"
    fi
done
echo "merge: all checks passed, $struck kills"
