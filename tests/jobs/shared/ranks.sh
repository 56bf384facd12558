#!/usr/bin/env bash
# generate and attribute give the same bytes on any number of ranks and threads, with any batch, round and budget, in
# slices, and with more ranks than rows; another model, seed or setting is refused.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../../script.sh" "$0" "$@"
texts=$DTX_SOURCE/data/quickstart/texts.jsonl
make_model=$DTX_BUILD/tests/make_model
"$make_model" neox model "$DTX_SOURCE/data/quickstart/corpus.txt"

# stage N RUN JOB ARG...
stage() {
    n=$1 run=$2 job=$3
    shift 3
    "$MPIRUN" "$n" "$DETOXLENS" "$job" --run "$run" --set model.path=model --set generate.max_new_tokens=14 --quiet "$@"
}
both() {
    n=$1 run=$2
    shift 2
    stage "$n" "$run" generate --set "data.prompts=$texts" --set data.limit=21 "$@"
    stage "$n" "$run" attribute --set attribute.check=3 --set attribute.steps=5 "$@"
}
same() {
    "$DETOXLENS" verify --same "$1" "$2" > same.txt || { cat same.txt; echo "$1 and $2 differ"; exit 1; }
}
# code EXPECTED WHAT COMMAND...: the exit code, and one message on standard error
code() {
    want=$1 what=$2 rc=0
    shift 2
    "$@" > out.txt 2> err.txt || rc=$?
    [ "$rc" -eq "$want" ] || { cat err.txt; echo "$what: exit $rc, expected $want"; exit 1; }
    [ "$(grep -c 'error:' err.txt)" -eq 1 ] || { cat err.txt; echo "$what: not one message"; exit 1; }
}

both 1 one --set threads=2
both 2 two --set threads=1 --set generate.batch=4 --set round_seconds=0.02
both 3 three --set threads=2 --set attribute.memory_mb=1
both 5 five --set generate.batch=2 --set round_seconds=0.02
for run in two three five; do same one $run; done
both 1 single1 --set threads=2 --set generate.batch=1 # a kernel of its own: other last bits, but the same everywhere
both 5 single5 --set generate.batch=1 --set round_seconds=0.02
same single1 single5

echo "slices, out of order"
stage 2 slices generate --set "data.prompts=$texts" --set data.limit=21 --rows 15:21
stage 3 slices generate --set "data.prompts=$texts" --set data.limit=21 --rows 0:15
stage 1 slices attribute --set attribute.check=3 --set attribute.steps=5 --rows 7:9
stage 2 slices attribute --set attribute.check=3 --set attribute.steps=5 --rows 0:100
same one slices
stage 2 slices generate --set "data.prompts=$texts" --set data.limit=21 # nothing left to do
same one slices

echo "more ranks than rows, several samples, other families"
for n in 1 5; do
    stage $n few$n generate --set "data.prompts=$texts" --set data.limit=1 --set generate.samples=2
    stage $n few$n attribute --set attribute.method=integrated_gradients --set attribute.steps=3 --set attribute.eos=keep \
        --set attribute.merge=inseq
    stage $n few$n attribute --set attribute.method=saliency --set attribute.template_tokens=false --set attribute.merge=none
done
same few1 few5
for kind in neox-seq falcon falcon-rw; do
    "$make_model" $kind $kind "$DTX_SOURCE/data/quickstart/corpus.txt"
    for n in 1 2; do
        stage $n $kind.$n generate --set "model.path=$kind" --set "data.prompts=$texts" --set data.limit=5
        stage $n $kind.$n attribute --set "model.path=$kind"
    done
    same $kind.1 $kind.2
done

