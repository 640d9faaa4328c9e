#!/bin/sh
# Runs a target of the Makefile (./do audit, ./do test) on a machine that may lack even make.
# As root on Debian it first installs what is missing; elsewhere it says what to install.
#
# The Makefile uses it too, so that what is known of machines stands in one place:
#   ./do --need COMMAND:PACKAGE…   see that the commands (or files) exist, or install their packages
#   ./do --venv DIR                make DIR a virtual environment of Python 3.11 or newer
#   ./do --python MINOR [MODULE]   print a Python 3.MINOR or newer that has MODULE
#   ./do --python39                print a Python that is 3.9 exactly and can make virtual environments
set -eu
cd "$(dirname "$0")"

say() {
    echo "ipcops: $*" >&2
}

can_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null
}

apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@" </dev/null >/dev/null
}

install_packages() {
    can_install || return 1
    say "installing $* with apt-get"
    # The lists may be missing (a new container) or too old: only then are they fetched.
    apt install --yes --no-install-recommends "$@" 2>/dev/null && return
    apt update && apt install --yes --no-install-recommends "$@"
}

# Debian creates and starts a server when a PostgreSQL package is installed. The tests run one of
# their own in a temporary directory, so for this one installation that is switched off.
install_postgresql() (
    settings=/etc/postgresql-common/createcluster.conf
    install_packages postgresql-common || return 1
    before=$(mktemp) || return 1
    cp -p "$settings" "$before"
    trap 'cp -p "$before" "$settings"; rm -f "$before"' EXIT
    trap 'exit 1' HUP INT TERM
    echo 'create_main_cluster = false' >>"$settings"
    install_packages postgresql
)

# So does Debian with other servers. policy-rc.d(8) forbids it for one installation, and the next boot
# is told to leave them alone.
install_unstarted() (
    policy=/usr/sbin/policy-rc.d
    before=$(mktemp -d) || return 1
    [ ! -e "$policy" ] || mv "$policy" "$before/" || return 1
    trap 'rm -f "$policy"; [ ! -e "$before/policy-rc.d" ] || mv "$before/policy-rc.d" "$policy"; rmdir "$before"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" || return 1
    install_packages "$@" || return 1
    for server in "$@"; do
        update-rc.d "$server" disable >/dev/null 2>&1 || say "disable $server if it must not start at the next boot"
    done
)

exists() {
    case $1 in
    /*) for file in $1; do [ -e "$file" ] && return; done; return 1 ;; # a path, perhaps with "*"
    *) command -v "$1" >/dev/null ;;
    esac
}

need() {
    packages='' servers='' missing='' failed=0
    for pair in "$@"; do
        exists "${pair%%:*}" && continue
        case ${pair#*:} in
        postgresql) can_install && install_postgresql || missing="$missing postgresql" ;;
        prometheus* | nagios-nrpe-server) servers="$servers ${pair#*:}" ;;
        *) packages="$packages ${pair#*:}" ;;
        esac
    done
    # Unquoted on purpose: one word per package.
    if [ -n "$servers" ] && ! { can_install && install_unstarted $servers; }; then
        missing="$missing$servers"
    fi
    if [ -n "$packages" ] && ! install_packages $packages; then
        missing="$missing$packages"
    fi
    if [ -n "$missing" ]; then
        say "not installed:$missing"
        return 1
    fi
}

# A version manager's "python3.12" may exist and fail, so every candidate has to run.
python() { # MINOR [MODULE]
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 /usr/bin/python3; do
        if "$candidate" -c "import sys, ${2:-sys}; sys.exit(sys.version_info < (3, $1))" 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

python39() {
    for candidate in python3.9 "$HOME"/.pyenv/versions/3.9*/bin/python3.9 /usr/bin/python3; do
        if "$candidate" -c 'import sys, ensurepip; sys.exit(sys.version_info[:2] != (3, 9))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

venv() {
    python=$(python 11 ensurepip) || {
        need python3:python3 /etc/ssl/certs/ca-certificates.crt:ca-certificates || :
        install_packages python3-venv || :
        python=$(python 11 ensurepip)
    } || {
        say "no Python 3.11 or newer with the module 'venv' (Debian: apt install python3-venv)"
        return 1
    }
    "$python" -m venv --clear "$1"
}

case ${1-} in
--need) shift; need "$@" ;;
--venv) venv "$2" ;;
--python) shift; python "$@" ;;
--python39) python39 ;;
*)
    if exists make || need make:make python3:python3; then
        exec make "$@"
    fi
    if [ "${1-}" = audit ] && python3=$(python 9); then
        say "make is missing; auditing with $python3 alone"
        exec "$python3" -m ipcops.core audit --fail-on none
    fi
    say "install make and Python (Debian: apt install make python3-venv), then run ./do ${1-} again"
    exit 1
    ;;
esac
