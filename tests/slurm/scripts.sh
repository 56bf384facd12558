#!/usr/bin/env bash
# The batch scripts' own logic, with srun, mpirun and scontrol replaced: which exit codes are queued again and how often, how
# the ranks are started; and the chain that submit.sh would submit.
set -u
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../script.sh" "$0" "$@"
bad=0
failed() { echo "FAILED: $*"; bad=1; }
mkdir bin
for launcher in srun mpirun; do
    cat >bin/$launcher <<'SH'
#!/bin/sh
echo "${0##*/} $*" >>calls
exit "$FAKE_RC"
SH
done
cat >bin/scontrol <<'SH'
#!/bin/sh
echo "scontrol $*" >>calls
SH
printf '#!/bin/sh\n' | tee bin/detoxlens bin/sleep >bin/squeue
chmod +x bin/*
PATH=$PWD/bin:$PATH
export DTX_SLURM=$DTX_SOURCE/slurm DTX_LOCK_WAIT=0
unset "${!SLURM_@}" # the test itself may run in a job

# check RC RESTARTS EXPECTED_CODE REQUEUED [VARIABLE=VALUE...]
check() {
    local rc
    : >calls
    env FAKE_RC="$1" SLURM_RESTART_COUNT="$2" SLURM_JOB_ID=7 SLURM_NTASKS=6 SLURM_NTASKS_PER_NODE=2 SLURM_CPUS_PER_TASK=3 \
        "${@:5}" bash "$DTX_SLURM/generate.sbatch" --config "a b.json" --run 'r/%m' >out.txt 2>&1
    rc=$?
    [ "$rc" -eq "$3" ] || failed "srun's $1 after $2 restarts gave $rc, not $3: $(cat out.txt)"
    [ "$(grep -c '^scontrol requeue 7$' calls)" -eq "$4" ] || failed "$1 after $2 restarts: $(cat calls)"
}
check 0 0 0 0
grep -qx 'srun --mpi=pmix --kill-on-bad-exit=1 --cpus-per-task=3 detoxlens generate --config a b.json --run r/%m' calls || failed "$(cat calls)"
check 75 0 75 1
check 143 99 143 1
check 75 100 75 0
check 2 0 2 0
check 4 1 4 0
check 5 0 5 0
[ "$(grep -c '^srun' calls)" = 1 ] || failed "started twice"
check 2 1 2 0 # perhaps the lock of a node that was lost
[ "$(grep -c '^srun' calls)" = 6 ] || failed "not tried again: $(cat calls)"
# killed ranks are counted: the script is ended by Slurm each time, here it goes on and forgets
for k in 0 1 4; do
    echo "$k" >.crashes-7
    check 137 9 137 1
done
check 233 0 233 1
check 1 0 1 1
echo 5 >.crashes-7
check 137 9 137 0
grep -q 'given up' out.txt || failed "$(cat out.txt)"
# an array task takes its model's place
check 0 0 0 0 DTX_MODELS="small large" SLURM_ARRAY_TASK_ID=1
grep -q 'generate --config a b.json --run r/large$' calls || failed "$(cat calls)"

sed 's/^LAUNCHER=.*/LAUNCHER=mpirun/' "$DTX_SLURM/site.conf" >mpirun.conf
check 0 0 0 0 DTX_SITE="$PWD/mpirun.conf"
grep -qx 'mpirun -n 6 --map-by ppr:2:node:PE=3 detoxlens generate --config a b.json --run r/%m' calls || failed "$(cat calls)"
sed 's/^PROGRAM=.*/PROGRAM=missing-program/' "$DTX_SLURM/site.conf" >missing.conf
check 0 0 4 0 DTX_SITE="$PWD/missing.conf"
grep -q 'site.conf' out.txt || failed "$(cat out.txt)"

