"""What the kernel says of sockets, for all inputs; and which socket belongs to which file."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import struct
from typing import Any, Dict, List, Optional, Tuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ipcops.core.collect import sockets
from ipcops.core.fs import Directory
from ipcops.core.kernel import Kernel, parse_dump
from ipcops.core.model import Evidence, Network, Table

WORDS = st.integers(0, (1 << 32) - 1)
ODD = [b"a b", b"x\ny", b"@x", b"/run/x.sock", b"../x", b"\xff\xfe", b"@", "/tmp/ä".encode()]
PATHS = st.one_of(
    st.sampled_from(ODD),
    st.binary(min_size=1, max_size=108).map(lambda raw: raw.replace(b"\0", b"/")),
)
ABSTRACT = st.one_of(st.sampled_from([b"", b"00012", b"/run/x", b"a\0b\0", b"x\ny"]), st.binary(max_size=107))


# ---------------------------------------------------------------- netlink


def message(kind: int, payload: bytes, flags: int = 2) -> bytes:
    size = 16 + len(payload)
    return struct.pack("=IHHII", size, kind, flags, 1, 0) + payload + bytes(-size % 4)


def done(code: int = 0) -> bytes:
    return message(3, struct.pack("=i", code))


@given(st.lists(st.binary(max_size=40), max_size=6), st.booleans(), st.integers(0, 6))
def test_the_payloads_of_a_dump_come_out(payloads, ended, torn):
    parts = [message(20, one, 0x12 if at == torn else 2) for at, one in enumerate(payloads)]
    if ended:
        parts.append(done())
    assume(parts)
    answer = parse_dump(b"".join(parts))
    assert answer.payloads == payloads
    assert answer.last == ended
    assert answer.torn == (torn < len(payloads))


def test_messages_of_other_types_are_no_payloads():
    assert parse_dump(message(1, b"noop") + message(20, b"yes") + done()).payloads == [b"yes"]


@pytest.mark.parametrize("kind", [2, 3])
def test_an_error_in_a_dump_is_raised(kind):
    with pytest.raises(OSError, match=os.strerror(errno.ENOENT)) as caught:
        parse_dump(message(20, b"one") + message(kind, struct.pack("=i", -errno.ENOENT)))
    assert caught.value.errno == errno.ENOENT


def test_a_list_that_was_overrun_or_interrupted_at_its_end_is_torn():
    assert parse_dump(message(20, b"one") + message(4, b"")).torn
    assert parse_dump(message(20, b"one") + message(3, bytes(4), 0x12)).torn
    assert not parse_dump(message(20, b"one") + done()).torn


@pytest.mark.parametrize("data", [b"", b"x", message(20, b"four")[:-4], struct.pack("=IHHII", 15, 20, 2, 1, 0)])
def test_a_dump_that_is_cut_off_is_an_error(data):
    with pytest.raises(OSError, match="netlink message") as caught:
        parse_dump(data)
    assert caught.value.errno == errno.EBADMSG


@given(st.binary(max_size=80))
def test_any_bytes_are_a_dump_or_an_error(data):
    with contextlib.suppress(OSError):
        parse_dump(data)


class Torn(Kernel):
    """A kernel whose lists are torn for the first few times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def _dump(self, message: bytes) -> Optional[List[bytes]]:
        self.times -= 1
        return None if self.times >= 0 else [b"whole"]


def test_a_torn_list_is_read_again_and_never_taken_for_whole():
    assert Torn(4).sock_diag(1, b"") == [b"whole"]
    with pytest.raises(OSError, match="the list changed while it was read") as caught:
        Torn(5).sock_diag(1, b"")
    assert caught.value.errno == errno.EBUSY


# ---------------------------------------------------------------- Unix sockets


def attribute(kind: int, value: bytes) -> bytes:
    size = 4 + len(value)
    return struct.pack("=HH", size, kind) + value + bytes(-size % 4)


def unix_answer(kind: int = 1, state: int = 10, inode: int = 7, attributes: Tuple[bytes, ...] = ()) -> bytes:
    return struct.pack("=BBBBIII", 1, kind, state, 0, inode, 5, 6) + b"".join(attributes)


