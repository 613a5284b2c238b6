#!/usr/bin/env bash
# A real Slurm of one node on this machine, for tests: tests/helpers/slurm.sh start|stop|status|install [FOLDER]
#
# Debian's slurm-wlm and munge, installed when they are missing and this is root. Controller, node daemon and munge
# listen on 127.0.0.1 with ports and a key of their own, keep everything in FOLDER (default: one in /tmp) and run
# without systemd, cgroups and accounting. Several may run beside each other, each in its FOLDER. `start` prints what to
# export; starting twice is starting once. Whatever cannot be is said in one line, with exit code 1.
#
# Partition "debug", one node of 8 CPUs and 2 GPUs (claimed: jobs of tests wait more than they work, and count GPUs
# without using any). A cancelled job or one past its limit gets SIGTERM and 10 seconds later SIGKILL; --signal and
# requeueing are as on a cluster, but a job that is requeued waits 5 seconds and not 120 (cred_expire).
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

die() { echo "slurm.sh: $*" >&2; exit 1; }

install_packages() {
    local log missing=() program
    for program in slurmctld slurmd sbatch munged; do command -v "$program" >/dev/null || missing+=("$program"); done
    [ ${#missing[@]} -eq 0 ] && return
    command -v apt-get >/dev/null || die "${missing[*]} missing, and there is no apt-get to install slurm-wlm and munge"
    [ "$(id -u)" = 0 ] || die "${missing[*]} missing; as root: apt-get install slurm-wlm munge"
    log=$(mktemp)
    # One at a time; and nothing starts by itself where there is a way to say so.
    (
        flock 9
        [ -e /usr/sbin/policy-rc.d ] || { trap 'rm -f /usr/sbin/policy-rc.d' EXIT
            printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d; }
        export DEBIAN_FRONTEND=noninteractive
        get() { apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"; }
        get install slurm-wlm munge || { get update && get install slurm-wlm munge; }
    ) 9>/tmp/micro-slurm-install.lock >"$log" 2>&1 </dev/null ||
        die "apt-get install slurm-wlm munge: $(grep -v '^$' "$log" | tail -n 1)"
    rm -f "$log"
}

alive() { [ "$(cat "/proc/$1/comm" 2>/dev/null)" = "$2" ] && ! grep -qs '^State:.Z' "/proc/$1/status"; }

# The process of a daemon, if it runs: its pid file may be old and the number another's by now.
pid_of() {
    local pid
    pid=$(cat "$folder/$1.pid" 2>/dev/null) && alive "$pid" "$1" && echo "$pid"
}

running() { pid_of munged && pid_of slurmctld && pid_of slurmd; } >/dev/null

free_port() {
    local port
    while port=$((20000 + RANDOM % 12000)); (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo "$port"
}

configure() {
    local user memory node
    user=$(id -un)
    node=$(uname -n | cut -d. -f1)  # its name too: processes of a job meet there
    memory=$(awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo)
    mkdir -p "$folder/state" "$folder/spool"
    cat >"$conf" <<CONF
ClusterName=micro
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
KillWait=10
OverTimeLimit=0
MinJobAge=300
GresTypes=gpu
NodeName=$node NodeAddr=127.0.0.1 CPUs=8 RealMemory=$memory Gres=gpu:2 State=UNKNOWN
PartitionName=debug Nodes=$node Default=YES MaxTime=INFINITE State=UP
CONF
    printf 'Name=gpu File=%s\n' /dev/null /dev/zero >"$folder/gres.conf"  # any two devices are GPUs to a queue
    # From 23 on the daemons look for cgroups unless told not to; 22 does not know the word.
    case $(slurmd -V) in
        *" "2[0-2].*) rm -f "$folder/cgroup.conf" ;;
        *) echo "CgroupPlugin=disabled" >"$folder/cgroup.conf" ;;
    esac
}

last_error() { grep -hiE 'error|fatal' "$folder/$1.log" 2>/dev/null | tail -n 1 || true; }

start_daemons() {
    [ -s "$folder/munge.key" ] || (umask 077; head -c 1024 /dev/urandom >"$folder/munge.key")
    munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munged.log" --seed-file="$folder/munged.seed" >"$folder/start.log" 2>&1 ||
        { echo "munged: $(tail -n 1 "$folder/start.log")"; return 1; }
    slurmctld >>"$folder/start.log" 2>&1 || { echo "slurmctld: $(last_error slurmctld)"; return 1; }
    slurmd >>"$folder/start.log" 2>&1 || { echo "slurmd: $(last_error slurmd)"; return 1; }
    for _ in $(seq 200); do
        [ "$(timeout 5 sinfo --noheader --format=%T 2>/dev/null)" = idle ] && return
        sleep 0.1
    done
    echo "the node is '$(sinfo --noheader --format='%T %E' 2>&1 | tail -n 1)', not idle: $(last_error slurmctld)"
    return 1
}

start() {
    install_packages
    [ ${#folder} -le 80 ] || die "$folder: too long for the name of a socket, expected 80 characters at most"
    mkdir -p "$folder" 2>/dev/null && [ -O "$folder" ] || die "$folder: not ours to write"
    chmod 755 "$folder"  # munge insists that others can reach its socket, and cannot write beside it
    running && { echo "export SLURM_CONF=$conf"; return; }
    local try reason
    for try in 1 2 3; do  # another one may take the port that was free
        stop
        configure
        reason=$(start_daemons) && { echo "export SLURM_CONF=$conf"; return; }
    done
    stop
    die "Slurm does not start: $reason"
}

end() {  # end NAME: ask the daemon, wait, insist
    local pid
    pid=$(pid_of "$1") || return 0
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 50); do alive "$pid" "$1" || return 0; sleep 0.1; done
    kill -KILL "$pid" 2>/dev/null || true
}

kill_jobs() {  # what jobs started, and the daemon that looks after each
    local process
    for process in /proc/[0-9]*; do
        if grep -qszxF "SLURM_CONF=$conf" "$process/environ" &&
            { [ "$(cat "$process/comm" 2>/dev/null)" = slurmstepd ] || grep -qsz '^SLURM_JOB_ID=' "$process/environ"; }
        then
            kill -KILL "${process#/proc/}" 2>/dev/null || true
        fi
    done
}

stop() {
    local name
    [ -d "$folder" ] || return 0
    end slurmctld  # first: it would start again what is killed
    kill_jobs
    for name in slurmd munged; do end "$name"; done
    kill_jobs
    rm -rf "$folder/state" "$folder/spool" "$folder"/*.pid "$folder"/munge.socket*
}

[ $# -ge 1 ] && [ $# -le 2 ] || die "expected start, stop, status or install, and at most a folder"
folder=$(realpath -m "${2:-/tmp/micro-slurm-$(id -u)}")
conf=$folder/slurm.conf
export SLURM_CONF=$conf
case $1 in
    start) start ;;
    stop) stop ;;
    status) running || die "not running in $folder"; sinfo ;;
    install) install_packages ;;
    *) die "expected start, stop, status or install, got '$1'" ;;
esac
