"""Both ends of sockets: what the kernel's answers say, which socket is connected to which, and how it is told."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import struct
from typing import Any, Dict, List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipcops.core.collect import connections
from ipcops.core.collect.connections import Connected, Link, UnixEnds, connect_inet, connect_unix
from ipcops.core.collect.sockets import Inet, Sockets, Unix, inet_table, unix_table
from ipcops.core.fs import Directory
from ipcops.core.kernel import Kernel
from ipcops.core.layout import plain
from ipcops.core.model import Connection, Network, Table
from ipcops.core.report import objects_report
from ipcops.core.text.objects import CONNECTIONS_SHOWN, details
from tests.core import build

WORDS = st.integers(0, (1 << 32) - 1)
STATES = {
    1: "established",
    2: "syn-sent",
    4: "fin-wait-1",
    5: "fin-wait-2",
    8: "close-wait",
    9: "last-ack",
    11: "closing",
}


# ---------------------------------------------------------------- who waits at a Unix listener


def attribute(kind: int, value: bytes) -> bytes:
    size = 4 + len(value)
    return struct.pack("=HH", size, kind) + value + bytes(-size % 4)


def unix_answer(inode: int, *attributes: bytes, state: int = 10) -> bytes:
    return struct.pack("=BBBBIII", 1, 1, state, 0, inode, 5, 6) + b"".join(attributes)


@given(WORDS, st.lists(WORDS, max_size=8), st.lists(st.tuples(st.integers(4, 99), st.binary(max_size=9))), st.data())
def test_the_clients_that_wait_come_out(inode, clients, others, data):
    parts = [attribute(kind, value) for kind, value in others]
    assert connections.parse_waiting(unix_answer(inode, *parts)) == (inode, None)
    parts.insert(data.draw(st.integers(0, len(parts))), attribute(3, struct.pack("=%dI" % len(clients), *clients)))
    assert connections.parse_waiting(unix_answer(inode, *parts)) == (inode, tuple(clients))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        unix_answer(7)[:-1],
        unix_answer(7, b"\3\0\0\0"),
        unix_answer(7, b"\x09\0\0\0abcd"),
        unix_answer(7, b"\0\0"),
        unix_answer(7, attribute(3, bytes(6))),
    ],
)
def test_what_does_not_tell_who_waits_is_refused(answer):
    with pytest.raises(ValueError, match=r"Unix socket|an attribute"):
        connections.parse_waiting(answer)


@given(st.binary(max_size=60))
def test_any_bytes_tell_who_waits_or_are_a_value_error(data):
    with contextlib.suppress(ValueError):
        connections.parse_waiting(data)


# ---------------------------------------------------------------- network sockets with a peer


def inet_answer(family: int, state: int, ends: Tuple[Any, ...], numbers: Tuple[int, ...]) -> bytes:
    """Return an answer with rqueue, wqueue, uid and inode in *numbers*, and what else there is full of ones."""
    address, port, peer, peer_port = ends
    where = struct.pack(">HH", port, peer_port) + address.ljust(16, b"\0") + peer.ljust(16, b"\0") + b"\xff" * 12
    return struct.pack("=BBBB", family, state, 255, 255) + where + struct.pack("=5I", 0xFFFFFFFF, *numbers)


PORTS = st.integers(0, 65535)


@given(
    st.sampled_from([4, 6]).flatmap(lambda v: st.tuples(st.ip_addresses(v=v), st.ip_addresses(v=v))),
    st.tuples(PORTS, PORTS),
    st.sampled_from(sorted(STATES)),
    st.sampled_from(["tcp", "udp"]),
    st.tuples(WORDS, WORDS, WORDS, WORDS),
    st.binary(max_size=12),
)
def test_a_link_round_trips(addresses, ports, state, protocol, numbers, more):
    here, there = addresses
    ends = (here.packed, ports[0], there.packed, ports[1])
    answer = inet_answer(10 if here.version == 6 else 2, state, ends, numbers)
    found = connections.parse_link(answer + more, protocol)
    assert (ipaddress.ip_address(found.local[0]), found.local[1]) == (here, ports[0])
    assert (ipaddress.ip_address(found.remote[0]), found.remote[1]) == (there, ports[1])
    rqueue, wqueue, uid, inode = numbers
    nowhere = ("", 0)
    assert found._replace(local=nowhere, remote=nowhere) == Link(
        inode, protocol, here.version, nowhere, nowhere, STATES[state], uid, rqueue, wqueue
    )


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        inet_answer(2, 1, (b"", 1, b"", 2), (0, 0, 0, 0))[:-1],
        inet_answer(1, 1, (b"", 1, b"", 2), (0, 0, 0, 0)),
        inet_answer(2, 10, (b"", 1, b"", 2), (0, 0, 0, 0)),
        inet_answer(2, 6, (b"", 1, b"", 2), (0, 0, 0, 0)),
    ],
)
def test_what_is_no_link_is_refused(answer):
    with pytest.raises(ValueError, match="network socket"):
        connections.parse_link(answer, "tcp")


@given(st.binary(max_size=100))
def test_any_bytes_are_a_link_or_a_value_error(data):
    with contextlib.suppress(ValueError):
        connections.parse_link(data, "tcp")


# ---------------------------------------------------------------- reading


class Says(Kernel):
    """A kernel that answers with what *answer* makes of the family and the request, and notes the questions."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer
        self.asked: List[Tuple[int, bytes]] = []

    def sock_diag(self, family: int, request: bytes) -> List[bytes]:
        self.asked.append((family, request))
        found: List[bytes] = self.answer(family, request)
        return found


