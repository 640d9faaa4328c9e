"""Unix sockets and listening network sockets of one network namespace, by sock_diag(7).

/proc/net/unix has the same sockets, but not the file that each is bound to: its path is the one
given to bind(2), which may be relative, renamed since or of another mount namespace, and an
accepted connection bears its listener's. The answer to UNIX_DIAG_VFS (net/unix/diag.c) has
device and inode, so a socket and its file are matched by nothing else.

Kernels that have unix_diag, tcp_diag or udp_diag as a module load it at the first question.
"""

from __future__ import annotations

import os
import struct
import sys
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Set,
    Tuple,
    TypeVar,
)

from ..fs import Directory
from ..kernel import Kernel
from ..model import Evidence, Gap, Network, Table
from ..tuples import NamedTuple

Answer = TypeVar("Answer")

# include/uapi/asm-generic/socket.h, include/uapi/linux/in.h, include/net/tcp_states.h
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_TCP, _UDP = 6, 17
_ESTABLISHED, _CLOSE, _LISTEN = 1, 7, 10
_TYPES = {1: "stream", 2: "dgram", 5: "seqpacket"}
_UNIX_STATES = {_ESTABLISHED: "established", _CLOSE: "unconnected", _LISTEN: "listen"}
_INET_STATES = {_LISTEN: ("tcp", "listen"), _CLOSE: ("udp", "bound")}
"""We ask for no other states, and an answer does not say the protocol."""

# include/uapi/linux/unix_diag.h: a question for the sockets of all states, with these attributes
_NAME, _VFS, _PEER, _RQLEN, _UID = 0, 1, 2, 4, 7
_SHOW = 1 | 2 | 4 | 16 | 64
_UNIX_QUESTION = struct.Struct("=BHIIIII")  # protocol, padding, states, inode, attributes, cookie of two words
_UNIX_ANSWER = struct.Struct("=BBBxI8x")  # family, type, state, inode, cookie
_INODE = struct.Struct("=4xI")
_ATTRIBUTE = struct.Struct("=HH")  # length with this header, type
_PAIR = struct.Struct("=II")
_NUMBER = struct.Struct("=I")

# include/uapi/linux/inet_diag.h
_INET_QUESTION = struct.Struct("=BBBI48x")  # protocol, extensions, padding, states, no address
_INET_ANSWER = struct.Struct("=BB2x2s2x16s28x4xIIII")  # family, state, port, address, queues, uid, inode
_INET_KINDS = (("tcp", _AF_INET, _TCP), ("tcp6", _AF_INET6, _TCP), ("udp", _AF_INET, _UDP), ("udp6", _AF_INET6, _UDP))
"""The name below /proc/net, and what to ask for."""

_LOW = 0xFFFFFFFF
"""UNIX_DIAG_VFS gives 32 bits of an inode number."""
_COLUMNS = (
    "id", "path", "dev", "ino", "mode", "uid", "gid", "type", "state", "rqueue", "wqueue",
    "open_path", "mtime", "ctime", "inexact",
)  # fmt: skip


class Unix(NamedTuple):
    """A Unix socket. Queues are in bytes, but in connections where it listens: waiting, and the most.

    ``path`` is ``@`` and the name for an abstract one (all its bytes, NUL too), otherwise what
    bind(2) was given, except that a relative one that begins with ``@`` gets a ``./``;
    ``dev`` and ``ino`` are those of the file, as the file system itself has them and the inode
    in 32 bits. ``peer`` is the inode of the socket it is connected to.
    """

    inode: int
    type: str
    state: str
    path: Optional[str]
    dev: Optional[int]
    ino: Optional[int]
    rqueue: Optional[int]
    wqueue: Optional[int]
    uid: Optional[int]
    peer: Optional[int]

    @property
    def answers(self) -> bool:
        """Whether it is bound to its name itself: a connection has the name of its listener."""
        return self.state != "established" or self.type == "dgram"


class Inet(NamedTuple):
    """A TCP socket that listens, or a UDP socket that is bound and has no peer.

    Queues are in bytes for UDP; for TCP they are the connections waiting, and the most.
    """

    inode: int
    protocol: str
    family: int
    address: str
    port: int
    uid: int
    state: str
    rqueue: int
    wqueue: int


class Sockets(NamedTuple):
    """The sockets of one network namespace; ``None`` where not asked for or not readable."""

    namespace: int
    unix: Optional[List[Unix]]
    """Only those with a name."""
    inet: Optional[List[Inet]]
    network: Network
    gaps: List[Gap]
    known: FrozenSet[int] = frozenset()
    """The inodes of all Unix sockets."""


# ---------------------------------------------------------------- what the kernel answers