# --- submit.sh ---
submit() { "$DTX_SLURM/submit.sh" "$@" >out.txt 2>&1; }
# expect WORDS SCRIPT OPTIONS...: one line for sbatch holds all these
expect() {
    local word lines
    lines=$(grep -- "/$1.sbatch" out.txt)
    for word in "${@:2}"; do lines=$(grep -F -- "$word" <<<"$lines"); done
    [ "$(grep -c . <<<"$lines")" = 1 ] || failed "$*: $(cat out.txt)"
}
echo '{}' >tiny.json
submit --dry-run --run r/ tiny.json -- --set seed=1 || failed "$(cat out.txt)"
[ "$(grep -c ^sbatch out.txt)" = 13 ] || failed "not 13 jobs: $(cat out.txt)"
[ "$(grep -c -- '--set seed=1$' out.txt)" = 13 ] || failed "an option of the jobs is lost"
expect finetune '--config r/study.json --run r/FT --variant FT' '--output=r/slurm/FT-finetune.log'
expect generate '--dependency=afterok:<RL-ppo> --kill-on-invalid-dep=yes' '--run r/RL --variant RL'
expect score '--dependency=afterok:<IT-generate>' '--variant IT'
expect attribute '--dependency=afterok:<FT-score>' '--signal=B:USR1@300'
expect merge '--dependency=afterok:<IT-attribute>:<FT-attribute>:<RL-attribute>' 'merge.sbatch r/IT r/FT r/RL --config r/study.json --run r '
expect report '--dependency=afterok:<merge>' '--nodes=1 --ntasks-per-node=1'
expect generate '--run r/IT'
! grep 'job-name=IT-generate' out.txt | grep -q dependency || failed "IT waits for something"
[ ! -e r ] || failed "--dry-run wrote something"

cp tiny.json other.json
submit --dry-run --run r --scorers local,service --variants IT,FT,B:none tiny.json other.json || failed "$(cat out.txt)"
[ "$(grep -c -- '--array=0-1' out.txt)" = 15 ] || failed "not 15 arrays: $(cat out.txt)"
expect score-service '--dependency=aftercorr:<FT-attribute>' '--ntasks-per-node=1' '--run r/%m/FT'
expect merge 'r/%m/IT r/%m/FT r/%m/B --config r/%m/study.json --run r/%m'
! grep -q 'B-finetune' out.txt || failed "B is trained"

submit --dry-run --run r --after 9 --fetch redpajama-3b,dialoconan tiny.json other.json || failed "$(cat out.txt)"
expect fetch '--dependency=afterok:9' '--output=r/slurm/fetch.log' 'fetch.sbatch redpajama-3b dialoconan'
expect generate '--dependency=afterok:<fetch>' '--array=0-1' '--run r/%m/IT'
expect finetune '--dependency=afterok:<fetch>'
[ "$(grep -c -- '--array' out.txt)" = 13 ] || failed "the download is an array, or something else is not: $(cat out.txt)"

submit --dry-run --after 12 attribute --variant "two words" || failed "$(cat out.txt)"
expect attribute '--dependency=afterok:12' 'attribute.sbatch --variant two\ words'
refused() { # CODE WORD ARG...
    local rc=0
    submit "${@:3}" || rc=$?
    { [ "$rc" = "$1" ] && grep -q -- "$2" out.txt; } || failed "$rc, not $1, or no word on $2: $(cat out.txt)"
}
refused 2 'RUN is missing' --dry-run tiny.json
refused 4 'no such file' --dry-run --run r nowhere.json
refused 2 'XX:finetune' --dry-run --run r --variants XX tiny.json
refused 2 'no training magic' --dry-run --run r --variants XX:magic tiny.json
refused 2 'after --' --dry-run --run r tiny.json --set seed=1
refused 2 'scorers' --dry-run --run r --scorers perhaps tiny.json
printf '#!/bin/sh\ncase "$*" in *FT-*) exit 1 ;; esac\necho sbatch >>calls; echo 12\n' >bin/sbatch
printf '#!/bin/sh\necho "scancel $*" >>calls\n' >bin/scancel
chmod +x bin/sbatch bin/scancel
: >calls
refused 4 'refused FT-finetune' --run r tiny.json
grep -qx 'scancel 12 12 12' calls || failed "the jobs before were not taken back: $(cat calls)"
exit "$bad"
