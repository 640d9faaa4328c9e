"""Unix sockets of privileged programs that every user is meant to reach: no finding.

``name`` is a glob of the path, or of the abstract name after its ``@``; ``why`` says what guards
the program behind it. A path that is not here may be just as harmless, only nobody has looked.
Docker's, containerd's and CRI-O's are missing on purpose: whoever reaches one is root.
"""

from __future__ import annotations

import fnmatch
from typing import Optional, Tuple

from ..tuples import NamedTuple


class Public(NamedTuple):
    """A socket open to all on purpose, why that is right, and where it is said."""

    name: str
    why: str
    source: str


_LOG = "everybody may log, and the journal notes who did"
_VARLINK = "each call is allowed or refused by who makes it (polkit)"
_POLKIT = "what changes anything is allowed by polkit"
_LOOKUP = "it answers what every user may ask"
_PEER = "it asks the kernel who connects and serves root alone"

PUBLIC: Tuple[Public, ...] = (
    Public("/run/systemd/journal/socket", _LOG, "systemd, units/systemd-journald.socket (SocketMode=0666)"),
    Public("/run/systemd/journal/stdout", _LOG, "systemd, units/systemd-journald.socket (SocketMode=0666)"),
    Public("/run/systemd/journal/dev-log", _LOG, "systemd, units/systemd-journald-dev-log.socket (SocketMode=0666)"),
    Public("/run/systemd/journal/syslog", _LOG, "systemd, units/syslog.socket (SocketMode=0666)"),
    Public("/run/systemd/journal.*/socket", _LOG, "systemd, units/systemd-journald@.socket (SocketMode=0666)"),
    Public("/run/systemd/journal.*/stdout", _LOG, "systemd, units/systemd-journald@.socket (SocketMode=0666)"),
    Public("/run/systemd/journal.*/dev-log", _LOG, "systemd, units/systemd-journald@.socket (SocketMode=0666)"),
    Public("/dev/log", _LOG, "syslog(3)"),
    Public(
        "/run/systemd/notify",
        "services tell the service manager that they are ready; it looks at who sends",
        "sd_notify(3), systemd, src/core/manager.c (manager_setup_notify)",
    ),
    Public("/run/systemd/userdb/*", _LOOKUP, "systemd, units/systemd-userdbd.socket (SocketMode=0666)"),
    Public(
        "/run/systemd/io.systemd.*",
        _VARLINK,
        "systemd, units/systemd-hostnamed.socket, systemd-creds.socket, systemd-mountfsd.socket (SocketMode=0666)",
    ),
    Public(
        "/run/systemd/*/io.systemd.*",
        _VARLINK,
        "systemd, units/systemd-machined.socket, systemd-networkd-varlink.socket (SocketMode=0666)",
    ),
    Public("/run/dbus/system_bus_socket", "the bus has a policy of its own", "dbus-daemon(1), bus/dbus.socket"),
    Public("/run/nscd/socket", _LOOKUP, "glibc, nscd/connections.c (chmod to 0666)"),
    Public("/var/lib/sss/pipes/nss", _LOOKUP, "SSSD, src/sysv/systemd/sssd-nss.socket.in"),
    Public("/var/lib/sss/pipes/autofs", _LOOKUP, "SSSD, src/sysv/systemd/sssd-autofs.socket.in"),
    Public("/var/lib/sss/pipes/sudo", _LOOKUP, "SSSD, src/sysv/systemd/sssd-sudo.socket.in"),
    Public("/var/lib/sss/pipes/ssh", _LOOKUP, "SSSD, src/sysv/systemd/sssd-ssh.socket.in"),
    Public("/var/lib/sss/pipes/pac", _LOOKUP, "SSSD, src/sysv/systemd/sssd-pac.socket.in"),
    Public(
        "/var/lib/sss/pipes/pam",
        "it checks passwords for every program; what is for root alone has a socket of its own",
        "SSSD, src/sysv/systemd/sssd-pam.socket.in, sssd-pam-priv.socket.in",
    ),
    Public(
        "/run/samba/winbindd/pipe",
        "it answers what every user may ask; what is for root alone has a socket of its own",
        "winbindd(8)",
    ),
    Public("/run/rpcbind.sock", "it tells which RPC programs run", "rpcbind, systemd/rpcbind.socket"),
    Public("@/run/rpcbind.sock", "it tells which RPC programs run", "rpcbind, systemd/rpcbind.socket.in"),
    Public("/run/uuidd/request", "it hands out UUIDs", "util-linux, misc-utils/uuidd.socket.in"),
    Public("/run/acpid.socket", "it tells of ACPI events", "acpid(8)"),
    Public("/run/avahi-daemon/socket", _LOOKUP, "Avahi, avahi-daemon/avahi-daemon.socket.in"),
    Public("/run/cups/cups.sock", "cupsd.conf says who may do what", "CUPS, scheduler/cups.socket.in, cupsd.conf(5)"),
    Public("/run/snapd*.socket", _POLKIT, "snapd, data/systemd/snapd.socket (SocketMode=0666)"),
    Public("/run/libvirt/libvirt-sock", _POLKIT, "libvirt, src/remote/libvirtd.socket.in, polkit by default"),
    Public("/run/libvirt/libvirt-sock-ro", "it changes nothing", "libvirt, src/remote/libvirtd-ro.socket.in"),
    Public("/run/libvirt/virt*d-sock", _POLKIT, "libvirt, src/remote/libvirtd.socket.in, polkit by default"),
    Public("/run/libvirt/virt*d-sock-ro", "it changes nothing", "libvirt, src/remote/libvirtd-ro.socket.in"),
    Public(
        "/var/lib/gssproxy/default.sock",
        "its configuration says which user gets which credentials",
        "gssproxy, src/gp_socket.c (umask 0111), gssproxy.conf(5)",
    ),
    Public("/run/gssproxy*.sock", "its configuration says which user gets which credentials", "gssproxy.conf(5)"),
    Public("/run/abrt/abrt.socket", "every program reports its crashes there", "ABRT, doc: socket API"),
    Public(
        "/run/spice-vdagentd/spice-vdagent-sock",
        "it serves the agent of the active session",
        "spice-vdagent, data/spice-vdagentd.socket",
    ),
    Public("/run/dovecot/auth-userdb", "root and the user asked about alone get an answer",
           "Dovecot, src/auth/auth-settings.c (mode 0666)"),
    Public("/run/dovecot/auth-token", "it checks tokens", "Dovecot, src/auth/auth-settings.c (mode 0666)"),
    Public("/run/dovecot/dns-client", _LOOKUP, "Dovecot, src/dns/dns-client-settings.c (mode 0666)"),
    Public("/run/dovecot/indexer", "it indexes mail", "Dovecot, src/indexer/indexer-settings.c (mode 0666)"),
    Public("/run/dovecot/imap-urlauth", "it asks for a login",
           "Dovecot, src/imap-urlauth-login/imap-urlauth-login-settings.c (mode 0666)"),
    Public("/run/dovecot/lmtp", "it takes mail", "Dovecot, src/lmtp/lmtp-settings.c (mode 0666)"),
    Public("/tmp/.X11-unix/X*", "the X server asks for a cookie", "Xsecurity(7)"),
    Public("@/tmp/.X11-unix/X*", "the X server asks for a cookie", "Xsecurity(7)"),
    Public("@/tmp/dbus-*", "the bus lets in its own user alone", "dbus-daemon(1), EXTERNAL authentication"),
    Public("@ISCSIADM_ABSTRACT_NAMESPACE", _PEER, "open-iscsi, usr/mgmt_ipc.c (SO_PEERCRED)"),
    Public("@ISCSID_UIP_ABSTRACT_NAMESPACE", _PEER, "open-iscsi, iscsiuio/src/unix/iscsid_ipc.c (SO_PEERCRED)"),
    Public(
        "@/org/kernel/linux/storage/multipathd",
        "it asks the kernel who connects; all but root may only list",
        "multipath-tools, multipathd/uxlsnr.c (SO_PEERCRED)",
    ),
    Public("@/org/freedesktop/plymouthd", _PEER, "Plymouth, src/main.c (ply_boot_connection_is_from_root)"),
    Public("@irqbalance*.sock", _PEER, "irqbalance, irqbalance.c (SCM_CREDENTIALS)"),
)  # fmt: skip


def why_public(path: str) -> Optional[str]:
    """Return why everybody may reach a socket, if that is known."""
    name = path[len("/var") :] if path.startswith("/var/run/") else path
    return next((one.why for one in PUBLIC if fnmatch.fnmatchcase(name, one.name)), None)