def parse_unix_diag(payload: bytes) -> Unix:
    """Return the socket that a ``struct unix_diag_msg`` and its attributes tell of. Raise ValueError."""
    if len(payload) < _UNIX_ANSWER.size:
        raise ValueError("an answer of %d bytes about a Unix socket" % len(payload))
    family, kind, state, inode = _UNIX_ANSWER.unpack_from(payload)
    if family != _AF_UNIX or kind not in _TYPES or state not in _UNIX_STATES:
        raise ValueError("a Unix socket of family %d, type %d and state %d" % (family, kind, state))
    path: Optional[str] = None
    dev = ino = rqueue = wqueue = uid = peer = None
    try:
        for name, start, end in attributes(payload, _UNIX_ANSWER.size):
            if name == _NAME:
                path = _path(payload[start:end])
            elif name == _VFS:
                ino, device = _PAIR.unpack(payload[start:end])
                dev = os.makedev(device >> 20, device & 0xFFFFF)  # include/linux/kdev_t.h
            elif name == _RQLEN:
                rqueue, wqueue = _PAIR.unpack(payload[start:end])
            elif name == _PEER:
                (peer,) = _NUMBER.unpack(payload[start:end])
            elif name == _UID:
                (uid,) = _NUMBER.unpack(payload[start:end])
    except struct.error as error:
        raise ValueError("an attribute of a Unix socket of another size: %s" % error) from error
    return Unix(inode, _TYPES[kind], _UNIX_STATES[state], path, dev, ino, rqueue, wqueue, uid, peer)


def attributes(payload: bytes, at: int) -> Iterator[Tuple[int, int, int]]:
    """Yield type, start and end of each attribute (include/uapi/linux/netlink.h)."""
    while at < len(payload):
        size, name = _ATTRIBUTE.unpack_from(payload, at)
        if not _ATTRIBUTE.size <= size <= len(payload) - at:
            raise ValueError("an attribute of %d bytes where there are %d" % (size, len(payload) - at))
        yield name, at + _ATTRIBUTE.size, at + size
        at += (size + 3) & ~3


def _path(raw: bytes) -> Optional[str]:
    """Return a socket's name: an abstract one begins with NUL, a path ends with one."""
    if not raw:
        return None
    if raw[0] == 0:
        return "@" + raw[1:].decode("utf-8", "surrogateescape")
    path = raw.rstrip(b"\0").decode("utf-8", "surrogateescape")
    return "./" + path if path.startswith("@") else path


def parse_inet_diag(payload: bytes) -> Inet:
    """Return the socket that a ``struct inet_diag_msg`` tells of. Raise ValueError."""
    from _socket import inet_ntop

    if len(payload) < _INET_ANSWER.size:
        raise ValueError("an answer of %d bytes about a network socket" % len(payload))
    family, state, port, address, rqueue, wqueue, uid, inode = _INET_ANSWER.unpack_from(payload)
    if family not in (_AF_INET, _AF_INET6) or state not in _INET_STATES:
        raise ValueError("a network socket of family %d and state %d" % (family, state))
    protocol, word = _INET_STATES[state]
    six = family == _AF_INET6
    return Inet(
        inode=inode,
        protocol=protocol,
        family=6 if six else 4,
        address=inet_ntop(family, address if six else address[:4]),
        port=int.from_bytes(port, "big"),
        uid=uid,
        state=word,
        rqueue=rqueue,
        wqueue=wqueue,
    )


def parse_netstat(text: bytes) -> Tuple[Optional[int], Optional[int]]:
    """Return ListenOverflows and ListenDrops of /proc/net/netstat; ``None`` for one that it lacks.

    Raise ValueError when there is no line of names with a line of as many numbers after it.
    """
    lines = [line.split()[1:] for line in text.split(b"\n") if line.startswith(b"TcpExt:")]
    if len(lines) != 2 or len(lines[0]) != len(lines[1]):
        raise ValueError("there are no counters of TcpExt")
    counters = dict(zip(lines[0], map(int, lines[1])))
    return counters.get(b"ListenOverflows"), counters.get(b"ListenDrops")


# ---------------------------------------------------------------- reading


def read_sockets(kernel: Kernel, proc: Directory, namespace: int, kinds: Sequence[str]) -> Sockets:
    """Return the sockets of the network namespace that the caller is in, which is *namespace*.

    *kinds*: which of ``unix`` and ``inet`` are wanted. *proc* must be where the caller is
    ``self``: /proc/self/net and /proc/sys/net show the network namespace of who opens them.
    """
    gaps: List[Gap] = []
    unix: Optional[List[Unix]] = None
    inet: Optional[List[Inet]] = None
    network = Network(namespace)
    known: FrozenSet[int] = frozenset()
    if "unix" in kinds:
        unix, known = _read_unix(kernel, proc, namespace, gaps)
    if "inet" in kinds:
        inet = _read_inet(kernel, proc, namespace, gaps)
        network = _read_network(proc, namespace, gaps)
    return Sockets(namespace, unix, inet, network, gaps, known)