@st.composite
def unix_sockets(draw: Any) -> Tuple[bytes, Dict[str, Any]]:
    """Draw an answer, its attributes in any order and some of them unknown, and what it says."""
    kind, word = draw(st.sampled_from([(1, "stream"), (2, "dgram"), (5, "seqpacket")]))
    state, said = draw(st.sampled_from([(1, "established"), (7, "unconnected"), (10, "listen")]))
    wanted: Dict[str, Any] = {"type": word, "state": said, "inode": draw(WORDS)}
    wanted.update(dict.fromkeys(("path", "dev", "ino", "rqueue", "wqueue", "uid", "peer")))
    parts = []
    naming = draw(st.sampled_from(["none", "path", "abstract"]))
    if naming == "abstract":
        raw = draw(ABSTRACT)
        parts.append(attribute(0, b"\0" + raw))
        wanted["path"] = "@" + raw.decode("utf-8", "surrogateescape")
    elif naming == "path":
        raw = draw(PATHS)
        parts.append(attribute(0, raw + b"\0"))
        wanted["path"] = (b"./" + raw if raw.startswith(b"@") else raw).decode("utf-8", "surrogateescape")
        major, minor = draw(st.integers(0, (1 << 12) - 1)), draw(st.integers(0, (1 << 20) - 1))
        wanted["ino"] = draw(WORDS)
        wanted["dev"] = os.makedev(major, minor)
        parts.append(attribute(1, struct.pack("=II", wanted["ino"], major << 20 | minor)))
    if draw(st.booleans()):
        wanted["rqueue"], wanted["wqueue"] = draw(WORDS), draw(WORDS)
        parts.append(attribute(4, struct.pack("=II", wanted["rqueue"], wanted["wqueue"])))
    for name, number in (("uid", 7), ("peer", 2)):
        if draw(st.booleans()):
            wanted[name] = draw(WORDS)
            parts.append(attribute(number, struct.pack("=I", wanted[name])))
    parts += [attribute(number, draw(st.binary(max_size=5))) for number in draw(st.lists(st.integers(8, 99)))]
    answer = unix_answer(kind, state, wanted["inode"], tuple(draw(st.permutations(parts))))
    return answer, wanted


@given(unix_sockets())
def test_a_unix_socket_round_trips(drawn):
    answer, wanted = drawn
    assert sockets.parse_unix_diag(answer)._asdict() == wanted


@given(PATHS, ABSTRACT)
def test_a_path_never_looks_abstract(path, name):
    of_file = sockets.parse_unix_diag(unix_answer(attributes=(attribute(0, path + b"\0"),))).path
    abstract = sockets.parse_unix_diag(unix_answer(attributes=(attribute(0, b"\0" + name),))).path
    assert of_file is not None
    assert abstract is not None
    assert not of_file.startswith("@")
    assert abstract.startswith("@")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        unix_answer()[:-1],
        unix_answer(kind=3),
        unix_answer(state=2),
        b"\2" + unix_answer()[1:],
        unix_answer(attributes=(b"\3\0\0\0",)),  # shorter than its own header
        unix_answer(attributes=(b"\x09\0\0\0abcd",)),  # longer than what is there
        unix_answer(attributes=(b"\0\0",)),
        unix_answer(attributes=(attribute(1, bytes(4)),)),
        unix_answer(attributes=(attribute(4, bytes(4)),)),
        unix_answer(attributes=(attribute(2, bytes(8)),)),
        unix_answer(attributes=(attribute(7, b""),)),
    ],
)
def test_what_is_no_unix_socket_is_refused(answer):
    with pytest.raises(ValueError, match=r"Unix socket|an attribute|unpack"):
        sockets.parse_unix_diag(answer)


