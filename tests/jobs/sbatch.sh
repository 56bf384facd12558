#!/usr/bin/env bash
# The batch script's own logic, with srun and scontrol replaced: which exit codes are queued again, and how often.
set -u
bad=0
mkdir bin
cat >bin/srun <<'SH'
#!/bin/sh
echo "srun $*" >>calls
exit "$FAKE_RC"
SH
cat >bin/scontrol <<'SH'
#!/bin/sh
echo "scontrol $*" >>calls
SH
printf '#!/bin/sh\n' >bin/detoxlens
chmod +x bin/*
PATH=$PWD/bin:$PATH

# check RC RESTARTS EXPECTED_CODE REQUEUED
check() {
    local rc
    : >calls
    FAKE_RC=$1 SLURM_RESTART_COUNT=$2 SLURM_JOB_ID=7 SLURM_CPUS_PER_TASK=3 \
        bash "$DTX_SOURCE/slurm/detoxlens.sbatch" generate --config "a b.json" >out.txt 2>&1
    rc=$?
    [ "$rc" -eq "$3" ] || { echo "FAILED: srun's $1 after $2 restarts gave $rc, not $3: $(cat out.txt)"; bad=1; }
    [ "$(grep -c '^scontrol requeue 7$' calls)" -eq "$4" ] || { echo "FAILED: $1 after $2 restarts: $(cat calls)"; bad=1; }
    grep -q '^srun .*--cpus-per-task=3 detoxlens generate --config a b.json$' calls || { cat calls; bad=1; }
}
check 0 0 0 0
check 75 0 0 1
check 137 3 0 1
check 143 19 0 1
check 75 20 75 0
check 2 0 2 0
check 5 0 5 0
DTX_PROGRAM=missing-program bash "$DTX_SOURCE/slurm/detoxlens.sbatch" generate >out.txt 2>&1
rc=$?
{ [ "$rc" -eq 4 ] && grep -q DTX_PROGRAM out.txt; } || { echo "FAILED: a missing program gave $rc"; bad=1; }
exit "$bad"
