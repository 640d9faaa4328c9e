#!/bin/sh
# Removes what a job left behind, once its user runs nothing on this node. Put it into slurm.conf as
# Epilog=.
# Which kinds go: [job] in the policy. Made by 'ipcops render slurm-epilog'.
#
# Always ends with status 0: slurmd drains a node whose epilog fails. What went wrong is in syslog.
set -u

name=ipc-epilog
agent=/usr/local/lib/ipcops/agent
policy=/etc/ipcops/ipcops.conf
LC_ALL=C
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH

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

say() { # PRIORITY MESSAGE
    logger -t "$name" -p "daemon.$1" -- "$2" 2>/dev/null || :
}

user=${SLURM_JOB_USER:-${SLURM_JOB_UID:-}}
if [ -z "$user" ]; then
    say err 'neither SLURM_JOB_USER nor SLURM_JOB_UID is set; nothing was removed'
    exit 0
fi
if ! find_python; then
    say err "$no_python"
    exit 0
fi
sleep 4 # nothing goes that was used in the last seconds
status=0
said=$("$python" -I -S "$agent" clean --policy "$policy" --job-ended="$user" --apply --yes 2>&1 </dev/null) || status=$?
first=$(printf '%s\n' "$said" | head -n 1)
if [ "$status" = 0 ]; then
    say info "job ${SLURM_JOB_ID:-?} of $user: $first"
else
    say err "job ${SLURM_JOB_ID:-?} of $user: status $status: $first"
fi
exit 0