def failing(family: int, request: bytes) -> List[bytes]:
    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))


@pytest.fixture
def proc(tmp_path):
    for name in ("unix", "tcp", "tcp6", "udp", "udp6"):
        file = tmp_path / "self/net" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    with Directory.open(str(tmp_path)) as directory:
        yield directory


def test_a_kernel_that_lists_none_is_a_gap(proc):
    found = connections.read_connected(Says(failing), proc, 9, ["unix", "inet"])
    assert found[:4] == (9, [], {}, [])
    assert [gap.kind for gap in found.gaps] == ["unix"] + 4 * ["inet"]
    assert all("diag" in gap.why for gap in found.gaps)


def test_only_what_is_asked_for_is_read(proc):
    kernel = Says(failing)
    assert connections.read_connected(kernel, proc, 9, ["shm"]) == Connected(9, [], {}, [], [])
    assert kernel.asked == []
    connections.read_connected(kernel, proc, 9, ["inet"])
    assert [family for family, _ in kernel.asked] == [2, 10, 2, 10]


@pytest.mark.parametrize("waiting", [0, 1])
def test_who_waits_is_asked_only_where_somebody_does(proc, waiting):
    def answer(family: int, request: bytes) -> List[bytes]:
        icons = struct.unpack("=BHIIIII", request)[4] == 8
        queue = attribute(3, struct.pack("=I", 5)) if icons else attribute(4, struct.pack("=II", waiting, 9))
        return [unix_answer(7, queue), unix_answer(8, state=7)]

    kernel = Says(answer)
    found = connections.read_connected(kernel, proc, 9, ["unix"])
    assert found.waiting == ({7: (5,)} if waiting else {})
    assert len(kernel.asked) == 1 + waiting
    assert [one.inode for one in found.unix] == [7, 8]
    assert found.gaps == []


def test_an_answer_that_makes_no_sense_is_a_gap_and_the_others_are_kept(proc):
    good = inet_answer(2, 1, (bytes(4), 1, bytes(4), 2), (0, 0, 0, 7))
    found = connections.read_connected(Says(lambda *_: [good, b"bad"]), proc, 9, ["inet"])
    assert [(one.inode, one.protocol) for one in found.links] == [(7, "tcp"), (7, "tcp"), (7, "udp"), (7, "udp")]
    assert [gap.why[:29] for gap in found.gaps] == 4 * ["1 of the kernel's answers cou"]


# ---------------------------------------------------------------- Unix sockets


def unix(inode: int, **more: Any) -> Unix:
    base = Unix(inode, "stream", "established", None, None, None, 0, 0, 0, None)
    return base._replace(**more)


def named(inode: int, path: str = "/run/x", dev: int = 5, ino: int = 100, **more: Any) -> Unix:
    return unix(inode, path=path, dev=dev, ino=ino, **more)


def server(inode: int, **more: Any) -> Unix:
    return named(inode, **{"state": "listen", "wqueue": 9, **more})


def space(namespace: int, *of: Unix, waiting: Optional[Dict[int, Tuple[int, ...]]] = None) -> Connected:
    return Connected(namespace, of, waiting or {}, [], [])


FILE = {
    "path": "/run/x", "dev": 5, "ino": 100, "mode": 0o666, "uid": 0, "gid": 1, "mtime": 12, "ctime": 13,
    "open_path": True, "inexact": False,
}  # fmt: skip