class Question(NamedTuple):
    """What to ask the kernel: a request of a family's structure, without the family."""

    namespace: int
    kind: str
    name: str
    """The name below /proc/net, which is there if the kernel has such sockets."""
    family: int
    request: bytes

    @property
    def what(self) -> str:
        """Return what is asked for, in words."""
        return "%s sockets of network namespace %d" % ("Unix" if self.kind == "unix" else self.name, self.namespace)


def ask(kernel: Kernel, proc: Directory, question: Question, gaps: List[Gap]) -> Optional[List[bytes]]:
    """Return the kernel's answers; ``None``, and a gap, where it gives none."""
    try:
        return kernel.sock_diag(question.family, question.request)
    except OSError as error:
        if _none_of(proc, question.name):
            return []
        why = _why(error, question.name.rstrip("6") + "_diag")
        gaps.append(Gap(Evidence.TABLE, question.what, why, kind=question.kind))
        return None


def understood(
    answers: Iterable[bytes], parse: Callable[[bytes], Answer], question: Question, gaps: List[Gap]
) -> List[Answer]:
    """Return what the kernel's answers say, and add a gap where some make no sense."""
    found: List[Answer] = []
    bad: List[str] = []
    for answer in answers:
        try:
            found.append(parse(answer))
        except ValueError as error:
            bad.append(str(error))
    if bad:
        why = "%d of the kernel's answers could not be understood: %s" % (len(bad), bad[0])
        gaps.append(Gap(Evidence.TABLE, question.what, why, kind=question.kind))
    return found


def _read_unix(
    kernel: Kernel, proc: Directory, namespace: int, gaps: List[Gap]
) -> Tuple[Optional[List[Unix]], FrozenSet[int]]:
    question = unix_question(namespace)
    answers = ask(kernel, proc, question, gaps)
    if answers is None:
        return None, frozenset()
    # Most sockets have no name, and sk_diag_fill of net/unix/diag.c writes the name first.
    first, named = slice(_UNIX_ANSWER.size + 2, _UNIX_ANSWER.size + 4), _NAME.to_bytes(2, sys.byteorder)
    wanted = (answer for answer in answers if answer[first] == named or len(answer) < _UNIX_ANSWER.size)
    sockets = understood(wanted, parse_unix_diag, question, gaps)
    whole = (answer for answer in answers if len(answer) >= _UNIX_ANSWER.size)
    return sockets, frozenset([_INODE.unpack_from(answer)[0] for answer in whole])


def unix_question(namespace: int, show: int = _SHOW) -> Question:
    """Return the question for all Unix sockets, with the attributes in the bits *show*."""
    request = _UNIX_QUESTION.pack(0, 0, 0xFFFFFFFF, 0, show, 0xFFFFFFFF, 0xFFFFFFFF)
    return Question(namespace, "unix", "unix", _AF_UNIX, request)


def inet_questions(namespace: int, states: Mapping[str, int]) -> Iterator[Tuple[str, Question]]:
    """Yield each protocol of *states* and a question for its sockets in those states, for both families."""
    for name, family, number in _INET_KINDS:
        protocol = name.rstrip("6")
        request = _INET_QUESTION.pack(number, 0, 0, states[protocol])
        yield protocol, Question(namespace, "inet", name, family, request)


def _read_inet(kernel: Kernel, proc: Directory, namespace: int, gaps: List[Gap]) -> Optional[List[Inet]]:
    sockets: List[Inet] = []
    seen = False
    for _, question in inet_questions(namespace, {"tcp": 1 << _LISTEN, "udp": 1 << _CLOSE}):
        answers = ask(kernel, proc, question, gaps)
        if answers is not None:
            seen = True
            sockets += understood(answers, parse_inet_diag, question, gaps)
    return sockets if seen else None


def _none_of(proc: Directory, name: str) -> bool:
    """Return whether this kernel has no such sockets at all, as with IPv6 left out: nothing is missed."""
    try:
        return name not in proc.names("self/net")
    except OSError:
        return False


def _why(error: OSError, module: str) -> str:
    if error.errno in (2, 93):  # ENOENT, EPROTONOSUPPORT
        return "the kernel cannot list them: it has no %s, or it could not load it as a module" % module
    return str(error.strerror)


