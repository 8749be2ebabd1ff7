#!/usr/bin/env bash
# A Slurm cluster of four nodes on this machine, to try batch scripts on: munged, slurmctld and four slurmd, with ports, a
# key and a folder of their own. A Slurm that is there already is neither used nor touched.
#
#   scripts/virtual_slurm.sh up [--no-install] [--state DIR]    start it, or what of it is missing
#   scripts/virtual_slurm.sh run SCRIPT [SBATCH ARGUMENT...]    submit, follow the output to the end, requeues included
#   scripts/virtual_slurm.sh preempt JOB                        take all nodes away from JOB for some seconds
#   scripts/virtual_slurm.sh env                                print what a shell needs for sbatch, squeue, scontrol
#   scripts/virtual_slurm.sh down                               cancel the jobs, stop the daemons, remove the folder
#
# --state DIR comes after the command's name and says where everything lies (default: expar-slurm-<uid> in $TMPDIR or
# /tmp; EXPAR_SLURM_STATE says the same). `up` installs Debian's packages where they are missing, --no-install forbids it.
# `run` exits as the job does: its exit code, 128 + the signal that killed it, or 1 (cancelled, out of time). Root is not
# needed once the packages are there; the jobs run as the user who brought it up. Nodes n1 to n4 have 4 CPUs each, however
# many the machine has; partition `normal` is the default, and jobs in `urgent` preempt its jobs: SIGTERM, 30 s of grace,
# requeue. up takes about 2 s, down 1 to 30, as fast as the jobs let go. No wait is without a limit.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib/common.sh
source "$root/scripts/lib/common.sh"

# What one may want to change.
state=${EXPAR_SLURM_STATE:-${TMPDIR:-/tmp}/expar-slurm-$EUID}
nodes=(n1 n2 n3 n4)
node_cpus=4
first_port=26817                # slurmctld's, the nodes' follow; where one is taken, the next are tried
start_seconds=30                # for a daemon to come up, and for the nodes to be idle
stop_seconds=10                 # for jobs to leave, and for a daemon to stop, before it is killed
run_seconds=${EXPAR_SLURM_RUN_SECONDS:-3600}   # for a job with its requeues
grace_seconds=30                # between SIGTERM and the end of a preempted job
requeue_seconds=5               # before a requeued job may start again
preempt_seconds=5               # for which `preempt` keeps the nodes
job_environment=(
    # The "nodes" share memory and a host name: Open MPI 4's shared-memory transport would mix up their segments.
    "OMPI_MCA_btl=self,tcp" OMPI_MCA_btl_tcp_if_include=lo
    OMPI_MCA_mpi_yield_when_idle=1   # four nodes' ranks share a few cores
    # One kind of fence only: with Slurm 22.05's mix of two, a rank now and then leaves MPI_Init before another has come
    # as far, and that one crashes at its first message (23 of 360 starts seen; none of 240 with one).
    SLURM_PMIX_FENCE=tree
)

conf() { printf '%s/slurm.conf' "$state"; }
ours() { [[ -f $state/expar-virtual-slurm ]]; }   # made first and removed last: without it nothing here is touched

# wait_until SECONDS COMMAND...: runs it until it succeeds; fails when that takes longer.
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.2
    done
}

# Daemons.
# pid_of NAME: the process of a daemon of ours; nothing when it does not run. A pid file alone could be another's by now.
pid_of() {
    local pid
    pid=$(cat "$state/pid/$1" 2>/dev/null) && [[ $pid =~ ^[0-9]+$ ]] || return 1
    grep --quiet --no-messages --fixed-strings -- "$state/" "/proc/$pid/cmdline" || return 1
    printf '%s' "$pid"
}

runs() { pid_of "$1" >/dev/null; }
none_runs() { local name; for name in "$@"; do ! runs "$name" || return 1; done; }

# start_daemon NAME COMMAND...: starts it unless it runs, and waits for its pid file.
start_daemon() {
    local name=$1 log=$state/log/$1
    shift
    runs "$name" && return
    rm -f "$state/pid/$name"
    # The variable is how `down` knows what the daemons leave behind; no descriptor or terminal of ours goes along.
    if ! EXPAR_SLURM_DAEMON=$state timeout "$start_seconds" "$@" </dev/null >>"$log.start" 2>&1 ||
        ! wait_until "$start_seconds" runs "$name"; then
        fail "$name did not start, or not within $start_seconds s: $(cat "$log" "$log.start" 2>/dev/null | tail -n 3)"
    fi
}