def rows(
    *spaces: Connected, asked: Tuple[Any, ...] = (), files: Tuple[Dict[str, Any], ...] = ()
) -> List[Dict[str, Any]]:
    """Return the rows of the first space; the others are network namespaces that belong to no place."""
    every = [
        Sockets(one.namespace, [sock for sock in one.unix if sock.path is not None], None, Network(1), [])
        for one in spaces
    ]
    found_files = Table("files", {name: [{**FILE, **one}[name] for one in files] for name in FILE})
    table = unix_table(every[0], found_files, every)
    found = connect_unix(table, spaces, UnixEnds(spaces), frozenset(map(str, asked)))
    assert {len(column) for column in found.columns.values()} == {len(found)}
    return [{name: found[name][row] for name in found.columns} for row in range(len(found))]


def only(found: List[Dict[str, Any]]) -> Tuple[Connection, ...]:
    [one] = found
    return tuple(one["connections"])


def test_what_a_listener_accepted_is_known_by_its_file_in_any_network_namespace():
    here = space(1, server(7), named(8, peer=9), unix(9, peer=8), named(20, ino=101, peer=21), named(22, dev=6))
    there = space(2, named(10, path="../x", peer=11), unix(11, path="/run/client", dev=5, ino=7, peer=10))
    assert only(rows(here, there)) == (
        Connection(8, 9, "/run/x", None, "established"),
        Connection(10, 11, "/run/x", "/run/client", "established"),
    )


def test_an_abstract_name_counts_in_its_own_network_namespace_and_type_alone():
    own = {"path": "@x", "dev": None, "ino": None}
    here = space(1, server(7, **own), unix(8, path="@x", peer=9), unix(9, peer=8))
    more = unix(10, path="@x", type="seqpacket", peer=11)
    there = space(2, server(17, **own), unix(18, path="@x", peer=19), unix(19, peer=18))
    both = rows(here._replace(unix=[*here.unix, more]), there)
    assert only(both) == (Connection(8, 9, "@x", None, "established"),)
    assert both[0]["network"] == 1


def test_a_peer_that_is_in_no_list_is_still_told_and_one_without_an_inode_is_closed():
    here = space(1, server(7), named(8, peer=99), named(10, peer=0), named(11, peer=None))
    assert [(*one[:2], one.peer_note) for one in only(rows(here))] == [
        (8, 99, None),
        (10, None, "closed"),
        (11, None, "closed"),
    ]


def test_who_waits_to_be_accepted():
    clients = [unix(9, peer=0), unix(10, path="@me", peer=0)]
    here = space(1, server(7, rqueue=3), *clients, waiting={7: (9, 10, 0)})
    note = "not accepted yet"
    assert only(rows(here)) == (
        Connection(None, 9, "/run/x", None, "waiting", note),
        Connection(None, 10, "/run/x", "@me", "waiting", note),
        Connection(None, None, "/run/x", None, "waiting", note, "closed"),
    )
    found = rows(here, asked=(10,))
    assert found[1]["connections"] == (
        Connection(10, None, "@me", "/run/x", "waiting", peer_note="not accepted yet by unix:7"),
    )


def test_a_queue_too_long_for_the_kernel_to_tell_is_said():
    [one] = only(rows(space(1, server(7, rqueue=1200))))
    assert (one.id, one.peer, one.state) == (None, None, "waiting")
    assert one.peer_note == "1200 wait, more than the kernel has room to tell"
    assert only(rows(space(1, server(7, rqueue=0)))) == ()


def test_who_is_connected_to_a_datagram_socket():
    log = named(7, type="dgram", state="unconnected")
    other = unix(10, path="@other", type="dgram", state="established", peer=7)
    here = space(1, log, unix(8, type="dgram", peer=7), unix(9, type="dgram", peer=0), unix(11, type="dgram", peer=8))
    found = rows(here, space(2, other))
    assert only(found) == (
        Connection(7, 8, "/run/x", None, "established"),
        Connection(7, 10, "/run/x", "@other", "established"),
    )
    mutual = space(1, log._replace(peer=8), unix(8, type="dgram", peer=7))
    assert only(rows(mutual)) == (Connection(7, 8, "/run/x", None, "established"),)