def _read_network(proc: Directory, namespace: int, gaps: List[Gap]) -> Network:
    network = Network(namespace)
    for name in ("self/net/netstat", "sys/net/core/somaxconn"):
        try:
            text = proc.read(name)
            if name.endswith("netstat"):
                overflows, drops = parse_netstat(text)
                network = network._replace(listen_overflows=overflows, listen_drops=drops)
            else:
                network = network._replace(somaxconn=int(text))
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            gaps.append(Gap(Evidence.LIMITS, "/proc/%s of network namespace %d" % (name, namespace), why, kind="inet"))
    return network


# ---------------------------------------------------------------- sockets and files


def unix_table(own: Sockets, files: Optional[Table], everywhere: Sequence[Sockets]) -> Table:
    """Return the Unix sockets that *own* can be asked by name, and what the socket files lead to.

    *files* are socket files that were found, and *everywhere* the sockets of every network
    namespace, *own* among them or not. A file's row is that of the socket bound to it, in any
    of them. Without one its ``id`` is ``None`` and its ``state`` ``established`` where only
    connections remain whose listener is closed, ``stale`` where there is nothing, ``unknown``
    where the sockets of a namespace could not be read.
    """
    spaces = [own, *(one for one in everywhere if one.namespace != own.namespace)]
    index = Files(files)
    rows: List[Tuple[Any, ...]] = []
    bound: Set[int] = set()
    connected: Set[int] = set()
    for space in spaces:
        for one in space.unix or ():
            found = index.of(one)
            if not one.answers:
                connected.update(found)
            elif found or space is own:
                rows.append(_row(one, index, found))
                bound.update(found)
    nothing = "unknown" if any(space.unix is None for space in spaces) else "stale"
    for at in range(index.count):
        if at not in bound:
            state = "established" if at in connected else nothing
            rows.append((None, *index.row(at, None, state, None, None)))
    return Table("unix", {name: [row[at] for row in rows] for at, name in enumerate(_COLUMNS)}, own.namespace)


def _row(one: Unix, index: Files, found: Sequence[int]) -> Tuple[Any, ...]:
    if found:  # one inode may have several names: then that which the socket was bound to
        at = next((at for at in found if index.columns["path"][at] == one.path), found[0])
        return (one.inode, *index.row(at, one.type, one.state, one.rqueue, one.wqueue))
    return (
        one.inode, one.path, one.dev, one.ino, None, one.uid, None, one.type, one.state, one.rqueue,
        one.wqueue, None, None, None, False,
    )  # fmt: skip


class Files:
    """Socket files, by what the kernel says of the file that a socket is bound to."""

    __slots__ = ("columns", "count", "devices", "exact", "inexact")

    def __init__(self, files: Optional[Table]) -> None:
        self.columns: Dict[str, Sequence[Any]] = files.columns if files else {}
        self.count = len(files) if files else 0
        self.devices: Set[int] = set()
        self.exact: Dict[Tuple[int, int], List[int]] = {}
        self.inexact: Dict[int, List[int]] = {}
        for at in range(self.count):
            dev, ino, inexact = (self.columns[name][at] for name in ("dev", "ino", "inexact"))
            if inexact:
                self.inexact.setdefault(ino & _LOW, []).append(at)
            else:
                self.exact.setdefault((dev, ino & _LOW), []).append(at)
                self.devices.add(dev)

    def of(self, one: Unix) -> Sequence[int]:
        """Return the rows of the files that lead to a socket.

        A device that stat(2) gives for one file is that of the whole file system, which thus
        has no file whose device stat(2) gives otherwise.
        """
        if one.dev is None or one.ino is None:
            return ()
        if one.dev in self.devices:
            return self.exact.get((one.dev, one.ino), ())
        return self.inexact.get(one.ino, ())

    def row(self, at: int, *socket: Any) -> Tuple[Any, ...]:
        """Return the columns after ``id`` for the file in a row and its socket's type, state and queues."""
        before = [self.columns[name][at] for name in ("path", "dev", "ino", "mode", "uid", "gid")]
        after = [self.columns[name][at] for name in ("open_path", "mtime", "ctime", "inexact")]
        return (*before, *socket, *after)


def inet_table(own: Sockets) -> Table:
    """Return the network sockets, of which each may be reached by whoever reaches its address."""
    found = own.inet or []
    paths = [
        "%s:%s:%d" % (one.protocol, "[%s]" % one.address if one.family == 6 else one.address, one.port) for one in found
    ]
    names = ("protocol", "address", "port", "uid", "state", "rqueue", "wqueue")
    columns: Dict[str, Sequence[Any]] = {"id": [one.inode for one in found], "path": paths}
    columns.update({name: [getattr(one, name) for one in found] for name in names})
    return Table("inet", columns, own.namespace)
