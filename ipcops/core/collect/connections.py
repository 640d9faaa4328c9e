"""Both ends of Unix and network sockets: which are connected, and to which socket.

An accepted Unix connection bears the name and the file of its listener, and is in the network
namespace of its client (unix_stream_connect of net/unix/af_unix.c): one that came by a file may
be in any, one that came by an abstract name is where its listener is. A datagram socket does not
know who is connected to it, but they do. The ends of a network connection are the sockets whose
addresses are each other's, reversed. Of two listeners one after the other with one abstract name,
or at one address, nothing tells which of them accepted a connection.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import Any, Dict, FrozenSet, Iterable, List, Mapping, Optional, Sequence, Tuple

from ..fs import Directory
from ..kernel import Kernel
from ..model import Connection, Gap, Table
from ..tuples import NamedTuple
from .sockets import Files, Unix, ask, attributes, inet_questions, parse_unix_diag, understood, unix_question

# include/uapi/linux/unix_diag.h
_ICONS, _SHOW_ICONS = 3, 8
_UNIX_ANSWER = struct.Struct("=4xI8x")  # inode, cookie
# include/uapi/linux/inet_diag.h: family, state, ports, addresses, queues, uid, inode
_INET_ANSWER = struct.Struct("=BB2x2s2s16s16s16xIIII")
_FAMILIES = {2: 4, 10: 6}
# include/net/tcp_states.h, all that has a peer and may still have a process
_STATES = {
    1: "established",
    2: "syn-sent",
    4: "fin-wait-1",
    5: "fin-wait-2",
    8: "close-wait",
    9: "last-ack",
    11: "closing",
}
_MASKS = {"tcp": sum(1 << state for state in _STATES), "udp": 1 << 1}
_WILDCARDS = {4: "0.0.0.0", 6: "::"}  # noqa: S104  # looked for, not bound to

CONNECTED = "established"
"""Also the state of a datagram socket with a peer, which older kernels call unconnected."""
WAITING = "waiting"
"""The state of a connection that its listener has not accepted."""
_NOT_ACCEPTED = "not accepted yet"
_CLOSED = "closed"

Address = Tuple[str, int]
Asked = FrozenSet[str]
"""Inodes and names of sockets that are to be rows, whatever they are."""


class Link(NamedTuple):
    """A TCP or UDP socket that has a peer; one without an inode is not accepted yet, or closed."""

    inode: int
    protocol: str
    family: int
    local: Address
    remote: Address
    state: str
    uid: int
    rqueue: int
    wqueue: int


class Connected(NamedTuple):
    """The sockets of one network namespace that are an end of a connection, or can get one."""

    namespace: int
    unix: Sequence[Unix]
    """All, with a name or without."""
    waiting: Mapping[int, Tuple[int, ...]]
    """Inode of a Unix listener to those of the clients in its queue, 0 for one that has left."""
    links: Sequence[Link]
    gaps: List[Gap]


# ---------------------------------------------------------------- what the kernel answers


def parse_waiting(payload: bytes) -> Tuple[int, Optional[Tuple[int, ...]]]:
    """Return the inode of a Unix socket and those of its clients to be accepted; ``None`` if it does not listen.

    Raise ValueError.
    """
    if len(payload) < _UNIX_ANSWER.size:
        raise ValueError("an answer of %d bytes about a Unix socket" % len(payload))
    (inode,) = _UNIX_ANSWER.unpack_from(payload)
    try:
        for name, start, end in attributes(payload, _UNIX_ANSWER.size):
            if name == _ICONS:
                return inode, struct.unpack("=%dI" % ((end - start) // 4), payload[start:end])
    except struct.error as error:
        raise ValueError("an attribute of a Unix socket of another size: %s" % error) from error
    return inode, None


def parse_link(payload: bytes, protocol: str) -> Link:
    """Return the socket with a peer that a ``struct inet_diag_msg`` tells of. Raise ValueError."""
    from _socket import inet_ntop

    if len(payload) < _INET_ANSWER.size:
        raise ValueError("an answer of %d bytes about a network socket" % len(payload))
    family, state, port, peer_port, address, peer, *numbers = _INET_ANSWER.unpack_from(payload)
    if family not in _FAMILIES or state not in _STATES:
        raise ValueError("a network socket of family %d and state %d" % (family, state))
    rqueue, wqueue, uid, inode = numbers
    size = 16 if _FAMILIES[family] == 6 else 4
    return Link(
        inode=inode,
        protocol=protocol,
        family=_FAMILIES[family],
        local=(inet_ntop(family, address[:size]), int.from_bytes(port, "big")),
        remote=(inet_ntop(family, peer[:size]), int.from_bytes(peer_port, "big")),
        state=_STATES[state],
        uid=uid,
        rqueue=rqueue,
        wqueue=wqueue,
    )


# ---------------------------------------------------------------- reading


def read_connected(kernel: Kernel, proc: Directory, namespace: int, kinds: Sequence[str]) -> Connected:
    """Return what is connected in the network namespace that the caller is in, which is *namespace*.

    *kinds*: which of ``unix`` and ``inet`` are wanted.
    """
    gaps: List[Gap] = []
    unix: List[Unix] = []
    links: List[Link] = []
    waiting: Dict[int, Tuple[int, ...]] = {}
    if "unix" in kinds:
        question = unix_question(namespace)
        unix = understood(ask(kernel, proc, question, gaps) or (), parse_unix_diag, question, gaps)
        if any(one.state == "listen" and one.rqueue for one in unix):
            # A question of its own: with some 1,000 clients an answer finds no room, and the list ends there.
            question = unix_question(namespace, _SHOW_ICONS)
            told = understood(ask(kernel, proc, question, gaps) or (), parse_waiting, question, gaps)
            waiting = {inode: clients for inode, clients in told if clients is not None}
    if "inet" in kinds:
        for protocol, question in inet_questions(namespace, _MASKS):
            answers = ask(kernel, proc, question, gaps) or ()
            links += understood(answers, partial(parse_link, protocol=protocol), question, gaps)
    return Connected(namespace, unix, waiting, links, gaps)


# ---------------------------------------------------------------- Unix sockets


class UnixEnds:
    """The Unix sockets of all network namespaces that were looked into, by what connects them."""

    def __init__(self, everywhere: Iterable[Connected]) -> None:
        self.known: Dict[int, Unix] = {}
        self.networks: Dict[int, int] = {}
        self.accepted: Dict[Any, List[Unix]] = {}
        self.senders: Dict[int, List[Unix]] = {}
        self.clients: Dict[int, Tuple[int, ...]] = {}
        self.listeners: Dict[int, int] = {}
        for space in everywhere:
            for one in space.unix:
                self.known[one.inode] = one
                self.networks[one.inode] = space.namespace
                if one.type == "dgram":
                    if one.peer:
                        self.senders.setdefault(one.peer, []).append(one)
                elif one.state == "established" and one.path is not None:
                    self.accepted.setdefault(self._name(one), []).append(one)
            self.clients.update(space.waiting)
            for listener, clients in space.waiting.items():
                self.listeners.update(dict.fromkeys(clients, listener))

    def _name(self, one: Unix) -> Tuple[Any, ...]:
        """Return what a listener has in common with what it accepts, and with nothing else."""
        if one.dev is not None:
            return one.dev, one.ino
        return self.networks[one.inode], one.type, one.path

    def of(self, inode: int, name: Optional[str]) -> Tuple[Connection, ...]:
        """Return the connections of a socket that is called *name*."""
        one = self.known.get(inode)
        if one is None:  # it is closed since
            return ()
        if one.state == "listen":
            accepted = [self._end(other, name) for other in self.accepted.get(self._name(one), ())]
            return (*accepted, *self._waiting(one, name))
        if one.type != "dgram":
            return (self._end(one, one.path),) if one.state == "established" else ()
        found = [self._end(one, name)] if one.peer is not None else []
        found += [
            Connection(inode, other.inode, name, other.path, CONNECTED)
            for other in self.senders.get(inode, ())
            if other.inode != one.peer
        ]
        return tuple(found)

    def through(self, accepted: Iterable[Unix], name: Optional[str]) -> Tuple[Connection, ...]:
        """Return connections whose listener is closed."""
        return tuple(self._end(one, name) for one in accepted)

    def _end(self, one: Unix, name: Optional[str]) -> Connection:
        """Return a connected socket with its peer, whose inode is 0 as long as, and as soon as, nobody has it."""
        if one.peer:
            peer = self.known.get(one.peer)
            return Connection(one.inode, one.peer, name, peer.path if peer is not None else None, CONNECTED)
        listener = self.known.get(self.listeners.get(one.inode, 0))
        if listener is None:
            return Connection(one.inode, None, name, None, CONNECTED, peer_note=_CLOSED)
        note = "%s by unix:%d" % (_NOT_ACCEPTED, listener.inode)
        return Connection(one.inode, None, name, listener.path, WAITING, peer_note=note)

    def _waiting(self, one: Unix, name: Optional[str]) -> List[Connection]:
        clients = self.clients.get(one.inode)
        if clients is None:
            if not one.rqueue:
                return []
            note = "%d wait, more than the kernel has room to tell" % one.rqueue
            return [Connection(None, None, name, None, WAITING, _NOT_ACCEPTED, note)]
        found = []
        for inode in clients:
            client = self.known.get(inode)
            path = client.path if client is not None else None
            found.append(
                Connection(None, inode or None, name, path, WAITING, _NOT_ACCEPTED, None if inode else _CLOSED)
            )
        return found


def connect_unix(table: Table, own: Sequence[Connected], ends: UnixEnds, asked: Asked) -> Table:
    """Return the table of one place with the columns ``connections`` and ``network``, and with what is *asked* for.

    *own* is where a socket must be to become a row. A name that only connections are left of becomes one without
    ``id``, as a file does. ``network`` is the network namespace of the row's socket: the one bound to a file of this
    place may be in another.
    """
    ids, names = set(table["id"]), set(table["path"])
    rows: List[Dict[str, Any]] = []
    through: Dict[int, List[Unix]] = {}  # row of a name without a socket to the connections that bear it
    left: Dict[str, List[Unix]] = {}
    for space in own:
        for one in space.unix:
            if str(one.inode) in asked and one.inode not in ids:
                rows.append(_row(one))
            path = one.path
            here = path is not None and (space.namespace == table.namespace or not path.startswith("@"))
            if here and path in asked and path not in names and not one.answers:
                left.setdefault(path, []).append(one)
    for path, some in left.items():
        through[len(table) + len(rows)] = some
        rows.append({"path": path, "type": some[0].type, "state": some[0].state, "inexact": False})
    wider = _with_rows(table, rows)
    unbound = [row for row, inode in enumerate(table["id"]) if inode is None]
    files = Files(Table("unix", {name: table.pick(name, unbound) for name in table.columns}))
    for one in (one for some in ends.accepted.values() for one in some) if unbound else ():
        for at in files.of(one):
            through.setdefault(unbound[at], []).append(one)
    columns = list(zip(wider["id"], wider["path"]))
    return _with_columns(
        wider,
        connections=[
            ends.of(inode, path) if inode is not None else ends.through(through.get(row, ()), path)
            for row, (inode, path) in enumerate(columns)
        ],
        network=[ends.networks.get(inode, table.namespace) for inode, _ in columns],
    )


def _row(one: Unix) -> Dict[str, Any]:
    path = one.path if one.answers else None  # else it is its listener's
    return {
        "id": one.inode, "path": path, "uid": one.uid, "type": one.type, "state": one.state, "rqueue": one.rqueue,
        "wqueue": one.wqueue, "inexact": False,
    }  # fmt: skip


# ---------------------------------------------------------------- network sockets


def connect_inet(table: Table, own: Connected, asked: Asked) -> Table:
    """Return the table of one network namespace with the column ``connections``, and with what is *asked* for."""
    ends = _InetEnds(table, own.links)
    links = [one for one in own.links if one.inode and str(one.inode) in asked]
    rows = [
        {
            "id": one.inode, "path": "%s:%s-%s" % (one.protocol, _text(one.local), _text(one.remote)),
            "protocol": one.protocol, "address": one.local[0], "port": one.local[1], "uid": one.uid,
            "state": one.state, "rqueue": one.rqueue, "wqueue": one.wqueue,
        }
        for one in links
    ]  # fmt: skip
    wider = _with_rows(table, rows)
    return _with_columns(wider, connections=[*map(tuple, ends.heard), *((ends.of(one),) for one in links)])


class _InetEnds:
    """The sockets of one network namespace, by their addresses."""

    def __init__(self, table: Table, links: Sequence[Link]) -> None:
        self.table = table
        self.bound: Dict[Tuple[str, int, str, int], List[int]] = {}
        for row, key in enumerate(zip(table["protocol"], table["address"], table["port"])):
            protocol, address, port = key
            self.bound.setdefault((protocol, 6 if ":" in address else 4, address, port), []).append(row)
        self.links = {(one.protocol, _plain(one.local), _plain(one.remote)): one for one in links}
        self.heard: List[List[Connection]] = [[] for _ in range(len(table))]
        for one in links:
            if one.protocol == "tcp":
                for row in self._at("tcp", one.family, one.local):
                    self.heard[row].append(self.of(one))
            elif self._peer(one) is None:
                for row in self._answering(one):
                    here, note = _text((table["address"][row], table["port"][row])), None if one.inode else _CLOSED
                    ends = (table["id"][row], one.inode or None, here, _text(one.local))
                    self.heard[row].append(Connection(*ends, one.state, peer_note=note))

    def _at(self, protocol: str, family: int, end: Address) -> Sequence[int]:
        """Return the rows of what is bound to an address, or else to all of its family."""
        address, port = end
        exact, wide = ((protocol, family, one, port) for one in (address, _WILDCARDS[family]))
        return self.bound.get(exact) or self.bound.get(wide, [])

    def _answering(self, one: Link) -> Sequence[int]:
        """Return the rows of the UDP sockets without a peer that get what a socket of this host sends."""
        address, port = _plain(one.remote)
        if not _stays_here(one):
            return ()
        family = 6 if ":" in address else 4
        return self._at("udp", family, (address, port)) or self._at("udp", 6, ("::", port))

    def _peer(self, one: Link) -> Optional[Link]:
        return self.links.get((one.protocol, _plain(one.remote), _plain(one.local)))

    def of(self, one: Link) -> Connection:
        """Return a socket with its peer."""
        state, note = (one.state, None) if one.inode else _unheld(one)
        peer, peer_note = None, None
        other = self._peer(one)
        rows = self._answering(one) if other is None and one.protocol == "udp" else ()
        if other is not None:
            peer, peer_note = other.inode or None, None if other.inode else _unheld(other)[1]
        elif len(rows) == 1:
            peer = self.table["id"][rows[0]]
        elif rows:
            peer_note = "one of %d sockets with that address" % len(rows)
        elif _stays_here(one):
            peer_note = _CLOSED
        else:
            peer_note = "on another host or in another network namespace"
        return Connection(one.inode or None, peer, _text(one.local), _text(one.remote), state, note, peer_note)


def _unheld(one: Link) -> Tuple[str, str]:
    """Return state and reason of a connection that no process has: its listener's queue holds only open ones."""
    return (WAITING, _NOT_ACCEPTED) if one.state in ("established", "close-wait") else (one.state, _CLOSED)


def _plain(end: Address) -> Address:
    """Return an address with IPv4 inside IPv6 as IPv4: an IPv6 socket may be connected to one of IPv4."""
    address, port = end
    return (address[7:] if address.startswith("::ffff:") and "." in address else address), port


def _stays_here(one: Link) -> bool:
    """Whether the peer's address is the loopback's, or that which the kernel takes to reach itself."""
    address = _plain(one.remote)[0]
    return address.startswith("127.") or address in ("::1", _plain(one.local)[0])


def _text(end: Address) -> str:
    return ("[%s]:%d" if ":" in end[0] else "%s:%d") % end


# ---------------------------------------------------------------- tables


def _with_rows(table: Table, rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = {name: [*column, *(row.get(name) for row in rows)] for name, column in table.columns.items()}
    return Table(table.kind, columns, table.namespace)


def _with_columns(table: Table, **more: Sequence[Any]) -> Table:
    return Table(table.kind, {**table.columns, **more}, table.namespace)