@given(unix_sockets(), st.data())
def test_a_changed_answer_is_a_socket_or_a_value_error(drawn, data):
    answer = bytearray(drawn[0])
    for _ in range(data.draw(st.integers(1, 4))):
        answer[data.draw(st.integers(0, len(answer) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        sockets.parse_unix_diag(bytes(answer[: data.draw(st.integers(0, len(answer)))]))


# ---------------------------------------------------------------- network sockets


def inet_answer(family: int, state: int, address: bytes, port: int, numbers: Tuple[int, ...]) -> bytes:
    """Return an answer with rqueue, wqueue, uid and inode in *numbers*, and what else there is full of ones."""
    where = struct.pack(">HH", port, 0xFFFF) + address.ljust(16, b"\0") + b"\xff" * 16 + b"\xff" * 12
    return struct.pack("=BBBB", family, state, 255, 255) + where + struct.pack("=5I", 0xFFFFFFFF, *numbers)


@given(
    st.sampled_from([(10, "tcp", "listen"), (7, "udp", "bound")]),
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)),
    st.integers(0, 65535),
    st.tuples(WORDS, WORDS, WORDS, WORDS),
    st.binary(max_size=12),
)
def test_a_network_socket_round_trips(kind, address, port, numbers, more):
    state, protocol, word = kind
    family = 10 if address.version == 6 else 2
    found = sockets.parse_inet_diag(inet_answer(family, state, address.packed, port, numbers) + more)
    rqueue, wqueue, uid, inode = numbers
    assert ipaddress.ip_address(found.address) == address
    assert found._replace(address="") == sockets.Inet(
        inode, protocol, address.version, "", port, uid, word, rqueue, wqueue
    )


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        inet_answer(2, 10, b"", 1, (0, 0, 0, 0))[:-1],
        inet_answer(1, 10, b"", 1, (0, 0, 0, 0)),
        inet_answer(2, 1, b"", 1, (0, 0, 0, 0)),
    ],
)
def test_what_is_no_network_socket_is_refused(answer):
    with pytest.raises(ValueError, match="network socket"):
        sockets.parse_inet_diag(answer)


@given(st.binary(max_size=100))
def test_any_bytes_are_a_network_socket_or_a_value_error(data):
    with contextlib.suppress(ValueError):
        sockets.parse_inet_diag(data)


COUNTER = st.integers(0, (1 << 64) - 1)


@given(
    st.dictionaries(st.sampled_from(["ListenOverflows", "ListenDrops", "TCPReqQFullDrop", "SyncookiesSent"]), COUNTER),
    st.booleans(),
)
def test_the_counters_of_listeners_come_out(counters, extended):
    other = "IpExt: ListenOverflows InOctets\nIpExt: 1 2\n"
    text = "TcpExt: %s\nTcpExt: %s\n" % (" ".join(counters), " ".join(map(str, counters.values())))
    found = sockets.parse_netstat((text + other if extended else other + text).encode())
    assert found == (counters.get("ListenOverflows"), counters.get("ListenDrops"))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"IpExt: ListenDrops\nIpExt: 1\n",
        b"TcpExt: ListenDrops\n",
        b"TcpExt: ListenDrops ListenOverflows\nTcpExt: 1\n",
        b"TcpExt: ListenDrops\nTcpExt: many\n",
    ],
)
def test_what_is_no_netstat_is_refused(text):
    with pytest.raises(ValueError, match=r"TcpExt|invalid literal"):
        sockets.parse_netstat(text)


@given(st.binary(max_size=200))
def test_any_bytes_are_netstat_or_a_value_error(text):
    with contextlib.suppress(ValueError):
        sockets.parse_netstat(b"TcpExt: ListenDrops\nTcpExt: " + text)


# ---------------------------------------------------------------- reading


class Says(Kernel):
    """A kernel that gives the same answer to every question, or the same error."""

    def __init__(self, answers: List[bytes], code: int = 0) -> None:
        super().__init__()
        self.answers = answers
        self.code = code

    def sock_diag(self, family: int, request: bytes) -> List[bytes]:
        if self.code:
            raise OSError(self.code, os.strerror(self.code))
        return self.answers


NETSTAT = "TcpExt: ListenOverflows ListenDrops\nTcpExt: 3 4\n"


@pytest.fixture
def proc(tmp_path):
    """Return a /proc with the files of a kernel that has every family; the path to change it is beside."""
    for name in ("self/net/unix", "self/net/tcp", "self/net/tcp6", "self/net/udp", "self/net/udp6"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "self/net/netstat").write_text(NETSTAT)
    (tmp_path / "sys/net/core").mkdir(parents=True)
    (tmp_path / "sys/net/core/somaxconn").write_text("4096\n")
    with Directory.open(str(tmp_path)) as directory:
        yield directory, tmp_path


