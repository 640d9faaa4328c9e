#!/bin/sh
# Installs ipcops on a host that has nothing but a system Python, or upgrades, verifies or removes what it installed.
# It lies in a bundle made by 'ipcops bundle', and afterwards in /usr/local/lib/ipcops.
#
# sh install.sh [--cron | --systemd | --no-schedule]   install or upgrade; files of yours that were edited are kept
#               [--monitor] [--health]                 with metrics once a minute, with a daily health check, too;
#               [--no-cleanup] [--no-monitor] [--no-health]    or without one of the jobs
# sh install.sh --verify                               tell whether everything is as it was installed
# sh install.sh --uninstall                            remove everything but the journal and the backups
#
# With DESTDIR=DIR in the environment everything goes below DIR and nothing is started or stopped.
# Exit status: 0 done; 2 wrong arguments, bundle or policy, nothing was done; 3 no Python; 4 something failed.
set -u
umask 022
LC_ALL=C
PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH

here=$(cd "$(dirname "$0")" && pwd) || exit 4
root=${DESTDIR:-}
root=${root%/}
lib=/usr/local/lib/ipcops
policy=/etc/ipcops/ipcops.conf
state=/var/lib/ipcops
log=/var/log/ipcops
metrics=/var/lib/prometheus/node-exporter/ipcops.prom
tab=$(printf '\t')

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

say() {
    printf 'ipcops: %s\n' "$*"
}

stop() { # STATUS MESSAGE
    status=$1
    shift
    printf 'ipcops: %s\n' "$*" >&2
    exit "$status"
}

usage() {
    sed -n '5,9s/^# //p' "$0" >&2
    exit 2
}

# ------------------------------------------------------------------ what there is to install

# MANIFEST has a line for each file: what it is for, its mode, where it lies in the bundle, where it goes.
# What it is for: code, policy, config, or a schedule and the job that it starts, such as cron-cleanup.
files() { # prints the lines that are to be installed with this schedule
    while IFS=$tab read -r class mode source target; do
        case $class in
        cron-* | systemd-*)
            [ "${class%%-*}" = "$schedule" ] || continue
            wanted "${class#*-}" || continue
            ;;
        esac
        printf '%s\t%s\t%s\t%s\n' "$class" "$mode" "$source" "$target"
    done <"$here/MANIFEST"
}

wanted() { # JOB: what was said now, else what was installed before, else the cleanup
    case " $jobs " in
    *" no-$1 "*) return 1 ;;
    *" $1 "*) return 0 ;;
    esac
    if [ -f "$record" ] && grep -q "$tab/etc/\(cron\.d\|systemd/system\)/" "$record"; then
        grep -q "$tab/etc/\(cron\.d/ipcops-$1\|systemd/system/ipcops-$1\.timer\)\$" "$record"
    else
        [ "$1" = cleanup ]
    fi
}

monitored() { # RECORD: whether the job monitor is among what was installed
    grep -q "$tab/etc/\(cron\.d/ipcops-monitor\|systemd/system/ipcops-monitor\.timer\)\$" "$1"
}

old_metrics() { # prints where the job monitor has written until now
    sed -n "s/^metrics$tab//p" "$record"
}

# Metrics that nobody renews would be served, and found too old, for ever. They are ours if the job ran here.
remove_metrics() { # PATH
    [ -f "$root$state/jobs/monitor.json" ] && [ -f "$root$1" ] || return 0
    rm -f "$root$1" || stop 4 "cannot remove $root$1"
    say "removed $root$1, which nothing would renew any more"
}

sum() { # FILE
    sha256sum <"$1" | cut -d ' ' -f 1
}

# What was installed, one line each: checksum as shipped, tab, path without DESTDIR; for a directory that word instead,
# and "metrics" for what the job monitor writes. While an upgrade is under way, what it brings stands there, too,
# after what was there before.
record=$root$lib/installed

# The checksums of the files of the agent as it was unpacked and compiled.
sums=$lib/unpacked.sha256

shipped() { # TARGET: the checksum that it was shipped with, or nothing
    [ ! -f "$record" ] || while IFS=$tab read -r was path; do
        if [ "$path" = "$1" ]; then
            printf '%s\n' "$was"
            break
        fi
    done <"$record"
}

edited() { # TARGET: whether somebody changed it since, or it was there before us
    [ -e "$root$1" ] && ! grep -qsxF "$(sum "$root$1")$tab$1" "$record"
}