@pytest.mark.parametrize("kind", ["stream", "seqpacket", "dgram"])
def test_any_socket_is_shown_by_its_inode(kind):
    pair = space(1, unix(8, type=kind, peer=9, uid=33), unix(9, type=kind, peer=8), unix(12, state="unconnected"))
    [one] = rows(pair, asked=(8,))
    assert (one["id"], one["path"], one["type"], one["uid"], one["network"]) == (8, None, kind, 33, 1)
    assert one["connections"] == (Connection(8, 9, None, None, "established"),)
    assert only(rows(pair, asked=(12,))) == ()
    assert rows(pair, asked=(10,)) == []


def test_an_accepted_socket_goes_by_its_inode_and_not_by_its_listeners_name():
    found = rows(space(1, server(7), named(8, peer=9)), space(2, unix(9, peer=8)), asked=(8, 9, 7))
    assert [(one["id"], one["path"], one["network"]) for one in found] == [(7, "/run/x", 1), (8, None, 1), (9, None, 2)]
    assert found[1]["connections"] == (Connection(8, 9, "/run/x", None, "established"),)
    assert found[2]["connections"] == (Connection(9, 8, None, "/run/x", "established"),)


def test_connections_whose_listener_is_closed():
    left = space(1, named(8, peer=9), unix(9, peer=8))
    there = space(2, named(10, peer=11))
    both = (Connection(8, 9, "/run/x", None, "established"), Connection(10, 11, "/run/x", None, "established"))
    [by_file] = rows(left, there, files=({},))
    assert (by_file["id"], by_file["state"], by_file["connections"]) == (None, "established", both)
    [inexact] = rows(left, there, files=({"dev": 77, "inexact": True},))
    assert inexact["connections"] == both
    [by_name] = rows(left, there, asked=("/run/x",))
    assert (by_name["id"], by_name["path"], by_name["state"], by_name["uid"]) == (None, "/run/x", "established", None)
    assert by_name["connections"] == both
    assert rows(left, there) == []
    assert only(rows(left, files=({"ino": 5},))) == ()


def test_an_abstract_name_that_only_connections_are_left_of_is_that_of_its_namespace():
    gone = {"path": "@x", "dev": None, "ino": None}
    here, there = space(1, named(8, peer=9, **gone)), space(2, named(10, peer=11, **gone))
    assert [one.id for one in only(rows(here, there, asked=("@x",)))] == [8]
    assert rows(space(1), there, asked=("@x",)) == []


# ---------------------------------------------------------------- network sockets


def listener(inode: int, address: str = "0.0.0.0", port: int = 80, **more: Any) -> Inet:
    base = Inet(inode, "tcp", 6 if ":" in address else 4, address, port, 0, "listen", 0, 9)
    return base._replace(**more)


def datagram(inode: int, address: str = "0.0.0.0", port: int = 80) -> Inet:
    return listener(inode, address, port, protocol="udp", state="bound")


def link(inode: int, local: str, port: int, remote: str, peer: int, **more: Any) -> Link:
    base = Link(inode, "tcp", 6 if ":" in local else 4, (local, port), (remote, peer), "established", 0, 0, 0)
    return base._replace(**more)


def told(listeners: List[Inet], *links: Link, asked: Tuple[int, ...] = ()) -> Dict[int, List[Tuple[Any, ...]]]:
    """Return (id, peer, local, remote, state, notes) of each connection by the inode of its row."""
    table = inet_table(Sockets(1, None, listeners, Network(1), []))
    found = connect_inet(table, Connected(1, [], {}, links, []), frozenset(map(str, asked)))
    assert {len(column) for column in found.columns.values()} == {len(found)}
    return {
        inode: [tuple(one) for one in some]
        for inode, some in zip(found["id"], found["connections"])
    }  # fmt: skip


ELSEWHERE = "on another host or in another network namespace"


def test_both_ends_on_the_loopback():
    found = told(
        [listener(7)], link(8, "127.0.0.1", 80, "127.0.0.1", 5000), link(9, "127.0.0.1", 5000, "127.0.0.1", 80)
    )
    assert found == {7: [(8, 9, "127.0.0.1:80", "127.0.0.1:5000", "established", None, None)]}


def test_an_ipv4_client_of_an_ipv6_listener():
    mapped = link(8, "::ffff:10.0.0.1", 80, "::ffff:10.0.0.1", 5000)
    found = told([listener(7, "::"), listener(6)], mapped, link(9, "10.0.0.1", 5000, "10.0.0.1", 80), asked=(9,))
    local, remote = "[::ffff:10.0.0.1]:80", "[::ffff:10.0.0.1]:5000"
    assert found[7] == [(8, 9, local, remote, "established", None, None)]
    assert found[6] == []
    assert found[9] == [(9, 8, "10.0.0.1:5000", "10.0.0.1:80", "established", None, None)]