def test_a_kernel_that_lists_no_sockets_is_a_gap_that_names_the_module(proc):
    for code in (errno.ENOENT, errno.EPROTONOSUPPORT):
        found = sockets.read_sockets(Says([], code), proc[0], 9, ["unix", "inet"])
        assert (found.unix, found.inet, found.known) == (None, None, frozenset())
        assert [(gap.evidence, gap.kind) for gap in found.gaps] == [(Evidence.TABLE, "unix")] + 4 * [
            (Evidence.TABLE, "inet")
        ]
        for gap, module in zip(found.gaps, ["unix_diag", "tcp_diag", "tcp_diag", "udp_diag", "udp_diag"]):
            assert module in gap.why
            assert "9" in gap.what


def test_another_error_is_a_gap_with_its_reason(proc):
    found = sockets.read_sockets(Says([], errno.EACCES), proc[0], 9, ["unix"])
    assert [gap.why for gap in found.gaps] == [os.strerror(errno.EACCES)]


def test_sockets_that_this_kernel_does_not_have_are_not_missed(proc):
    directory, path = proc
    for name in ("unix", "tcp6", "udp6"):
        (path / "self/net" / name).unlink()
    found = sockets.read_sockets(Says([], errno.ENOENT), directory, 9, ["unix", "inet"])
    assert found.unix == []
    assert found.inet == []
    assert [gap.what.split()[0] for gap in found.gaps] == ["tcp", "udp"]


def test_without_a_proc_an_error_is_a_gap(tmp_path):
    with Directory.open(str(tmp_path)) as directory:
        found = sockets.read_sockets(Says([], errno.ENOENT), directory, 9, ["unix", "inet"])
    assert (found.unix, found.inet) == (None, None)
    assert found.network == Network(9)
    assert [(gap.evidence, gap.kind) for gap in found.gaps][5:] == [(Evidence.LIMITS, "inet")] * 2


def test_what_the_network_namespace_counts(proc):
    directory, path = proc
    assert sockets.read_sockets(Says([]), directory, 9, ["inet"]).network == Network(9, 3, 4, 4096)
    (path / "self/net/netstat").write_text("nothing")
    (path / "sys/net/core/somaxconn").write_text("many")
    found = sockets.read_sockets(Says([]), directory, 9, ["inet"])
    assert found.network == Network(9)
    assert len(found.gaps) == 2


def test_only_what_is_asked_for_is_read(proc):
    none = Says([b"bad"])
    found = sockets.read_sockets(none, proc[0], 9, ["shm"])
    assert found == sockets.Sockets(9, None, None, Network(9), [])


def test_an_answer_that_makes_no_sense_is_a_gap_and_the_others_are_kept(proc):
    named = attribute(0, b"/x\0")
    answers = [
        unix_answer(inode=1, attributes=(named,)),
        b"short",
        unix_answer(kind=9, inode=2, attributes=(named,)),
        unix_answer(inode=3),
    ]
    found = sockets.read_sockets(Says(answers), proc[0], 9, ["unix"])
    assert [one.inode for one in found.unix or ()] == [1]
    assert found.known == {1, 2, 3}
    assert len(found.gaps) == 1
    assert found.gaps[0].why.startswith("2 of the kernel's answers could not be understood")
    found = sockets.read_sockets(Says([inet_answer(2, 10, b"", 1, (0, 0, 0, 0)), b"short"]), proc[0], 9, ["inet"])
    assert len(found.inet or ()) == 4
    assert [gap.kind for gap in found.gaps] == ["inet"] * 4


# ---------------------------------------------------------------- sockets and files


def unix(inode: int, **more: Any) -> sockets.Unix:
    base = sockets.Unix(inode, "stream", "listen", "/run/x", 5, 100, 0, 128, 33, None)
    return base._replace(**more)


def space(namespace: int, *unix_sockets: sockets.Unix) -> sockets.Sockets:
    return sockets.Sockets(namespace, list(unix_sockets), None, Network(namespace), [])


UNREAD = sockets.Sockets(3, None, None, Network(3), [])


def files(*rows: Dict[str, Any]) -> Table:
    base = {
        "path": "/run/x", "dev": 5, "ino": 100, "mode": 0o666, "uid": 0, "gid": 1, "nlink": 1, "atime": 11,
        "mtime": 12, "ctime": 13, "open_path": True, "inexact": False,
    }  # fmt: skip
    return Table("files", {name: [{**base, **row}[name] for row in rows] for name in base})