# stop NAME...: SIGTERM to those daemons that run, and SIGKILL where that does not do.
stop() {
    local name pid pids=()
    for name in "$@"; do
        if pid=$(pid_of "$name"); then pids+=("$pid"); fi
    done
    ((${#pids[@]})) || return 0
    kill "${pids[@]}" 2>/dev/null || true
    wait_until "$stop_seconds" none_runs "$@" || kill -KILL "${pids[@]}" 2>/dev/null || true
}

# leftovers: what our daemons have started and is still there: their like, and what runs in a job of theirs, but for this
# script and what it runs in. Only what slurmd starts has the name of a node in its environment; SLURM_CONF is also that of
# a shell that evaluated `env`, and SLURM_JOB_ID that of a job of another Slurm, in which this may run.
leftovers() {
    local find=(grep --files-with-matches --null-data --no-messages) above=$$ keep=()
    while ((above > 1)); do
        keep+=("$above")
        above=$(ps --no-headers -o ppid= "$above" | tr --delete ' ') || break
    done
    {
        "${find[@]}" --line-regexp --fixed-strings "EXPAR_SLURM_DAEMON=$state" /proc/[0-9]*/environ
        "${find[@]}" --line-regexp --fixed-strings "SLURM_CONF=$state/slurm.conf" /proc/[0-9]*/environ |
            xargs --no-run-if-empty "${find[@]}" --line-regexp "SLURMD_NODENAME=n[1-${#nodes[@]}]"
        # slurmstepd writes its title over its environment; it stands in the folder of its log.
        find /proc/[0-9]*/cwd -maxdepth 0 -lname "$state/log" 2>/dev/null |
            sed 's/cwd$/comm/' | xargs --no-run-if-empty "${find[@]}" '^slurmstepd'
    } | cut --delimiter=/ --fields=3 | sort --unique |
        grep --invert-match --line-regexp --fixed-strings "$(printf '%s\n' "${keep[@]}")" || true
}

port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_ports: the first of as many ports in a row as are needed.
free_ports() {
    local base=$first_port port attempt
    for attempt in {1..40}; do
        for ((port = base; port <= base + ${#nodes[@]}; ++port)); do
            if port_taken "$port"; then base=$((port + 1)); continue 2; fi
        done
        printf '%s' "$base"
        return
    done
    fail "no free ports from $first_port on, after $attempt tries"
}

write_configuration() {
    local port user
    user=$(id --user --name 2>/dev/null) || fail "user $EUID has no name here, and Slurm needs one"
    port=$(free_ports)
    # FirstJobId, a fresh number every time: no job takes the folder of one from yesterday's cluster for its own.
    # The daemons listen on every address, since Slurm can bind to one only where the host's name resolves; whoever lacks
    # munge's key gets no answer.
    cat >"$(conf).partial" <<CONF
ClusterName=expar
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$state/munge/socket,cred_expire=$requeue_seconds
SlurmctldPort=$port
SlurmctldPidFile=$state/pid/slurmctld
SlurmctldLogFile=$state/log/slurmctld
StateSaveLocation=$state/controller
SlurmdPidFile=$state/pid/%n
SlurmdLogFile=$state/log/%n
SlurmdSpoolDir=$state/spool/%n
TmpFS=$state/tmp/%n
SlurmdParameters=config_overrides
MpiDefault=pmix
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=5,bf_interval=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
EnforcePartLimits=ALL
FirstJobId=$(date +%-m%d%H%M)
JobRequeue=1
ReturnToService=2
KillWait=10
SlurmdTimeout=30
NodeName=DEFAULT CPUs=$node_cpus State=UNKNOWN
NodeName=n[1-${#nodes[@]}] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + ${#nodes[@]}))]
PartitionName=normal Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=$grace_seconds State=UP
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF State=UP
CONF
    # Nothing above uses cgroups; naming the plugin keeps slurmd from looking for a mounted one, which containers lack.
    echo "CgroupPlugin=cgroup/v1" >"$state/cgroup.conf"
    mv "$(conf).partial" "$(conf)"
}

node_states() { timeout 5 sinfo --noheader --Node --format='%N %t' 2>&1 | sort --unique; }
nodes_ready() { (($(node_states | grep --count --extended-regexp '^n[0-9]+ (idle|mix|alloc|comp)$') == ${#nodes[@]})); }

# Commands.
up() {
    local began=$SECONDS node before=0 was_up=no program
    [[ $install == no ]] || install_packages "${slurm_packages[@]}"
    for program in munged slurmctld slurmd sbatch; do
        command -v "$program" >/dev/null || fail "$program is missing; without --no-install it is installed"
    done
    [[ $state =~ ^/[A-Za-z0-9._/+-]+$ ]] || fail "$state: Slurm takes no such name for a folder; see --state"
    ((${#state} <= 80)) || fail "$state: longer than 80 characters, and so too long for a socket in it; see --state"
    [[ ! -e $state || -z $(ls -A "$state") ]] || ours ||
        fail "$state: exists and is not a virtual Slurm; see --state"
    { mkdir -p "$state" && touch "$state/expar-virtual-slurm"; } 2>/dev/null || fail "$state: cannot be made; see --state"
    mkdir -p "$state"/{munge,controller,pid,log}
    chmod 0755 "$state" "$state/munge"
    for node in "${nodes[@]}"; do mkdir -p "$state/spool/$node" "$state/tmp/$node"; done
    for node in munged slurmctld "${nodes[@]}"; do ! runs "$node" || before=$((before + 1)); done
    if [[ ! -f $state/slurm.conf ]]; then trap 'down >&2' EXIT; write_configuration; else was_up=yes; fi

    [[ -f $state/munge/key ]] || (umask 077; head --bytes=128 /dev/urandom >"$state/munge/key")
    start_daemon munged munged --key-file="$state/munge/key" --socket="$state/munge/socket" \
        --pid-file="$state/pid/munged" --log-file="$state/log/munged" --seed-file="$state/munge/seed" --num-threads=2
    start_daemon slurmctld slurmctld -f "$(conf)"
    for node in "${nodes[@]}"; do start_daemon "$node" slurmd -N "$node" -f "$(conf)"; done
    wait_until "$start_seconds" nodes_ready ||
        fail "after $start_seconds s not all nodes are ready: $(node_states | tr '\n' ';')"
    trap - EXIT
    if ((before == 2 + ${#nodes[@]})); then
        echo "runs already in $state"
    elif [[ $was_up == yes ]]; then
        echo "up again after $((SECONDS - began)) s, $((2 + ${#nodes[@]} - before)) daemons started: $state"
    else
        echo "up after $((SECONDS - began)) s: nodes ${nodes[*]}, partitions normal and urgent, in $state"
    fi
}

down() {
    local pid
    ours || { echo "nothing to take down in $state"; return; }
    if runs slurmctld && runs munged; then
        timeout 5 scancel --user="$(id --user --name)" 2>/dev/null || true
        wait_until "$stop_seconds" no_jobs || true
    fi
    stop "${nodes[@]}"
    stop slurmctld munged   # after the nodes, which talk to them
    for pid in $(leftovers); do kill -KILL "$pid" 2>/dev/null || true; done
    rm -rf "$state"/{munge,controller,pid,log,spool,tmp,slurm.conf{,.partial},cgroup.conf}
    rm -f "$state/expar-virtual-slurm"
    rmdir "$state" || fail "$state: has files that are not Slurm's, and stays"
    echo "down: $state is gone"
}

no_jobs() { [[ -z $(timeout 5 squeue --noheader 2>/dev/null) ]]; }

need_up() {
    if ! ours || ! runs slurmctld || ! runs munged; then
        fail "no virtual Slurm runs in $state; start it with: $0 up"
    fi
}

# field JOB NAME: a field of `scontrol show job`.
field() {
    timeout 10 scontrol --oneliner show job "$1" 2>/dev/null | grep --only-matching --perl-regexp "(^| )$2=\\K[^ ]*"
}

# show_new LOG: prints what LOG has got since the last call.
shown=0
show_new() {
    local size
    size=$(stat --format=%s "$1" 2>/dev/null) || return 0
    ((size >= shown)) || shown=0
    ((size == shown)) || tail --bytes=+$((shown + 1)) "$1" | head --bytes=$((size - shown))
    shown=$size
}

run() {
    local script=$1 job log state_now state_before='' code began=$SECONDS
    shift
    [[ -f $script ]] || fail "$script: no such file"
    job=$(sbatch --parsable "$@" "$script") || fail "$script: sbatch refused it"
    trap 'timeout 10 scancel "$job"; exit 130' INT TERM
    log=$(field "$job" StdOut) || fail "job $job: scontrol knows nothing of it"
    echo "job $job: submitted, its output is $log"
    while true; do
        state_now=$(field "$job" JobState) || fail "job $job: slurmctld does not answer; its logs are in $state/log"
        show_new "$log"
        if [[ $state_now != "$state_before" && $state_now =~ ^(PENDING|RUNNING)$ ]]; then
            echo "job $job: $state_now, $((SECONDS - began)) s after it was submitted"
            state_before=$state_now
        fi
        case $state_now in
            PENDING)
                if [[ $(field "$job" Reason) == *[Hh]eld* ]]; then
                    timeout 10 scancel "$job"
                    fail "job $job: held, since it could not be launched; $state/log tells why"
                fi ;;
            RUNNING | COMPLETING | CONFIGURING | REQUEUED | SUSPENDED | STOPPED | SIGNALING | PREEMPTED | RESIZING) ;;
            *) break ;;
        esac
        if ((SECONDS - began >= run_seconds)); then
            timeout 10 scancel "$job"
            fail "job $job: cancelled after $run_seconds s; EXPAR_SLURM_RUN_SECONDS sets the limit"
        fi
        sleep 0.5
    done
    trap - INT TERM
    sleep 0.5
    show_new "$log"
    code=$(field "$job" ExitCode) || fail "job $job: slurmctld does not answer; its logs are in $state/log"
    if ((${code#*:} > 0)); then code=$((128 + ${code#*:})); else code=${code%:*}; fi
    if ((code == 0)) && [[ $state_now != COMPLETED ]]; then code=1; fi
    echo "job $job: $state_now, exit code $code, requeued $(field "$job" Restarts) times, $((SECONDS - began)) s"
    exit "$code"
}

over='COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL|PREEMPTED'
left_as=''
has_left() { left_as=$(field "$1" JobState) && [[ $left_as =~ ^(PENDING|REQUEUED|$over)$ ]]; }
is_over() { [[ $(field "$1" JobState) =~ ^($over)$ ]]; }

preempt() {
    local job=$1 urgent
    [[ $(field "$job" JobState) == RUNNING ]] || fail "job $job does not run: $(field "$job" JobState || echo unknown)"
    urgent=$(sbatch --parsable --partition=urgent --nodes="${#nodes[@]}" --exclusive --time=5 --output=/dev/null \
        --job-name=urgent --wrap="sleep $preempt_seconds") || fail "sbatch refused the urgent job"
    echo "job $urgent: takes the nodes of job $job"
    wait_until $((2 * start_seconds + grace_seconds)) has_left "$job" || fail "job $job was not preempted"
    echo "job $job: $left_as"
    wait_until $((2 * start_seconds)) is_over "$urgent" || fail "job $urgent does not end: $(field "$urgent" JobState)"
    echo "job $urgent: $(field "$urgent" JobState)"
}

# Command line.
install=yes
command=${1:---help}
shift || true
while (($#)); do
    case $1 in
        --state) state=$(absolute "$(value_of "$@")"); shift 2 ;;
        --no-install) [[ $command == up ]] || fail "--no-install belongs to up"; install=no; shift ;;
        --help | -h) show_help; exit 0 ;;
        *) break ;;
    esac
done
state=$(realpath --canonicalize-missing "$state")
export SLURM_CONF=$state/slurm.conf
PATH=$PATH:/usr/sbin:/sbin   # where Debian has the daemons, and not all users look
case $command in
    up | down | env) (($# == 0)) || fail "$command: unknown argument '$1'; see --help" ;;
    run) (($# >= 1)) || fail "run needs a batch script; see --help" ;;
    preempt) (($# == 1)) || fail "preempt needs a job's number; see --help" ;;
esac
[[ ! -e $state || -O $state ]] || fail "$state: belongs to another user; see --state"
case $command in
    --help | -h | help) show_help ;;
    up) up ;;
    down) down ;;
    env) need_up; echo "export SLURM_CONF=$SLURM_CONF ${job_environment[*]}" ;;
    run) need_up; export "${job_environment[@]}"; run "$@" ;;
    preempt) need_up; preempt "$1" ;;
    *) fail "unknown command '$command'; see --help" ;;
esac
