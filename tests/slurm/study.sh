#!/usr/bin/env bash
# study.sh [long]: a study handed to a real Slurm as a chain of jobs, and disturbed: one is asked to stop as before its time
# limit, a rank of another is killed, then one of its nodes is lost. Nobody intervenes, and the result holds the same bytes as
# the same study under mpirun. long: real time limits again and again, started by mpirun, the first node of a job is lost.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../script.sh" "$0" "$@"
# shellcheck source=tests/slurm/lib.sh
. "$DTX_SOURCE/tests/slurm/lib.sh"
mode=${1:-quick}
cluster 3
if [ "$mode" = long ]; then
    base_models 8000
    site site.conf mpirun 2 00:01:00
else
    base_models 160
    site site.conf srun 2 00:10:00
fi

"$slurm/submit.sh" --site site.conf --run out cfg.json >submitted || { cat submitted; fail "submit.sh"; }
[ "$(grep -cE '^[0-9]+ ' submitted)" = 13 ] || { cat submitted; fail "not 13 jobs"; }
rc=0
"$slurm/submit.sh" --site site.conf --run out cfg.json >log 2>&1 || rc=$?
{ [ "$rc" = 2 ] && grep -q 'queued already' log; } || { cat log; fail "a study was submitted twice"; }

ft=$(id_of FT-finetune) rl=$(id_of RL-ppo)
until_true 120 "fine-tuning" under_way FT-finetune out/slurm/FT-finetune.log 1
scancel --signal=USR1 --batch "$ft" # what Slurm sends before the time limit
until_true 120 "reinforcement learning" under_way RL-ppo out/slurm/RL-ppo.log 1
checkpoint=out/RL/checkpoints/ppo-RL.safetensors
until_true 120 "first checkpoint" test -e $checkpoint
begun=$(stat -c '%i %y' $checkpoint)
saved() { [ "$(stat -c '%i %y' $checkpoint)" != "$begun" ]; }
until_true 120 "checkpoint of a later step" saved
nodes=$(scontrol show hostnames "$(squeue -h -j "$rl" -o %N)")
mapfile -t ranks < <(ranks_on "${nodes##*$'\n'}" | while read -r p; do
    ! tr '\0' ' ' <"/proc/$p/cmdline" | grep -q ' ppo ' || echo "$p"
done)
[ "${#ranks[@]}" = 1 ] || fail "not one rank of reinforcement learning on ${nodes##*$'\n'}: ${ranks[*]}"
kill -9 "${ranks[0]}"
until_true 120 "second launch" under_way RL-ppo out/slurm/RL-ppo.log 2
nodes=$(scontrol show hostnames "$(squeue -h -j "$rl" -o %N)")
lost=${nodes##*$'\n'}
[ "$mode" = quick ] || lost=${nodes%%$'\n'*}
"$DTX_SOURCE/tests/slurm/cluster.sh" lose "$cluster" "$lost"

[ "$mode" = quick ] || until_true 1500 "end of the chain" queue_empty
until_true 400 "end of the chain" queue_empty
for name in IT-generate IT-score IT-attribute FT-finetune FT-generate FT-score FT-attribute RL-ppo RL-generate RL-score \
    RL-attribute merge report; do
    [ "$(ended "$name" COMPLETED)" = 1 ] || { cat "$cluster/log/jobs.log"; tail -n 20 "out/slurm/$name.log"; fail "$name did not complete"; }
done
plain_study plain
same_study out plain

# what happened is what was meant to happen
grep -q 'stopped cleanly before the end (exit code 75): queued again' out/slurm/FT-finetune.log || fail "no clean stop"
# 137 or 143 from srun; or what the rank's peer ended with, when it was faster
grep -qE 'a rank was killed or lost \(exit code [0-9]+, time 1 of at most 5; out of memory\?\): queued again' out/slurm/RL-ppo.log ||
    { cat out/slurm/RL-ppo.log; fail "no kill"; }
grep -q "launch 3, 2 node(s)" out/slurm/RL-ppo.log || fail "not launched a third time"
sed '0,/launch 3,/d' out/slurm/RL-ppo.log | grep -q "ppo: continuing after step" || { cat out/slurm/RL-ppo.log; fail "the third launch began anew"; }
[ "$(ended RL-ppo NODE_FAIL)" -ge 1 ] || { cat "$cluster/log/jobs.log"; fail "no node was lost"; }
if [ "$mode" = long ]; then
    [ "$(grep -c 'stopped cleanly' out/slurm/RL-ppo.log)" -ge 2 ] || { cat out/slurm/RL-ppo.log; fail "no time limits"; }
    # the same command again: nothing is left to do, nothing changes
    "$slurm/submit.sh" --site site.conf --run out cfg.json >log || { cat log; fail "submit.sh again"; }
    until_true 600 "end of the second chain" queue_empty
    [ "$(ended report COMPLETED)" = 2 ] || fail "the second chain did not complete"
    same_study out plain
    # an end by the user is final, and ends what depends on it
    "$slurm/submit.sh" --site site.conf --run out2 cfg.json >log || { cat log; fail "submit.sh, a second study"; }
    until_true 120 "reinforcement learning" under_way RL-ppo out2/slurm/RL-ppo.log 1
    scancel "$(id_of RL-ppo)"
    until_true 600 "end of the cancelled chain" queue_empty
    [ "$(ended FT-attribute COMPLETED)" = 3 ] || fail "FT was cancelled too"
    for name in RL-ppo RL-attribute merge report; do
        [ "$(ended "$name" CANCELLED)" = 1 ] || { cat "$cluster/log/jobs.log"; fail "$name is not cancelled"; }
    done
fi
echo "study on Slurm: all checks passed"