def test_a_remote_end_is_said_to_be_elsewhere_and_a_local_one_to_be_closed():
    found = told(
        [listener(7)],
        link(8, "10.0.0.1", 80, "10.0.0.9", 5000),
        link(9, "127.0.0.1", 80, "127.0.0.1", 5001, state="close-wait"),
        link(10, "10.0.0.1", 80, "10.0.0.1", 5002),
    )
    assert [(one[0], one[1], one[6]) for one in found[7]] == [
        (8, None, ELSEWHERE),
        (9, None, "closed"),
        (10, None, "closed"),
    ]


def test_what_no_process_has_is_not_accepted_yet_or_closed():
    found = told(
        [listener(7)],
        link(0, "127.0.0.1", 80, "127.0.0.1", 5000),
        link(9, "127.0.0.1", 5000, "127.0.0.1", 80),
        link(0, "127.0.0.1", 80, "127.0.0.1", 5001, state="fin-wait-2"),
        link(10, "127.0.0.1", 5001, "127.0.0.1", 80, state="close-wait"),
        asked=(0, 9, 10),
    )
    assert [one[:2] + one[4:] for one in found[7]] == [
        (None, 9, "waiting", "not accepted yet", None),
        (None, 10, "fin-wait-2", "closed", None),
    ]
    assert [found[inode][0][:2] + found[inode][0][4:] for inode in (9, 10)] == [
        (9, None, "established", None, "not accepted yet"),
        (10, None, "close-wait", None, "closed"),
    ]
    assert 0 not in found


def test_the_listener_of_the_very_address_comes_before_that_of_all():
    one, other = link(8, "10.0.0.1", 80, "10.0.0.9", 1), link(9, "10.0.0.2", 80, "10.0.0.9", 1)
    port, six = link(10, "10.0.0.1", 81, "10.0.0.9", 1), link(11, "::1", 80, "::1", 1)
    found = told([listener(6), listener(7, "10.0.0.1")], one, other, port, six)
    assert {inode: [one[0] for one in some] for inode, some in found.items()} == {6: [9], 7: [8]}


def test_listeners_at_one_address_cannot_be_told_apart():
    found = told([listener(6), listener(7)], link(8, "10.0.0.1", 80, "10.0.0.9", 1))
    assert [[one[0] for one in found[inode]] for inode in (6, 7)] == [[8], [8]]


def test_a_connected_socket_is_shown_by_its_inode():
    table = inet_table(Sockets(1, None, [], Network(1), []))
    client = link(9, "::1", 5000, "::1", 80, uid=33, rqueue=4)
    found = connect_inet(table, Connected(1, [], {}, [client], []), frozenset(["9", "10", "0"]))
    assert [found[name] for name in ("id", "path", "uid", "address", "port", "state", "rqueue")] == [
        [9], ["tcp:[::1]:5000-[::1]:80"], [33], ["::1"], [5000], ["established"], [4],
    ]  # fmt: skip


def test_who_sends_to_a_datagram_socket():
    udp = {"protocol": "udp"}
    local = link(8, "127.0.0.1", 5000, "127.0.0.1", 80, **udp)
    away = link(9, "10.0.0.1", 5000, "10.0.0.9", 80, **udp)
    six = link(11, "::1", 5000, "::1", 80, **udp)
    found = told([datagram(7), listener(6)], local, away, six, asked=(8, 9, 11))
    assert found[7] == [(7, 8, "0.0.0.0:80", "127.0.0.1:5000", "established", None, None)]
    assert found[6] == []
    assert [found[inode][0][1] for inode in (8, 9, 11)] == [7, None, None]
    assert [found[inode][0][6] for inode in (8, 9, 11)] == [None, ELSEWHERE, "closed"]
    both = told([datagram(7, "::")], local, six)
    assert [one[1] for one in both[7]] == [8, 11]
    many = told([datagram(6), datagram(7)], local, asked=(8,))
    assert many[8][0][1] is None
    assert many[8][0][6] == "one of 2 sockets with that address"
    assert [many[inode][0][:2] for inode in (6, 7)] == [(6, 8), (7, 8)]


