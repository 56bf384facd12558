# shellcheck shell=bash
# lib.sh - sourced by the tests on a real Slurm: a private one (cluster.sh), a tiny study, and ways to disturb its jobs.

fail() { echo "FAILED: $*" >&2; exit 1; }
slurm=$DTX_SOURCE/slurm

# cluster NODES: starts it and sets `cluster`, its folder; it ends with the test
cluster() {
    local rc=0
    cluster=$(mktemp -d /tmp/dtx.XXXXXX) # a short name: sockets stand below
    trap '"$DTX_SOURCE/tests/slurm/cluster.sh" stop "$cluster"; rm -rf "$cluster"' EXIT
    # shellcheck disable=SC2016
    (setsid bash -c 'while kill -0 "$1"; do sleep 2; done; [ ! -e "$3" ] || { "$2" stop "$3"; rm -rf "$3"; }' cluster-guard \
        "$$" "$DTX_SOURCE/tests/slurm/cluster.sh" "$cluster" </dev/null >/dev/null 2>&1 &) # for a test that was killed
    "$DTX_SOURCE/tests/slurm/cluster.sh" start "$cluster" "$1" 8 || rc=$?
    [ "$rc" = 0 ] || exit "$rc"
    # shellcheck disable=SC1091
    . "$cluster/env.sh"
    export TMPDIR=$cluster # a session folder of Open MPI stands there
}
# site FILE LAUNCHER NODES TIME: a site.conf for it
site() {
    sed -e "s|^PROGRAM=.*|PROGRAM=$DETOXLENS|" -e "s|^LAUNCHER=.*|LAUNCHER=$2|" -e "s|^SIGNAL_SECONDS=.*|SIGNAL_SECONDS=30|" \
        -e "s|^MPIRUN_OPTIONS=.*|MPIRUN_OPTIONS='--map-by ppr:1:node'|" -e "s|^default .*|default $3 1 1 $4|" \
        -e "s|^score-service .*|score-service 1 1 1 $4 --partition=net|" "$slurm/site.conf" >"$1"
}
# base_models TRAINING_STEPS: the study's configuration cfg.json, a model, a judge
base_models() {
    local data=$DTX_SOURCE/data/quickstart
    cat >cfg.json <<JSON
{"threads": 1, "model": {"path": "model"},
 "data": {"text": ["$data/chat.txt"], "dialogues": "$data/short-dialogues.csv", "prompts": "$data/texts.jsonl", "limit": 12},
 "pretrain": {"layers": 2, "hidden": 48, "heads": 4, "vocab": 600, "context": 96, "steps": 40, "batch": 12, "eval_every": 150},
 "generate": {"max_new_tokens": 16, "batch": 4}, "lora": {"r": 4, "alpha": 8},
 "finetune": {"epochs": 10, "batch": 4, "accumulate": 2, "lr": 0.001, "warmup_steps": 2, "context": 96, "eval_every": 50, "save_every": 20},
 "ppo": {"steps": $1, "batch": 8, "mini_batch": 4, "accumulate": 2, "epochs": 2, "lr": 0.00001, "context": 96, "save_every": 10},
 "reward": {"path": "judge"}, "score": {"path": "judge", "name": "hate", "attributes": ["CN"]}}
JSON
    job pretrain --run base >log 2>&1 || { cat log; fail "the base model"; }
    job pretrain --task classifier --label type --group dialogue_id --run jrun --set model.path=judge \
        --set "data.text=[\"$data/dialogues.csv:text\"]" --layers 1 --hidden 32 --heads 2 --vocab 500 --context 64 --steps 40 \
        --batch 16 --holdout 0.2 >log 2>&1 || { cat log; fail "the judge"; }
}
job() { timeout 300 "$MPIRUN" 2 "$DETOXLENS" "$@" --config cfg.json; }
# plain_study RUN: the same study without Slurm, one job after the other in one run directory
plain_study() {
    local variant stage training=''
    for variant in IT FT RL; do
        case $variant in FT) training=finetune ;; RL) training=ppo ;; esac
        for stage in $training generate score attribute; do
            job "$stage" --variant "$variant" --run "$1" >log 2>&1 || { cat log; fail "mpirun: $stage $variant"; }
        done
    done
}

# until_true SECONDS WHAT COMMAND...: waits for a condition; a machine under load may be slow
until_true() {
    local left=$(($1 * 5))
    until "${@:3}"; do
        [ "$((left -= 1))" -gt 0 ] || { squeue; tail -n 5 ./*/slurm/*.log "$cluster"/log/*.log; fail "no $2 within $1 s"; }
        sleep 0.2
    done
}
queue_empty() { [ -z "$(squeue -h -o %i)" ]; }
id_of() { squeue -h -n "$1" -o %A; }
# under_way NAME LOG N: the job's ranks are at work in its n-th launch
under_way() {
    [ "$(squeue -h -n "$1" -t R -o %T)" = RUNNING ] && sed "0,/launch $3,/d" "$2" 2>/dev/null | grep -qE '(ppo|finetune): ([0-9]+ prompts|[0-9]+ samples|[0-9]+/)'
}
# ranks_on NODE: process ids
ranks_on() {
    grep -lsFzx "SLURM_CONF=$SLURM_CONF" /proc/[0-9]*/environ | xargs -r grep -lsFzx "SLURMD_NODENAME=$1" | cut -d/ -f3 |
        while read -r p; do [ "$(cat "/proc/$p/comm" 2>/dev/null)" != detoxlens ] || echo "$p"; done
}
# ended NAME STATE: how often a job of that name ended so, by the record of the cluster
ended() { grep -c "Name=$1 JobState=$2" "$cluster/log/jobs.log" || true; }
same_study() { # RUN PLAIN
    local v
    "$DETOXLENS" verify --same "$1/run.h5" "$2/run.h5" >log || { cat log; fail "$1/run.h5 differs from mpirun's"; }
    for v in FT RL; do
        cmp "$1/adapters/$v/adapter_model.safetensors" "$2/adapters/$v/adapter_model.safetensors" || fail "$1: other adapter $v"
    done
    [ -s "$1/report/index.html" ] || fail "$1: no report"
}