# What somebody wrote is not lost with the file.
keep_copy() { # TARGET
    case $1 in
    "$lib"/*) return ;;
    esac
    edited "$1" || return 0
    kept=$root$state/backups/$(basename "$1").$(date +%Y%m%dT%H%M%S)
    make_directory "$state/backups" 700
    cp -p "$root$1" "$kept" || stop 4 "cannot write $kept"
    say "$root$1 was edited; a copy is $kept"
}

# ------------------------------------------------------------------ install and upgrade

# Makes a directory and those above it, and notes those that were not there: in the record, once there is one.
make_directory() { # PATH MODE
    if [ "$1" = / ] || [ -d "$root$1" ]; then
        return
    fi
    make_directory "$(dirname "$1")" 755
    mkdir -m "$2" "$root$1" || stop 4 "cannot make $root$1"
    made="${made}directory$tab$1
"
    if [ -f "$record" ]; then
        printf 'directory\t%s\n' "$1" >>"$record" || stop 4 "cannot write $record"
    fi
}

write_record() { # reads it from standard input
    { cat >"$record.new" && mv -f "$record.new" "$record"; } || stop 4 "cannot write $record"
}

# Whole or not at all, and not at all if nothing would change. A name with a dot first is read by no cron.
put() { # SOURCE TARGET MODE
    to=$root$2
    if [ -f "$to" ] && cmp -s "$1" "$to" && [ "$(stat -c %a "$to")" = "$3" ]; then
        return
    fi
    make_directory "$(dirname "$2")" 755
    draft=$(dirname "$to")/.ipcops-new
    if ! { cp "$1" "$draft" && chmod "$3" "$draft" && mv -f "$draft" "$to"; }; then
        rm -f "$draft"
        stop 4 "cannot write $to; what was written before it stays, run this again"
    fi
    [ -n "$root" ] || ! command -v restorecon >/dev/null || restorecon -F "$to"
    say "wrote $to"
    changed=yes
    is_unit "$2"
}

is_unit() { # PATH: if it is one, systemd has to read its units again
    case $1 in
    /etc/systemd/*) reload=yes ;;
    esac
}

choose_schedule() {
    [ -z "$schedule" ] || return 0
    # As it was chosen before, or by what runs here.
    if [ -f "$record" ]; then
        if grep -q "$tab/etc/systemd/system/.*\.timer\$" "$record"; then
            schedule=systemd
        elif grep -q "$tab/etc/cron\.d/" "$record"; then
            schedule=cron
        else
            schedule=none
        fi
    elif [ -n "$root" ]; then
        stop 2 'with DESTDIR say --cron, --systemd or --no-schedule: what runs there cannot be seen from here'
    elif [ -d /run/systemd/system ]; then
        schedule=systemd
    elif [ -d /etc/cron.d ]; then
        schedule=cron
    else
        stop 2 'neither systemd runs here nor is there /etc/cron.d; install cron, or say --no-schedule'
    fi
}

find_agent() {
    agent=$here/ipcops-agent.pyz
    [ -f "$agent" ] && return
    # In a checkout of the sources it is built first.
    [ -f "$here/../ipcops/bundle/agent.py" ] || stop 2 "ipcops-agent.pyz is missing beside $0; take all of the bundle"
    work=$(mktemp -d) || stop 4 'cannot make a temporary directory'
    trap 'rm -rf "$work"' EXIT
    agent=$work/ipcops-agent.pyz
    (cd "$here/.." && "$python" -B -m ipcops.bundle.agent "$agent") || stop 4 'the agent could not be built'
}

check_bundle() {
    [ -f "$here/MANIFEST" ] || stop 2 "MANIFEST is missing beside $0; take all of the bundle"
    if [ -f "$here/SHA256SUMS" ]; then
        (cd "$here" && sha256sum --quiet --check SHA256SUMS >&2) || stop 2 'the bundle is damaged; nothing was done'
    fi
    # All below it is replaced and removed as ours, so nothing else may lie there.
    if [ ! -f "$record" ]; then
        for path in "$root$lib"/* "$root$lib"/.[!.]*; do
            [ ! -e "$path" ] || [ "$path" = "$record.new" ] ||
                stop 2 "$path is there and is not ours; move it away, or render with another --set lib. Nothing was done"
        done
    fi
    files | while IFS=$tab read -r class mode source target; do
        [ -f "$here/$source" ] || stop 2 "$here/$source is missing; take all of the bundle"
        if [ "$class" = code ] && [ -e "$root$target" ] && [ -z "$(shipped "$target")" ]; then
            stop 2 "$root$target is there and is not ours; move it away. Nothing was done"
        fi
    done || exit 2
}

# The policy that will be in force: the one there, if somebody edited it, else the one of the bundle.
check_policy() {
    ours=$(files | while IFS=$tab read -r class mode source target; do
        [ "$class" != policy ] || printf '%s\n' "$here/$source"
    done)
    effective=$ours
    ! edited "$policy" || effective=$root$policy
    if ! said=$("$python" -I -S "$agent" rules --policy "$effective" 2>&1 >/dev/null); then
        stop 2 "${said#ipcops: }; correct it first. Nothing was done"
    fi
}

# The record comes first, so that a run that is cut off leaves nothing that nobody knows of.
begin_record() {
    make_directory "$lib" 755
    fresh=$({ files; printf 'code\t644\t-\t%s\n' "$lib/ipcops-agent.pyz" "$sums"; } |
        while IFS=$tab read -r class mode source target; do
            [ -n "$(shipped "$target")" ] || printf '%s\t%s\n' '-' "$target"
            [ "$source" = - ] || grep -qsxF "$(sum "$here/$source")$tab$target" "$record" ||
                printf '%s\t%s\n' "$(sum "$here/$source")" "$target"
        done)
    old_metrics 2>/dev/null | grep -qxF "$metrics" || fresh="${fresh:+$fresh
}metrics$tab$metrics"
    if [ -n "$made$fresh" ]; then
        { [ ! -f "$record" ] || cat "$record"; printf '%s%s\n' "$made" "$fresh"; } | write_record || exit 4
    fi
    make_directory "$state" 700
    make_directory "$state/jobs" 700
    make_directory "$log" 700
}

install_files() {
    new_record=$(mktemp) || stop 4 'cannot make a temporary file'
    files >"$new_record.files"
    while IFS=$tab read -r class mode source target; do
        if [ "$class" != code ] && edited "$target" && ! cmp -s "$here/$source" "$root$target"; then
            if [ "$(sum "$here/$source")" != "$(shipped "$target")" ]; then
                put "$here/$source" "$lib/new/$(basename "$target")" 644
                say "kept $root$target, which was edited; the new one lies in $root$lib/new"
            fi
        else
            put "$here/$source" "$target" "$mode"
            rm -f "$root$lib/new/$(basename "$target")"
        fi
        printf '%s\t%s\n' "$(sum "$here/$source")" "$target" >>"$new_record"
    done <"$new_record.files"
    rm -f "$new_record.files"
    rmdir "$root$lib/new" 2>/dev/null
    for path in "$lib/ipcops-agent.pyz" "$sums"; do
        printf '%s\t%s\n' "$(sum "$root$path")" "$path" >>"$new_record"
    done

    # What an older bundle, or the other schedule, had and this one has not.
    while IFS=$tab read -r was path; do
        if [ "$was" != directory ] && [ "$was" != metrics ] && ! grep -qxF "$path" <<LIST
$(cut -f 2 "$new_record")
LIST
        then
            keep_copy "$path"
            stop_timer "$path"
            [ ! -e "$root$path" ] || say "removed $root$path, which is not needed any more"
            rm -f "$root$path"
            changed=yes
            is_unit "$path"
        fi
    done <"$record"
    old_metrics | while IFS= read -r path; do
        if [ "$path" != "$metrics" ] || { monitored "$record" && ! monitored "$new_record"; }; then
            remove_metrics "$path"
        fi
    done || exit 4

    grep "^directory$tab" "$record" | sort -u >>"$new_record"
    printf 'metrics\t%s\n' "$metrics" >>"$new_record"
    cmp -s "$new_record" "$record" || write_record <"$new_record"
    rm -f "$new_record"
}

# Prints what is not as it was unpacked. Python runs what was compiled without a look at the source beside it.
compare_agent() {
    "$python" -I -S "$agent" --compare "$root$lib/agent" || return 4
    (cd "$root$lib/agent" && sha256sum --quiet --check "$root$sums" 2>/dev/null) || {
        say "$root$lib/agent is not as it was installed"
        return 4
    }
}

install_agent() {
    put "$agent" "$lib/ipcops-agent.pyz" 644
    to=$root$lib/agent
    [ -z "$(compare_agent 2>&1)" ] && return
    rm -rf "$to.new" "$to.old"
    "$python" -I -S "$agent" --unpack "$to.new" "$lib/agent" || { rm -rf "$to.new"; exit 4; }
    [ ! -e "$to" ] || mv "$to" "$to.old"
    mv "$to.new" "$to" || stop 4 "cannot put the agent into $to; run this again"
    rm -rf "$to.old"
    (cd "$to" && find . -type f -exec sha256sum {} +) >"$root$sums" || stop 4 "cannot write $root$sums"
    say "wrote $to"
    changed=yes
}

timers() { # prints the names of the timers that are installed
    cut -f 2 "$record" | sed -n 's|^/etc/systemd/system/\(.*\.timer\)$|\1|p'
}

start() {
    [ -z "$root" ] || return 0
    if [ ! -d /run/systemd/system ]; then
        [ "$schedule" != systemd ] || say "systemd does not run here; enable $(timers | tr '\n' ' ')once it does"
        return 0
    fi
    [ -z "$reload" ] || systemctl daemon-reload || stop 4 'systemctl daemon-reload failed'
    for timer in $(timers); do
        systemctl --quiet is-enabled "$timer" 2>/dev/null && systemctl --quiet is-active "$timer" && continue
        systemctl --quiet enable --now "$timer" || stop 4 "$timer could not be started; systemctl status $timer"
        say "started $timer"
    done
}

do_install() {
    find_python || stop 3 "$no_python"
    [ -n "$root" ] || [ "$(id -u)" = 0 ] || stop 2 'only root can install; with DESTDIR anybody can'
    for program in sha256sum cmp flock stat; do
        command -v "$program" >/dev/null || stop 3 "there is no $program here; install coreutils, diffutils and util-linux"
    done
    choose_schedule
    find_agent
    check_bundle
    check_policy
    made='' changed='' reload=''
    [ -z "$root" ] || mkdir -p "$root" || stop 4 "cannot make $root"
    stop_old_schedule
    hold_jobs
    begin_record
    install_agent
    install_files
    release_jobs
    if monitored "$record" && [ ! -d "$root${metrics%/*}" ]; then
        say "$root${metrics%/*} is missing, so the job monitor will fail; node_exporter's package makes it"
    fi
    start
    if [ -z "$changed" ]; then
        say 'everything was there already'
    else
        say "installed with schedule $schedule; the policy is $root$policy"
    fi
}

# The other schedule ends before its files go.
stop_old_schedule() {
    [ -f "$record" ] && [ "$schedule" != systemd ] || return 0
    for timer in $(timers); do
        stop_timer "/etc/systemd/system/$timer"
    done
}

stop_timer() { # PATH of a unit; what is no timer needs no stop
    [ -z "$root" ] || return 0
    case $1 in
    /etc/systemd/system/*.timer) ;;
    *) return 0 ;;
    esac
    timer=${1##*/}
    systemctl --quiet disable --now "$timer" 2>/dev/null && say "stopped $timer"
    rm -f "/var/lib/systemd/timers/stamp-$timer" # when it last ran: Persistent= in systemd.timer(5)
}