def test_datagram_sockets_connected_to_each_other_are_not_told_of_the_unconnected_one():
    udp = {"protocol": "udp"}
    here, there = link(8, "127.0.0.1", 1, "127.0.0.1", 80, **udp), link(9, "127.0.0.1", 80, "127.0.0.1", 1, **udp)
    found = told([datagram(7)], here, there, asked=(8, 9))
    assert found[7] == []
    assert [found[inode][0][:2] for inode in (8, 9)] == [(8, 9), (9, 8)]


ENDS = st.tuples(st.sampled_from(["127.0.0.1", "10.0.0.1", "::1", "::ffff:127.0.0.1"]), st.integers(79, 82))


@given(
    st.lists(ENDS, max_size=4),
    st.lists(st.tuples(st.integers(0, 9), ENDS, ENDS, st.sampled_from(["tcp", "udp"])), max_size=8),
)
def test_every_connection_has_an_end_or_says_why(bound, ends):
    listeners = [listener(100 + at, *end) for at, end in enumerate(bound)]
    listeners += [datagram(200 + at, *end) for at, end in enumerate(bound)]
    links = [link(inode, *here, *there, protocol=protocol) for inode, here, there, protocol in ends]
    for some in told(listeners, *links, asked=tuple(range(10))).values():
        for number, peer, _, _, _, note, peer_note in some:
            assert (number is None) == (note is not None)
            assert (peer is None) == (peer_note is not None)


# ---------------------------------------------------------------- the report


def shown(*found: Connection, holders: Optional[Dict[int, List[int]]] = None) -> Dict[str, Any]:
    """Return the report about a listener that has these connections."""
    processes = [
        {"pid": 20, "command": "server", "unit": "server.service"},
        {"pid": 21, "command": "worker"},
        {"pid": 30, "command": "client", "unit": "libpod-1.scope", "container": "podman 1f2e"},
    ]
    case = build.case({"processes": processes, "objects": [{"kind": "unix", "id": 7, "holders": [20]}]})
    by_pid = case.snapshot.processes.by_pid
    case.snapshot.processes.sockets.update(  # type: ignore[attr-defined]
        {inode: tuple(by_pid[pid] for pid in pids) for inode, pids in (holders or {}).items()}
    )
    case.snapshot.tables["unix"].columns.update(connections=[found], network=[99])
    return objects_report(case, {"unix": [0]}, details=True)


def page(report: Dict[str, Any]) -> List[str]:
    return list(plain(details(report), 100))


def test_both_ends_bear_their_processes():
    report = shown(Connection(8, 9, "/run/x", None, "established"), holders={8: [20, 21], 9: [30]})
    [one] = report["objects"]
    assert one["namespace"] == 99
    [connection] = one["connections"]
    assert {name: connection[name] for name in Connection._fields} == {
        "id": 8, "peer": 9, "local": "/run/x", "remote": None, "state": "established", "note": None,
        "peer_note": None,
    }  # fmt: skip
    assert [(who["pid"], who["unit"]) for who in connection["holders"]] == [(20, "server.service"), (21, None)]
    assert [(who["pid"], who["container"]) for who in connection["peer_holders"]] == [(30, "podman 1f2e")]
    assert page(report)[-3:] == [
        "STATE        ID  HELD BY                           ADDRESS\n",
        "established   8  20 (server) +1 in server.service  /run/x\n",
        "  with        9  30 (client) in podman 1f2e        -\n",
    ]


def test_what_cannot_be_told_is_said():
    report = shown(Connection(None, 9, "a\nb", None, "waiting", "not accepted yet"))
    [connection] = report["objects"][0]["connections"]
    assert (connection["note"], connection["peer_note"]) == ("not accepted yet", "no process was seen that has it")
    assert page(report)[-2:] == [
        "waiting   -  not accepted yet                 a\\nb\n",
        "  with    9  no process was seen that has it  -\n",
    ]


def test_without_connections_that_is_said():
    assert page(shown())[-1] == "no connections\n"


def test_a_person_gets_the_first_thousand_and_a_script_all():
    many = [Connection(10000 + at, None, None, None, "established", None, "closed") for at in range(1002)]
    report = shown(*many)
    assert len(report["objects"][0]["connections"]) == 1002
    lines = page(report)
    assert sum("  with" in line for line in lines) == CONNECTIONS_SHOWN
    assert lines[-1] == "and 2 more; --format json has them all\n"
    assert not any("more" in line for line in page(shown(*many[:CONNECTIONS_SHOWN]))[-2:])
