# shellcheck shell=bash
# common.sh - what the batch scripts share. Sourced by them on the first node of a job:
#   run_job JOB [OPTION...]     runs `detoxlens JOB OPTION...` on the nodes of this job, then decides what its exit code
#                               leads to (slurm/README.md has the table), and ends the script
# In an array, task k works for the k-th word of DTX_MODELS: it takes the place of every %m in the options.
set -uo pipefail

# shellcheck source=slurm/site.conf
. "${DTX_SITE:-$(dirname "${BASH_SOURCE[0]}")/site.conf}" || exit 2

say() { printf '== %(%F %T)T %s\n' -1 "$*"; }

load_modules() {
    local name
    for name in $MODULES; do module load "$name" || return; done
    command -v "$PROGRAM" >/dev/null || { echo "error: $PROGRAM is not there: see PROGRAM and MODULES in slurm/site.conf" >&2; return 1; }
}

# fill_in OPTION...: sets `options`, with the model of this array task in place of %m
fill_in() {
    local models
    options=("$@")
    if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
        read -ra models <<<"${DTX_MODELS:-}"
        options=("${options[@]//%m/${models[SLURM_ARRAY_TASK_ID]}}")
    fi
}

# How the ranks are started: sets `launch`.
choose_launcher() {
    local ranks=${SLURM_NTASKS_PER_NODE:-1} threads=${SLURM_CPUS_PER_TASK:-1}
    case $LAUNCHER in
    srun) # a rank that dies must take the others with it: without --kill-on-bad-exit they wait until the time limit
        # shellcheck disable=SC2206
        launch=(srun --mpi="$SRUN_MPI" --kill-on-bad-exit=1 --cpus-per-task="$threads" $SRUN_OPTIONS)
        ;;
    mpirun)
        # shellcheck disable=SC2206
        launch=(mpirun -n "${SLURM_NTASKS:-1}" ${MPIRUN_OPTIONS:---map-by "ppr:$ranks:node:PE=$threads"})
        ;;
    *)
        echo "error: LAUNCHER=$LAUNCHER in slurm/site.conf: srun or mpirun is expected" >&2
        return 1
        ;;
    esac
}

# queue_again WHY: returns only when Slurm does not
queue_again() {
    if [ "$restarts" -ge "$MAX_RESTARTS" ]; then
        say "$1: after $restarts restarts (MAX_RESTARTS) not queued again; submit it again to continue"
        return
    fi
    say "$1: queued again" # said first: Slurm ends this script at once
    if scontrol requeue "$SLURM_JOB_ID"; then
        sleep 120
    elif [ "$(squeue -h -j "$SLURM_JOB_ID" -o %T)" != PENDING ]; then # else a node was lost, and Slurm was faster
        say "that is not possible here; submit it again to continue"
    fi
}

# run_launcher: starts the ranks and waits for them; sets rc, and `ended` when Slurm ends the job
run_launcher() {
    local launcher='' signalled=1
    ended=
    # USR1 comes from Slurm, SIGNAL_SECONDS before the time limit: the launcher hands it to the ranks, which write what they
    # have and end with exit code 75. TERM: scancel, the time limit, a lost node. Slurm has told the ranks already, and
    # decides itself whether the job is queued again.
    trap 'signalled=1; [ -z "$launcher" ] || kill -USR1 "$launcher"' USR1
    trap 'signalled=1; ended=1' TERM
    "${launch[@]}" "$PROGRAM" "${options[@]}" &
    launcher=$!
    while [ -n "$signalled" ]; do # a signal interrupts the waiting
        signalled=
        rc=0
        wait "$launcher" || rc=$?
    done
    trap - USR1 TERM
}

run_job() {
    local rc ended restarts=${SLURM_RESTART_COUNT:-0} tries=5 crashes counter=${DTX_LOGS:-.}/.crashes-${SLURM_JOB_ID:-0}
    say "${SLURM_JOB_NAME:-$1}: job ${SLURM_JOB_ID:-?}, launch $((restarts + 1)), ${SLURM_JOB_NUM_NODES:-1} node(s)" \
        "${SLURM_JOB_NODELIST:-} x ${SLURM_NTASKS_PER_NODE:-1} rank(s) x ${SLURM_CPUS_PER_TASK:-1} thread(s)"
    load_modules || exit 4
    choose_launcher || exit 2
    fill_in "$@"
    run_launcher
    # The lock of a launch whose node was lost outlives it on a network file system until the server has noticed.
    while [ "$rc" = 2 ] && [ "$restarts" -gt 0 ] && [ -z "$ended" ] && [ "$((tries -= 1))" -ge 0 ]; do
        say "exit code 2 after a restart: if the run directory is still locked by the launch before, this passes; trying again"
        sleep "${DTX_LOCK_WAIT:-60}"
        run_launcher
    done
    if [ -n "$ended" ]; then
        say "ended by Slurm (scancel, the time limit, or a lost node)"
        exit 143
    fi
    case $rc in
    0) say "done" ;;
    75) queue_again "stopped cleanly before the end (exit code 75)" ;;
    2 | 3 | 4 | 5) say "failed with exit code $rc: the reason stands above" ;;
    *) # 137, 143: a rank was killed; 138: by USR1, before it was ready; 1: its peers lost it; 233: srun cannot reach a node
        crashes=$(($(cat "$counter" 2>/dev/null || echo 0) + 1))
        if [ "$crashes" -le "$MAX_CRASHES" ]; then
            echo "$crashes" >"$counter"
            queue_again "a rank was killed or lost (exit code $rc, time $crashes of at most $MAX_CRASHES; out of memory?)"
        else
            say "a rank was killed or lost (exit code $rc) more than $MAX_CRASHES times (MAX_CRASHES): given up; submit it again to continue"
        fi
        ;;
    esac
    rm -f "$counter"
    exit "$rc"
}