def rows(table: Table) -> List[Dict[str, Any]]:
    assert {len(column) for column in table.columns.values()} == {len(table)}
    return [{name: table[name][at] for name in table.columns} for at in range(len(table))]


def brief(table: Table) -> List[Tuple[Any, ...]]:
    return [(row["id"], row["path"], row["state"]) for row in rows(table)]


def test_a_socket_takes_the_columns_of_its_file():
    own = space(1, unix(7, path="x", rqueue=2))
    table = sockets.unix_table(own, files({}), [own])
    assert table.kind == "unix"
    assert table.namespace == 1
    assert rows(table) == [
        {
            "id": 7, "path": "/run/x", "dev": 5, "ino": 100, "mode": 0o666, "uid": 0, "gid": 1, "type": "stream",
            "state": "listen", "rqueue": 2, "wqueue": 128, "open_path": True, "mtime": 12, "ctime": 13,
            "inexact": False,
        }
    ]  # fmt: skip


def test_a_socket_whose_file_was_not_found_says_what_the_kernel_says():
    own = space(1, unix(7), unix(8, path="@name", dev=None, ino=None))
    for none in (None, files()):
        assert rows(sockets.unix_table(own, none, [])) == [
            {
                "id": number, "path": path, "dev": dev, "ino": ino, "mode": None, "uid": 33, "gid": None,
                "type": "stream", "state": "listen", "rqueue": 0, "wqueue": 128, "open_path": None, "mtime": None,
                "ctime": None, "inexact": False,
            }
            for number, path, dev, ino in ((7, "/run/x", 5, 100), (8, "@name", None, None))
        ]  # fmt: skip


def test_only_sockets_that_can_be_asked_are_rows():
    own = space(
        1,
        unix(1, state="established"),
        unix(2, state="unconnected"),
        unix(3, state="established", type="dgram"),
        unix(4, state="established", type="seqpacket"),
        unix(5, state="unconnected", type="dgram"),
    )
    assert [row[0] for row in brief(sockets.unix_table(own, None, []))] == [2, 3, 5]


def test_a_file_is_never_matched_by_its_path():
    own = space(1, unix(7, ino=99))
    found = brief(sockets.unix_table(own, files({}), []))
    assert found == [(7, "/run/x", "listen"), (None, "/run/x", "stale")]
    own = space(1, unix(7, dev=6))
    assert brief(sockets.unix_table(own, files({}), []))[1] == (None, "/run/x", "stale")


def test_a_file_that_only_connections_are_left_of_is_not_stale():
    own = space(1, unix(7, state="established"))
    assert brief(sockets.unix_table(own, files({}), [])) == [(None, "/run/x", "established")]
    both = space(1, unix(7, state="established"), unix(8))
    assert brief(sockets.unix_table(both, files({}), [])) == [(8, "/run/x", "listen")]
    elsewhere = space(2, unix(7, state="established"))
    assert brief(sockets.unix_table(space(1), files({}), [elsewhere])) == [(None, "/run/x", "established")]


def test_a_socket_of_another_network_namespace_is_a_row_if_its_file_is_here():
    other = space(2, unix(7), unix(8, ino=55), unix(9, path="@name", dev=None, ino=None))
    table = sockets.unix_table(space(1), files({"path": "/shared/x"}), [space(1), other])
    assert brief(table) == [(7, "/shared/x", "listen")]
    assert table.namespace == 1


def test_nothing_is_stale_while_the_sockets_of_a_namespace_are_not_known():
    assert brief(sockets.unix_table(space(1), files({}), [UNREAD])) == [(None, "/run/x", "unknown")]
    assert brief(sockets.unix_table(UNREAD, files({}), [])) == [(None, "/run/x", "unknown")]
    own = space(1, unix(7))
    assert brief(sockets.unix_table(own, files({}), [UNREAD])) == [(7, "/run/x", "listen")]


def test_our_own_sockets_count_once():
    own = space(1, unix(7))
    assert len(sockets.unix_table(own, None, [own, space(1, unix(7))])) == 1


def test_the_kernel_gives_32_bits_of_an_inode_number():
    own = space(1, unix(7, ino=100))
    found = rows(sockets.unix_table(own, files({"ino": (9 << 32) + 100}), []))
    assert [(row["id"], row["ino"]) for row in found] == [(7, (9 << 32) + 100)]


