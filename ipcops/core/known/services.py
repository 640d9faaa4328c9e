"""Network services: which of them usually speak in clear, and how long a queue they ask for.

Programs go by the name that /proc/PID/comm has, 15 characters at most.
"""

from __future__ import annotations

from typing import FrozenSet, Iterable, Optional, Tuple

from ..tuples import NamedTuple

# ---------------------------------------------------------------- who speaks in clear


class Service(NamedTuple):
    """A service that is usually not encrypted: its ports and programs, why that matters, a source.

    ``elsewhere``: its programs listen for nothing but this service, so another port is likely just
    another number for it.
    """

    name: str
    protocols: Tuple[str, ...]
    ports: Tuple[int, ...]
    programs: Tuple[str, ...]
    why: str
    source: str
    elsewhere: bool = False


_CLIENTS = "everybody on the way reads and changes what its clients say"

SERVICES: Tuple[Service, ...] = (
    Service(
        "Redis or Valkey", ("tcp",), (6379, 16379), ("redis-server", "valkey-server"), _CLIENTS,
        "redis.conf, valkey.conf (TLS is off by default)", elsewhere=True,
    ),
    Service(
        "memcached", ("tcp", "udp"), (11211,), ("memcached",), "it has no passwords by default",
        "memcached.c (settings_init: listens everywhere, ssl_enabled off)", elsewhere=True,
    ),
    Service(
        "rpcbind", ("tcp", "udp"), (111,), ("rpcbind", "portmap"),
        "it tells everybody which RPC programs run, and its UDP answers serve to flood others",
        "RFC 1833, rpcbind, systemd/rpcbind.socket (0.0.0.0:111)",
    ),
    Service(
        "epmd", ("tcp",), (4369,), ("epmd",), "it tells everybody which Erlang nodes run, and where",
        "Erlang/OTP, erts/doc/src/epmd_cmd.xml (Access Restrictions)", elsewhere=True,
    ),
    Service(
        "MongoDB", ("tcp",), (27017, 27018, 27019), ("mongod", "mongos"), _CLIENTS,
        "MongoDB manual, net.tls.mode (disabled by default)", elsewhere=True,
    ),
    Service(
        "ZooKeeper", ("tcp",), (2181,), (), _CLIENTS,
        "ZooKeeper Administrator's Guide (clientPort; TLS has secureClientPort)",
    ),
    Service(
        "rsync", ("tcp",), (873,), ("rsync",), _CLIENTS,
        "rsyncd.conf(5) (the daemon's protocol has no encryption)",
    ),
    Service(
        "TFTP", ("udp",), (69,), ("in.tftpd", "atftpd", "tftpd"), "it asks nobody who they are", "RFC 1350",
    ),
    Service(
        "NFS", ("tcp", "udp"), (2049,), ("nfsd", "ganesha.nfsd"), _CLIENTS,
        "exports(5) (sec=sys is the default, krb5p encrypts)",
    ),
    Service(
        "Telnet", ("tcp",), (23,), ("in.telnetd", "telnetd"), "passwords go over the network in clear", "RFC 854",
    ),
    Service(
        "Docker's API", ("tcp",), (2375,), ("dockerd",), "whoever reaches it is root on this host",
        "dockerd reference (2375 without encryption or passwords, 2376 with TLS)",
    ),
    Service(
        "MQTT", ("tcp",), (1883,), ("mosquitto",), _CLIENTS,
        "OASIS MQTT 3.1.1, section 4.2 (1883 without TLS, 8883 with TLS)",
    ),
)  # fmt: skip

ENCRYPTING: FrozenSet[str] = frozenset(("stunnel", "stunnel4", "ghostunnel"))
"""Programs that put TLS before another service's port (stunnel(8), ghostunnel's README)."""


class Match(NamedTuple):
    """A service that a socket is likely to be of, and whether port and program both say so."""

    service: Service
    sure: bool


def usually_clear(protocol: str, port: int, programs: Iterable[str]) -> Optional[Match]:
    """Return the usually unencrypted service that a port and the programs behind it show."""
    names = frozenset(programs)
    if names and names <= ENCRYPTING:
        return None
    for service in SERVICES:
        if protocol in service.protocols:
            usual, known = port in service.ports, not names.isdisjoint(service.programs)
            if usual or (known and service.elsewhere):
                return Match(service, usual and known)
    return None


# ---------------------------------------------------------------- how long a queue they ask for


class Backlog(NamedTuple):
    """Programs and the backlog that they ask of listen(2) unless configured otherwise, with a source."""

    programs: Tuple[str, ...]
    asks: int
    source: str


BACKLOGS: Tuple[Backlog, ...] = (
    Backlog(("httpd", "apache2"), 511, "Apache httpd, include/mpm_common.h (DEFAULT_LISTENBACKLOG)"),
    Backlog(("nginx",), 511, "nginx, src/os/unix/ngx_linux_config.h (NGX_LISTEN_BACKLOG)"),
    Backlog(("redis-server",), 511, "redis.conf (tcp-backlog)"),
    Backlog(("valkey-server",), 511, "valkey.conf (tcp-backlog)"),
    Backlog(("memcached",), 1024, "memcached.c (settings.backlog)"),
    Backlog(("node",), 511, "Node.js, net: server.listen()"),
    Backlog(("postgres",), 200, "PostgreSQL, src/backend/libpq/pqcomm.c (twice max_connections, 100 by default)"),
    Backlog(
        ("hdbindexserver", "hdbnameserver"), 4096,
        "SAP Note 2382421 (SAP HANA needs somaxconn of at least 4096 for its tcp_backlog)",
    ),
)  # fmt: skip


def asked_backlog(programs: Iterable[str]) -> Optional[Backlog]:
    """Return what one of the programs is known to ask for; the longest queue, where several are."""
    names = frozenset(programs)
    found = [one for one in BACKLOGS if not names.isdisjoint(one.programs)]
    return max(found, key=lambda one: one.asks) if found else None
