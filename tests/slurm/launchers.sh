#!/usr/bin/env bash
# launchers.sh - on a real Slurm: srun --mpi=pmix and mpirun inside an allocation give the same bytes; ranks that a wrong --mpi leaves alone
# are refused instead of all doing the same work; two configurations as arrays give what each gives alone.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../script.sh" "$0" "$@"
# shellcheck source=tests/slurm/lib.sh
. "$DTX_SOURCE/tests/slurm/lib.sh"
cluster 2
base_models 10
site srun.conf srun 2 00:10:00
site mpirun.conf mpirun 2 00:10:00

for launcher in srun mpirun; do
    "$slurm/submit.sh" --site $launcher.conf generate --config cfg.json --run $launcher >log || { cat log; fail "submit.sh"; }
    until_true 120 "end of a job" queue_empty
    log=$(ls generate-*.log)
    grep -q ' 2 rank(s) x 1 thread(s) on 2 node(s), rank 0 on' "$log" || { cat "$log"; fail "$launcher: not 2 ranks on 2 nodes"; }
    grep -q ' done$' "$log" || { cat "$log"; fail "$launcher: not done"; }
    rm "$log"
done
job generate --run plain >log 2>&1 || { cat log; fail "mpirun without Slurm"; }
for launcher in srun mpirun; do
    "$DETOXLENS" verify --same $launcher/run.h5 plain/run.h5 >log || { cat log; fail "$launcher: other bytes"; }
done

# a launcher that does not tell the ranks of each other: one message, nothing done. (Open MPI ends a wrong pmi2 by itself.)
rc=0
timeout 120 srun --mpi=none --kill-on-bad-exit=1 -N2 --ntasks-per-node=1 "$DETOXLENS" generate --config cfg.json --run none >log 2>&1 || rc=$?
[ "$rc" = 2 ] || { cat log; fail "srun --mpi=none gave $rc, not 2"; }
[ "$(grep -c 'error:.*--mpi=pmix' log)" = 1 ] || { cat log; fail "srun --mpi=none: no advice, or not once"; }
[ ! -e none ] || fail "srun --mpi=none wrote something"
rc=0
timeout 120 srun --mpi=pmi2 -N2 --ntasks-per-node=1 "$DETOXLENS" generate --config cfg.json --run pmi2 >log 2>&1 || rc=$?
{ [ "$rc" != 0 ] && [ ! -e pmi2 ]; } || { cat log; fail "srun --mpi=pmi2 gave $rc"; }
# processes that MPI takes for runs of their own, as with the mpirun of another MPI
rc=0
PMI_RANK=0 PMI_SIZE=2 "$DETOXLENS" generate --config cfg.json --run foreign >log 2>&1 || rc=$?
{ [ "$rc" = 2 ] && grep -q 'started 2 processes' log && [ ! -e foreign ]; } || { cat log; fail "a foreign mpirun gave $rc"; }
# one process in an allocation of many is no mistake
salloc -Q -N2 --ntasks-per-node=1 "$DETOXLENS" generate --config cfg.json --run alone >log 2>&1 || { cat log; fail "alone in an allocation"; }
"$DETOXLENS" verify --same alone/run.h5 plain/run.h5 >log || { cat log; fail "alone: other bytes"; }

# model x variant
sed 's/"seed": [0-9]*/"seed": 7/; s/{"threads": 1,/{"threads": 1, "seed": 7,/' cfg.json >other.json
"$slurm/submit.sh" --site srun.conf --variants IT,FT --run grid cfg.json other.json -- --set finetune.epochs=1 >log || { cat log; fail "arrays"; }
until_true 300 "end of the arrays" queue_empty
"$DETOXLENS" verify --same grid/cfg/IT/run.h5 grid/other/IT/run.h5 >log && fail "both tasks worked for one model"
for config in cfg other; do
    [ -s grid/$config/report/index.html ] || { tail -n 5 grid/slurm/*.log; fail "no report of $config"; }
    for stage in "finetune --variant FT --epochs 1" "generate --variant FT" "score --variant FT" "attribute --variant FT" generate score attribute; do
        # shellcheck disable=SC2086
        timeout 120 "$MPIRUN" 2 "$DETOXLENS" $stage --config $config.json --run one-$config >log 2>&1 || { cat log; fail "$config: $stage"; }
    done
    "$DETOXLENS" verify --same grid/$config/run.h5 one-$config/run.h5 >log || { cat log; fail "the array's $config: other bytes"; }
done
echo "launchers on Slurm: all checks passed"