# No job may run while the agent under it is replaced or removed: we hold their locks, by descriptors from 4 on.
hold_jobs() {
    descriptor=3
    for held in "$root$state"/jobs/*.lock; do
        [ -e "$held" ] || continue
        descriptor=$((descriptor + 1))
        eval "exec $descriptor>>\"\$held\"" || exit 4
        flock --wait 600 "$descriptor" || stop 4 "a job has been running for 10 min ($held); try again later"
    done
}

release_jobs() {
    while [ "$descriptor" -gt 3 ]; do
        eval "exec $descriptor>&-"
        descriptor=$((descriptor - 1))
    done
}

# ------------------------------------------------------------------ verify

do_verify() {
    [ -f "$record" ] || stop 4 "nothing is installed in ${root:-/} ($record is missing)"
    [ -n "$root" ] || [ "$(id -u)" = 0 ] || stop 2 'only root can see all that is installed'
    find_python || stop 3 "$no_python"
    bad=0
    while IFS=$tab read -r was path; do
        if [ "$was" = metrics ]; then
            :
        elif [ "$was" = directory ]; then
            [ -d "$root$path" ] || { say "$root$path is missing"; bad=1; }
        elif [ ! -f "$root$path" ]; then
            say "$root$path is missing"
            bad=1
        elif [ "$(sum "$root$path")" != "$was" ]; then
            case $path in
            "$lib"/* | /usr/local/sbin/*)
                say "$root$path is not as it was installed"
                bad=1
                ;;
            *) say "$root$path was edited" ;;
            esac
        fi
    done <"$record"
    agent=$root$lib/ipcops-agent.pyz
    [ ! -f "$agent" ] || compare_agent || bad=1
    said=$("$python" -I -S "$root$lib/agent" rules --policy "$root$policy" 2>&1 >/dev/null) || {
        say "${said#ipcops: }"
        bad=1
    }
    if [ -z "$root" ] && [ -d /run/systemd/system ]; then
        for timer in $(timers); do
            systemctl --quiet is-active "$timer" || { say "$timer is not active"; bad=1; }
        done
    fi
    [ "$bad" = 0 ] || stop 4 'not everything is as it was installed; install it again'
    say "everything is as it was installed, for $("$python" -I -S -c 'import sys; print(sys.executable)')"
}

# ------------------------------------------------------------------ uninstall

remove() { # PATTERN: what was installed where it matches
    while IFS=$tab read -r was path; do
        # shellcheck disable=SC2254 # it is a pattern
        case $was$path in
        directory* | metrics*) ;;
        *$1)
            keep_copy "$path"
            # A run that was cut off, of this script or of Ansible's, left drafts.
            rm -f "$root$path" "$(dirname "$root$path")"/.ipcops-new* "$(dirname "$root$path")"/.ipcops-old* || stop 4 "cannot remove $root$path"
            ;;
        esac
    done <"$record"
}

do_uninstall() {
    [ -f "$record" ] || stop 4 "nothing is installed in ${root:-/} ($record is missing)"
    [ -n "$root" ] || [ "$(id -u)" = 0 ] || stop 2 'only root can uninstall'
    schedule=none made=''
    stop_old_schedule
    remove '/etc/cron.d/*' # first, so that nothing starts any more
    hold_jobs
    remove '*'
    old_metrics | while IFS= read -r path; do
        remove_metrics "$path"
    done || exit 4
    directories=$({ sed -n "s/^directory$tab//p" "$record"; printf '%s\n' "$lib" "$state" "$log"; } | sort -ru)
    rm -rf "$root$lib/agent" "$root$lib/agent.new" "$root$lib/agent.old" "$root$lib/new"
    # By name: others may have files where logs and states of these jobs were told to lie.
    for job in cleanup monitor health; do
        rm -f "$root$log/$job.log" "$root$log/$job.log"[.-]*
        for kind in json txt lock json.new txt.new; do
            rm -f "$root$state/jobs/$job.$kind"
        done
    done
    rmdir "$root$state/jobs" 2>/dev/null
    for name in sightings.json announced.json clock.json lock; do
        rm -f "$root$state/$name"
    done
    rmdir "$root$state/backups" 2>/dev/null # if there are none
    [ -s "$root$state/journal.jsonl" ] || rm -f "$root$state/journal.jsonl"
    rm -f "$record" "$record.new"
    printf '%s\n' "$directories" | while IFS= read -r path; do
        [ -z "$path" ] || rmdir "$root$path" 2>/dev/null
    done
    [ -n "$root" ] || [ ! -d /run/systemd/system ] || systemctl daemon-reload
    if [ -d "$root$state" ]; then
        say "removed; the journal and the backups stay in $root$state"
    else
        say 'removed; there was no journal and no backup'
    fi
}

# ------------------------------------------------------------------

schedule='' action=install jobs=''
for word in "$@"; do
    case $word in
    --cron) schedule=cron ;;
    --systemd) schedule=systemd ;;
    --no-schedule) schedule=none ;;
    --cleanup | --monitor | --health | --no-cleanup | --no-monitor | --no-health)
        case $word in
        --no-*) other=${word#--no-} ;;
        *) other=no-${word#--} ;;
        esac
        case " $jobs " in
        *" $other "*) stop 2 "--$other and $word contradict each other; nothing was done" ;;
        esac
        jobs="$jobs ${word#--}"
        ;;
    --verify) action=verify ;;
    --uninstall) action=uninstall ;;
    *) usage ;;
    esac
done
[ "$action" = install ] || [ -z "$schedule$jobs" ] || usage
"do_$action"