echo "what does not fit is refused, and nothing is touched"
cp one/run.h5 before.h5
code 2 "another seed" stage 2 one generate --set "data.prompts=$texts" --set data.limit=21 --set seed=1
grep -q 'generation.seed is 42 there and 1 now' err.txt
code 2 "another precision" stage 1 one generate --set "data.prompts=$texts" --set data.limit=21 --set compute.precision=bf16
grep -Eq 'generation.precision is "f32" there and "bf16" now|compute.precision = bf16' err.txt # the second: not on this processor
code 2 "other texts" stage 1 one generate --set "data.prompts=$texts" --set data.limit=20
code 2 "another model" stage 3 one generate --set "data.prompts=$texts" --set data.limit=21 --set model.path=falcon
cp -r model flipped # equal tensors in another residual order
sed -i 's/"use_parallel_residual":[[:space:]]*true/"use_parallel_residual": false/' flipped/config.json
if cmp -s model/config.json flipped/config.json; then echo "config.json was not changed"; exit 1; fi
code 2 "another residual order" stage 1 one generate --set "data.prompts=$texts" --set data.limit=21 --set model.path=flipped
grep -q 'weights_fingerprint is' err.txt
code 2 "another model's attribution" stage 2 one attribute --set model.path=falcon
code 2 "another setting" stage 2 one attribute --set attribute.norm=l1
grep -q 'norm is l2 there and l1 now' err.txt
code 2 "a token that is none" stage 1 one attribute --set attribute.method=integrated_gradients --set attribute.baseline=nosuchtoken
code 4 "no completions" stage 2 empty attribute
stage 2 part generate --set "data.prompts=$texts" --set data.limit=21 --rows 0:3
code 4 "incomplete completions" stage 2 part attribute
code 4 "a variant without adapter" stage 2 one generate --variant FT --set "data.prompts=$texts"
code 3 "a context that is too short" stage 2 long generate --set "data.prompts=$texts" --set generate.max_new_tokens=480
cp -r model broken # the last weight becomes NaN
printf '\000\000\300\177' | dd of=broken/model.safetensors bs=1 conv=notrunc status=none \
    seek=$(($(stat -c %s broken/model.safetensors) - 4))
code 5 "a model that is not finite" stage 2 nan generate --set model.path=broken --set "data.prompts=$texts" --set data.limit=3
grep -q 'row [0-2], sample 0, generated token 0: ' err.txt
cmp one/run.h5 before.h5

echo "a variant with an adapter, and its view of another's completions"
for n in 1 3; do
    run=variant$n
    stage $n $run generate --set "data.prompts=$texts" --set data.limit=4
    stage $n $run generate --set "data.prompts=$texts" --set data.limit=4 --variant FT --set variants.FT.adapter=model/adapter \
        --set generate.batch=$((2 * n)) --set threads=$((4 / n))
    stage $n $run attribute --variant FT --set variants.FT.adapter=model/adapter
    stage $n $run attribute --variant FT --set variants.FT.adapter=model/adapter --completions-of IT
done
same variant1 variant3
h5dump -n variant1/run.h5 | grep -q '/variants/FT/attribution/input_x_gradient@IT/value'
code 2 "another adapter" stage 1 variant1 attribute --variant FT --set variants.FT.adapter=neox-seq/adapter
stage 2 variant1 generate --set "data.prompts=$texts" --set data.limit=4 --redo 2> redo.txt
grep -q 'discarding /variants/FT/attribution/input_x_gradient@IT' redo.txt
h5dump -n variant1/run.h5 > names.txt
grep -q '/variants/FT/attribution/input_x_gradient/value' names.txt # its own stays
! grep -q '@IT' names.txt

echo "--redo, --dry-run"
stage 2 one generate --set "data.prompts=$texts" --set data.limit=21 --set seed=1 --redo 2> redo.txt
stage 1 seed1 generate --set "data.prompts=$texts" --set data.limit=21 --set seed=1
grep -q 'discarding /variants/IT/attribution/input_x_gradient' redo.txt
same one seed1
stage 2 one attribute --set attribute.norm=l1
stage 2 one attribute --set attribute.norm=sum --redo
stage 1 seed1 attribute --set attribute.norm=sum
same one seed1
cp one/run.h5 before.h5
stage 2 none generate --set "data.prompts=$texts" --dry-run > plan.txt
grep -q 'rows  *125 ' plan.txt
[ ! -e none ]
stage 2 one attribute --dry-run --set attribute.norm=sum > plan.txt
grep -q 'rows  *21, to do: 21' plan.txt
cmp one/run.h5 before.h5
