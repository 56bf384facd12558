#!/usr/bin/env bash
# cluster.sh - a private Slurm of several virtual nodes on one machine, below one folder; needs root, but no systemd:
#   cluster.sh start DIR [NODES [CPUS]]   munged, slurmctld and slurmd for node1..nodeN (default 2 nodes of 4 CPUs)
#   . DIR/env.sh                          then sbatch, srun, squeue ... speak to it
#   cluster.sh lose DIR NODE              a node ends as in a power cut: its slurmd and all processes on it
#   cluster.sh back DIR NODE              it starts again
#   cluster.sh stop DIR                   everything ends; logs stay in DIR/log
# Each node has its own host name and /dev/shm where the kernel allows it (UTS and mount namespaces), so that MPI sees as
# many hosts as nodes. Elsewhere (a container without privileges) the ranks talk through TCP alone. Partitions: test (all
# nodes), net (node1). Exit codes: 1 it does not start, 2 usage, 77 Slurm or root is not there.
set -euo pipefail

say() { printf 'cluster: %s\n' "$*" >&2; }
die() { local rc=$1; shift; say "$*"; exit "$rc"; }
[ $# -ge 2 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
verb=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd -P)
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# --- the processes of the cluster ---

live() { # PID: exists and is no zombie (process 1 of a container may not reap)
    local stat=
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    stat=${stat##*) }
    [ "${stat:0:1}" != Z ] && [ "${stat:0:1}" != X ]
}
# members NODE: what runs on a node: Slurm's processes hold its log open, those of jobs name it in their environment
members() {
    {
        find /proc/[0-9]*/fd -maxdepth 1 -lname "$dir/log/slurmd.$1.log" 2>/dev/null || true
        grep -lsFzx "SLURM_CONF=$dir/slurm.conf" /proc/[0-9]*/environ 2>/dev/null |
            xargs -r grep -lsFzx "SLURMD_NODENAME=$1" 2>/dev/null || true
    } | cut -d/ -f3 | sort -un | while read -r p; do
        if [ "$p" != $$ ] && [ "$p" != "$BASHPID" ] && live "$p"; then echo "$p"; fi
    done
}
kill_node() { # NODE: again and again, as a process may fork while it is being killed
    local found
    for _ in {1..50}; do
        mapfile -t found < <(members "$1")
        [ ${#found[@]} -gt 0 ] || return 0
        kill -KILL "${found[@]}" 2>/dev/null || true
        sleep 0.1
    done
    die 1 "processes of $1 do not end: ${found[*]}"
}
kill_daemon() { # NAME: by its recorded id, if that is still its own
    local pid
    pid=$(cat "$dir/pid/$1" 2>/dev/null) || return 0
    if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ] && tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF "$dir/"; then
        kill -KILL "$pid" 2>/dev/null || true
        while live "$pid"; do sleep 0.05; done
    fi
}
nodes() { sed -n 's/^NodeName=\([^ ]*\).*/\1/p' "$dir/slurm.conf" 2>/dev/null || true; }
stop() {
    local n
    kill_daemon slurmctld # first: it would put the jobs of dead nodes back into the queue
    for n in $(nodes); do kill_node "$n"; done
    kill_daemon munged
    # shared windows of nodes without a /dev/shm of their own
    find /dev/shm -maxdepth 1 -name "dtx-cluster.$(basename "$dir").*" -exec rm -rf {} + 2>/dev/null || true
    rm -rf "$dir/state" "$dir/pid" "$dir/munge" "$dir/spool" "$dir/tmp"
}

# --- start ---

own_host() { [ -e "$dir/namespaces" ]; }
start_node() {
    local out=$dir/log/slurmd.$1.out
    if own_host; then
        # shellcheck disable=SC2016
        unshare --uts --mount --propagation private sh -ec 'hostname "$1"; mount --bind "$2/hosts" /etc/hosts
            mount -t tmpfs -o mode=1777 tmpfs /dev/shm; exec slurmd -f "$2/slurm.conf" -N "$1"' sh "$1" "$dir" </dev/null >"$out" 2>&1
    else
        slurmd -f "$dir/slurm.conf" -N "$1" </dev/null >"$out" 2>&1
    fi || { cat "$out" >&2; die 1 "slurmd of $1 does not start"; }
}
configure() { # NODES CPUS
    local host address port base i n=$1 loopback='' alias=''
    host=$(hostname -s 2>/dev/null || cat /proc/sys/kernel/hostname)
    address=$(getent ahostsv4 "$host" 2>/dev/null | awk 'NR == 1 {print $1}' || true)
    case $address in # Slurm binds to the address of the host name or to all; munge guards it either way
    127.*) loopback=CommunicationParameters=NoInAddrAny,NoCtldInAddrAny ;;
    *) address=127.0.0.1 ;;
    esac
    if own_host; then alias=; else alias="NodeHostname=$host"; fi
    { cat /etc/hosts 2>/dev/null || true; echo; printf '%s' "$address"; printf ' node%s' $(seq "$n"); echo; } >"$dir/hosts"
    base=$((20000 + ($(cksum <<<"$dir" | cut -d' ' -f1) + $$) % 11000))
    for ((port = base; port <= base + n; port++)); do # n + 1 free ports in a row, below those given out by the kernel
        if (exec 3<>"/dev/tcp/$address/$port") 2>/dev/null; then base=$((port + 1)); fi
    done
    cat >"$dir/slurm.conf" <<CONF
ClusterName=local
SlurmctldHost=$host($address)
SlurmctldPort=$base
$loopback
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# a job that is queued again waits for its old credentials to expire
AuthInfo=socket=$dir/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
# the PMIx plugin makes a folder there: nodes must not share it
TmpFS=$dir/tmp/%n
SlurmctldPidFile=$dir/pid/slurmctld
SlurmdPidFile=$dir/pid/slurmd.%n
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.%n.log
JobCompType=jobcomp/filetxt
JobCompLoc=$dir/log/jobs.log
PlugStackConfig=$dir/plugstack.conf
TaskProlog=$dir/prolog.sh
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
# no control groups and no binding, as a container has none to give
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
MpiDefault=pmix
ReturnToService=2
# a node that does not answer is lost after this time
SlurmdTimeout=10
KillWait=5
MinJobAge=3600
MailProg=/bin/true
CONF
    for ((i = 1; i <= n; i++)); do
        echo "NodeName=node$i $alias NodeAddr=$address Port=$((base + i)) CPUs=$2 State=UNKNOWN" >>"$dir/slurm.conf"
        mkdir -p "$dir/tmp/node$i" "$dir/spool/node$i"
    done
    echo "PartitionName=test Nodes=node[1-$n] Default=YES MaxTime=INFINITE DefaultTime=30" >>"$dir/slurm.conf"
    echo "PartitionName=net Nodes=node1 MaxTime=INFINITE DefaultTime=30" >>"$dir/slurm.conf"
    : >"$dir/plugstack.conf"
    printf '#!/bin/sh\n' >"$dir/prolog.sh"
    if ! own_host; then # ranks of different nodes must not find each other's segments
        cat >>"$dir/prolog.sh" <<PROLOG
d=/dev/shm/dtx-cluster.$(basename "$dir").\$SLURM_JOB_ID.\$SLURMD_NODENAME
mkdir -p "\$d"
echo "export OMPI_MCA_osc_sm_backing_directory=\$d"
PROLOG
    fi
    chmod 755 "$dir/prolog.sh"
    cat >"$dir/env.sh" <<ENV
export SLURM_CONF=$dir/slurm.conf
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1
export OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo OMPI_MCA_pml=ob1
export OMPI_MCA_btl=self,$(own_host && echo vader,)tcp
unset SLURM_JOB_ID SLURM_JOBID SLURM_STEP_ID
ENV
}
idle() { # NODES: how many are there and well?
    [ "$(SLURM_CONF=$dir/slurm.conf timeout 10 sinfo -h -N -p test -o %T 2>/dev/null | grep -cxE 'idle|mixed|allocated')" = "$1" ]
}
start() {
    local n=${1:-2} cpus=${2:-4} program out
    for program in munged slurmctld slurmd sbatch srun; do
        command -v "$program" >/dev/null || die 77 "$program is not installed (apt-get install slurm-wlm munge)"
    done
    [ "$(id -u)" = 0 ] || die 77 "a private Slurm needs root"
    case $dir in *[!A-Za-z0-9/._+-]*) die 2 "only letters, digits and . _ + - may stand in $dir" ;; esac
    [ ${#dir} -le 60 ] || die 2 "$dir is too long: sockets stand below it"
    stop
    rm -rf "$dir/log" "$dir/namespaces"
    mkdir -p "$dir/log" "$dir/pid" "$dir/state" "$dir/munge"
    chmod 755 "$dir" "$dir/munge"
    if unshare --uts --mount --propagation private sh -ec 'hostname node1; mount -t tmpfs tmpfs /dev/shm
        mount --bind /etc/hosts /etc/hosts' >/dev/null 2>&1; then
        touch "$dir/namespaces"
    else
        say "no namespaces here: the nodes share one host name"
    fi
    configure "$n" "$cpus"
    (umask 077 && head -c 128 /dev/urandom >"$dir/munge/key")
    out=$dir/log/munged.out
    munged --force --socket="$dir/munge/socket" --key-file="$dir/munge/key" --pid-file="$dir/pid/munged" \
        --log-file="$dir/log/munged.log" --seed-file="$dir/munge/seed" </dev/null >"$out" 2>&1 ||
        { cat "$out" >&2; die 1 "munged does not start"; }
    out=$dir/log/slurmctld.out
    slurmctld -f "$dir/slurm.conf" </dev/null >"$out" 2>&1 || { cat "$out" >&2; die 1 "slurmctld does not start"; }
    for program in $(nodes); do start_node "$program"; done
    for _ in {1..300}; do
        if idle "$n"; then return 0; fi
        sleep 0.2
    done
    tail -n 20 "$dir"/log/*.log >&2
    stop
    die 1 "the nodes do not come up"
}

case $verb in
start) start "${@:3}" ;;
stop) stop ;;
lose) kill_node "$3" ;;
back) start_node "$3" ;;
*) die 2 "unknown: $verb" ;;
esac