def test_two_names_of_one_inode_make_one_row_with_the_name_of_the_bind():
    both = files({"path": "/run/other", "nlink": 2}, {"path": "/run/x", "nlink": 2})
    assert brief(sockets.unix_table(space(1, unix(7)), both, [])) == [(7, "/run/x", "listen")]
    renamed = space(1, unix(7, path="/run/before"))
    assert brief(sockets.unix_table(renamed, both, [])) == [(7, "/run/other", "listen")]


def test_a_file_with_an_inexact_device_is_matched_by_its_inode_alone():
    own = space(1, unix(7, dev=44))
    assert brief(sockets.unix_table(own, files({"inexact": True, "path": "/over/x"}), [])) == [(7, "/over/x", "listen")]
    assert brief(sockets.unix_table(own, files({"inexact": True, "ino": 101}), []))[1] == (None, "/run/x", "stale")


def test_a_device_that_is_exact_for_one_file_is_exact_for_all():
    """A file of a tmpfs and one of an overlay that has the same inode number by chance."""
    both = files({"path": "/over/x", "inexact": True, "dev": 77}, {"path": "/run/x"})
    own = space(1, unix(7))
    assert brief(sockets.unix_table(own, both, [])) == [(7, "/run/x", "listen"), (None, "/over/x", "stale")]
    own = space(1, unix(7, path="/over/x", dev=44), unix(8, ino=102))
    found = brief(sockets.unix_table(own, both, []))
    assert found == [(7, "/over/x", "listen"), (8, "/run/x", "listen"), (None, "/run/x", "stale")]


SMALL = st.integers(1, 3)
SOCKETS = st.lists(
    st.builds(
        unix,
        st.integers(1, 10**6),
        type=st.sampled_from(["stream", "dgram", "seqpacket"]),
        state=st.sampled_from(["listen", "established", "unconnected"]),
        dev=SMALL,
        ino=SMALL,
    ),
    max_size=6,
)


@given(SOCKETS, SOCKETS, st.lists(st.tuples(SMALL, SMALL), max_size=5))
def test_every_file_is_in_the_table_and_stale_only_without_any_socket(own, other, keys):
    spaces = [space(1, *own), space(2, *other)]
    found = rows(sockets.unix_table(spaces[0], files(*({"dev": dev, "ino": ino} for dev, ino in keys)), spaces))
    everybody = [*own, *other]
    listed = [(row["dev"], row["ino"], row["state"]) for row in found if row["id"] is None]
    for key in keys:
        there = [one for one in everybody if (one.dev, one.ino) == key]
        bound = any(one.answers for one in there)
        state = "established" if there else "stale"
        assert listed.count((*key, state)) == (0 if bound else keys.count(key))
        assert any((row["dev"], row["ino"]) == key for row in found)
    assert len(listed) == sum(not any(one.answers and (one.dev, one.ino) == key for one in everybody) for key in keys)
    ours = [one.inode for one in own if one.answers]
    theirs = [one.inode for one in other if one.answers and (one.dev, one.ino) in keys]
    assert [row["id"] for row in found if row["id"] is not None] == ours + theirs


def test_the_table_of_network_sockets():
    own = space(1)._replace(
        inet=[
            sockets.Inet(7, "tcp", 4, "0.0.0.0", 80, 33, "listen", 1, 128),
            sockets.Inet(8, "tcp", 6, "::", 80, 33, "listen", 0, 128),
            sockets.Inet(9, "udp", 6, "::1", 53, 0, "bound", 5, 0),
        ]
    )
    table = sockets.inet_table(own)
    assert (table.kind, table.namespace) == ("inet", 1)
    assert list(table["path"]) == ["tcp:0.0.0.0:80", "tcp:[::]:80", "udp:[::1]:53"]
    assert list(table["id"]) == [7, 8, 9]
    assert rows(table)[2] == {
        "id": 9, "path": "udp:[::1]:53", "protocol": "udp", "address": "::1", "port": 53, "uid": 0, "state": "bound",
        "rqueue": 5, "wqueue": 0,
    }  # fmt: skip
    assert len(sockets.inet_table(space(1))) == 0
