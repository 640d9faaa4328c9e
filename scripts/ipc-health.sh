#!/bin/sh
# Tells what is wrong with IPC on this host, on one page, for cron to mail or a systemd unit to fail with. What that
# is, is decided by the agent and the policy alone. Made by 'ipcops render health'.
#
# ipc-health.sh [--spread]
#   --spread   put the start off by up to 1800 s, each host by its own time
#
# Exit status: 0 nothing of severity medium or above, or another run is at work; 1 there is; 2 the policy is
# wrong; 3 nothing could be determined; 4 the result could not be kept. Anything but 0 is told on standard error.
set -u

name=ipc-health
job=health
started=$(date +%s)
umask 077
LC_ALL=C
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH

agent=/usr/local/lib/ipcops/agent
policy=/etc/ipcops/ipcops.conf
log=/var/log/ipcops
jobs=/var/lib/ipcops/jobs

# Puts the first Python that is new enough into $python. The names with a version need no test; python3 does.
find_python() {
    for python in /usr/bin/python3.13 /usr/bin/python3.12 /usr/bin/python3.11 /usr/bin/python3.10 /usr/bin/python3.9; do
        [ -x "$python" ] && return 0
    done
    for python in /usr/bin/python3 /usr/libexec/platform-python /usr/local/bin/python3; do
        "$python" -I -S -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null && return 0
    done
    return 1
}
no_python='no Python 3.9 or newer is installed here (RHEL 8: dnf install python3.11; SLES 15: zypper install python311; Debian: apt-get install python3)'

# To syslog; where there is none, what went wrong is on standard error, too.
say() { # PRIORITY MESSAGE
    logger -t "$name" -p "daemon.$1" -- "$2" 2>/dev/null || :
}

# What a health check reads: when the job last ran, and how it ended.
note() { # STATUS
    printf '{"job": "%s", "started_at": %d, "ended_at": %d, "status": %d}\n' \
        "$job" "$started" "$(date +%s)" "$1" >"$jobs/$job.json.new" &&
        mv -f "$jobs/$job.json.new" "$jobs/$job.json"
}

# Loudly: cron mails what stands on standard error, systemd keeps it and the unit has failed.
fail() { # STATUS MESSAGE
    say err "$2"
    printf '%s: %s\n' "$name" "$2" >&2
    [ ! -d "$jobs" ] || note "$1"
    exit "$1"
}

# Puts the start off by a time that is this host's own, the same each day.
spread() { # SECONDS
    own=$({ cat /etc/machine-id; uname -n; } 2>/dev/null | cksum)
    from=/etc/cron.d/ipcops-$job
    [ -e "$from" ] || from=$0
    sleep "$((${own%% *} % ($1 + 1)))"
    [ -e "$from" ] || exit 0 # the job was taken away meanwhile
}

# Whoever comes second gives way. The kernel drops the lock with the last process that has it, however that ends.
lock() {
    command -v flock >/dev/null || fail 3 'there is no flock here; install util-linux'
    [ -d "$jobs" ] && [ -d "$log" ] || mkdir -p "$jobs" "$log" || fail 4 "cannot make $jobs and $log; run this as root"
    # ":" would end the shell where that fails, and exec as well.
    { true >>"$jobs/$job.lock"; } 2>/dev/null || fail 4 "cannot write $jobs/$job.lock; run this as root"
    exec 9>>"$jobs/$job.lock"
    held=0
    flock -n 9 || held=$?
    case $held in
    0) ;;
    1)
        say notice 'another run is still at work; this one gives way'
        exit 0
        ;;
    *) fail 4 "cannot lock $jobs/$job.lock" ;;
    esac
}

# Runs the agent at low priority, keeps all that it says, and takes its exit status for our own.
run_agent() { # ARGUMENT...
    find_python || fail 3 "$no_python"
    [ -e "$agent/__main__.py" ] || fail 3 "the agent is missing in $agent; run install.sh again"
    idle=''
    ! command -v ionice >/dev/null || idle='ionice -t -c 3' # -t: where it may not, it goes on as it is
    status=0
    # shellcheck disable=SC2086 # $idle is a command with its arguments, or nothing at all
    said=$(nice -n 19 $idle "$python" -I -S "$agent" "$@" 2>&1 </dev/null) || status=$?
    first=${said%%"
"*}
    if ! keep; then
        [ "$status" != 0 ] || status=4
        said="$said
What stands here could not be written to $log and $jobs: is a file system full or read-only?"
    fi
    note "$status" || [ "$status" != 0 ] || status=4
    case $job$status in
    monitor0) exit 0 ;; # once a minute, and its result is what it wrote
    *0)
        say info "$first"
        exit 0
        ;;
    health1) what='found what is to be mended' ;;
    *) what="failed with status $status" ;;
    esac
    say err "$what: $first"
    printf '%s on %s %s and said:\n\n%s\n' "$name" "$(uname -n)" "$what" "$said" >&2
    exit "$status"
}

# All that it said: the last time, and since when logrotate(8) keeps it.
keep() {
    [ "$job$status" != monitor0 ] || return 0
    { date '+%Y-%m-%dT%H:%M:%S%z' && printf '%s\n\n' "$said"; } >>"$log/$job.log" &&
        printf '%s\n' "$said" >"$jobs/$job.txt.new" && mv -f "$jobs/$job.txt.new" "$jobs/$job.txt"
}

late=''
for word in "$@"; do
    case $word in
    --spread) late=yes ;;
    *)
        printf '%s: unknown argument %s; it takes --spread\n' "$name" "$word" >&2
        exit 2
        ;;
    esac
done

[ -z "$late" ] || spread 1800
lock
run_agent audit --policy "$policy" --fail-on medium --min-severity medium
