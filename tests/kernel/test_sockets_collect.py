"""Real sockets in network namespaces of their own: what is listed, what is stale, and that asking disturbs nobody."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import select
import socket
import stat
import struct
from pathlib import Path
from typing import Any

import pytest

from ipcops.core.collect import sockets
from ipcops.core.fs import Directory
from ipcops.core.kernel import Kernel
from ipcops.core.model import Table
from tests import world
from tests.world import GONE, in_world

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
MPTCP = 262
PLACE = "/dev/shm"  # a tmpfs: the device that stat(2) gives is that of the file system
TYPES = {"stream": socket.SOCK_STREAM, "dgram": socket.SOCK_DGRAM, "seqpacket": socket.SOCK_SEQPACKET}
KERNEL = Kernel()


def private_network() -> None:
    """Leave the network namespace for one with nothing but its loopback device."""
    try:
        world.unshare(CLONE_NEWNET)
    except PermissionError as error:
        pytest.skip(f"not allowed a network namespace: {error}")
    with socket.socket() as any_socket:
        request = struct.pack("16sh22x", b"lo", 0)
        (flags,) = struct.unpack_from("16xh", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))


def look(*kinds: str) -> sockets.Sockets:
    """Return the sockets of the network namespace that this process is in now."""
    with Directory.open("/proc") as proc:
        found = sockets.read_sockets(KERNEL, proc, world.namespace("net"), kinds or ("unix",))
    assert found.gaps == []
    return found


def files(*paths: str) -> Table:
    """Return a table of socket files, as the walk of a directory gives it."""
    rows = []
    for path in paths:
        info = os.lstat(path)
        assert stat.S_ISSOCK(info.st_mode)
        rows.append({"path": path, "mode": info.st_mode & 0o7777, "open_path": True, "inexact": False})
        rows[-1].update((name, int(getattr(info, "st_" + name))) for name in "dev ino uid gid mtime ctime".split())
    names = "path dev ino mode uid gid mtime ctime open_path inexact".split()
    return Table("files", {name: [row[name] for row in rows] for name in names})


def rows(table: Table) -> list[dict[str, Any]]:
    return [{name: table[name][at] for name in table.columns} for at in range(len(table))]


def brief(*paths: str, everywhere: tuple[sockets.Sockets, ...] = ()) -> list[tuple[Any, ...]]:
    """Return (id, path, state) of our sockets and of the files at *paths*."""
    found = rows(sockets.unix_table(look(), files(*paths), everywhere))
    return sorted(((row["id"], row["path"], row["state"]) for row in found), key=lambda row: row[1])


def bound(path: str, kind: str = "stream", backlog: int | None = None) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, TYPES[kind])
    made.bind(path)
    if backlog is not None:
        made.listen(backlog)
    return made


def connected(path: str, kind: str = "stream") -> socket.socket:
    made = socket.socket(socket.AF_UNIX, TYPES[kind])
    made.settimeout(0)
    made.connect(path)
    return made


def inode(of: socket.socket) -> int:
    return os.fstat(of.fileno()).st_ino


# ---------------------------------------------------------------- names


@in_world()
def test_names_of_every_kind() -> None:
    private_network()
    os.chdir(PLACE)
    names = ["a b", "x\ny", "@x", "\udcff\udcfe", "ä", "rel.sock", " "]
    held = {name: bound(name, backlog=5) for name in names}
    abstract = {name: bound("\0" + name, backlog=5) for name in ["x", "a\0b\0", "rel.sock", "x\ny", f"{PLACE}/a b"]}
    found = {one.inode: one.path for one in look().unix or ()}
    assert [found[inode(held[name])] for name in names] == ["./@x" if name == "@x" else name for name in names]
    assert {found[inode(one)] for one in abstract.values()} == {"@" + name for name in abstract}
    # By the file, each is known by its whole path; the abstract ones have none.
    table = sockets.unix_table(look(), files(*(f"{PLACE}/{name}" for name in names)), [])
    assert {(row["id"], row["path"]) for row in rows(table)} == {
        *((inode(one), f"{PLACE}/{name}") for name, one in held.items()),
        *((inode(one), "@" + name) for name, one in abstract.items()),
    }
    for row in rows(table):
        is_file = row["path"].startswith("/")
        assert (row["mode"] is None) != is_file
        assert (row["ino"] is None) != is_file


@in_world()
def test_an_autobound_name_is_abstract_and_no_name_is_no_row() -> None:
    private_network()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind("")
        name = one.getsockname()[1:].decode()
        assert len(name) == 5
        pair = socket.socketpair()
        own = look()
        assert [(found.inode, found.path, found.dev) for found in own.unix or ()] == [(inode(one), "@" + name, None)]
        assert own.known == {inode(one), *map(inode, pair)}
        assert own.inet is None


@in_world()
def test_renamed_and_relative_files_are_not_stale() -> None:
    private_network()
    os.chdir(PLACE)
    one, other = bound("old.sock", backlog=1), bound("./there.sock", "dgram")
    os.rename("old.sock", "new.sock")
    os.mkdir("below")
    os.rename("there.sock", "below/there.sock")
    assert brief(f"{PLACE}/new.sock", f"{PLACE}/below/there.sock") == [
        (inode(other), f"{PLACE}/below/there.sock", "unconnected"),
        (inode(one), f"{PLACE}/new.sock", "listen"),
    ]


# ---------------------------------------------------------------- stale or not


@in_world()
def test_every_type_until_it_is_closed() -> None:
    private_network()
    cases = [("stream", None), ("stream", 3), ("seqpacket", None), ("seqpacket", 3), ("dgram", None)]
    for at, (kind, backlog) in enumerate(cases):
        path = f"{PLACE}/{at}"
        made = bound(path, kind, backlog)
        [row] = rows(sockets.unix_table(look(), files(path), []))
        state = "unconnected" if backlog is None else "listen"
        assert (row["id"], row["type"], row["state"]) == (inode(made), kind, state)
        assert row["ino"] == os.stat(path).st_ino
        assert row["dev"] == os.stat(path).st_dev
        if backlog is not None:
            assert (row["rqueue"], row["wqueue"]) == (0, backlog)
        made.close()
        assert brief(path) == [(None, path, "stale")]


@in_world()
@pytest.mark.parametrize("kind", ["stream", "seqpacket"])
def test_connections_outlive_their_listener(kind: str) -> None:
    private_network()
    path = f"{PLACE}/x"
    server = bound(path, kind, 5)
    client = connected(path, kind)
    accepted, _ = server.accept()
    assert brief(path) == [(inode(server), path, "listen")]
    mine = [one for one in look().unix or () if one.inode == inode(accepted)]
    assert [(one.path, one.state, one.peer) for one in mine] == [(path, "established", inode(client))]
    server.close()
    assert brief(path) == [(None, path, "established")]
    os.unlink(path)
    assert brief() == []
    accepted.close()


@in_world()
def test_a_datagram_socket_that_others_are_connected_to() -> None:
    private_network()
    path = f"{PLACE}/log"
    server = bound(path, "dgram")
    client = connected(path, "dgram")
    [row] = rows(sockets.unix_table(look(), files(path), []))
    assert (row["id"], row["type"]) == (inode(server), "dgram")
    client.send(b"message")
    [one] = look().unix or ()
    assert one.rqueue
    assert client.fileno() > 0


@in_world()
def test_a_file_of_another_network_namespace_is_not_stale() -> None:
    private_network()
    path = f"{PLACE}/x"

    def elsewhere() -> tuple[int, sockets.Sockets]:
        private_network()
        made = bound(path, backlog=3)
        found = look()
        made.detach()  # the process keeps it
        return found.unix[0].inode if found.unix else 0, found

    server = world.spawn(elsewhere)
    number, theirs = server.value
    assert theirs.namespace != world.namespace("net")
    assert brief(path) == [(None, path, "stale")], "it must take a look into the other namespace"
    assert brief(path, everywhere=(theirs,)) == [(number, path, "listen")]
    assert brief(everywhere=(theirs,)) == []
    assert KERNEL.probe_unix(path) == "bound"
    server.kill()
    assert KERNEL.probe_unix(path) == "nobody"


@in_world()
def test_files_that_were_unlinked() -> None:
    private_network()
    path = f"{PLACE}/x"
    first = bound(path, backlog=1)
    os.unlink(path)
    [row] = rows(sockets.unix_table(look(), files(), []))
    assert (row["id"], row["path"], row["mode"], row["open_path"]) == (inode(first), path, None, None)
    second = bound(path, backlog=1)
    table = rows(sockets.unix_table(look(), files(path), []))
    assert {row["id"]: row["mode"] is None for row in table} == {inode(first): True, inode(second): False}
    assert {row["path"] for row in table} == {path}
    second.close()
    assert {row["id"]: row["state"] for row in rows(sockets.unix_table(look(), files(path), []))} == {
        inode(first): "listen",
        None: "stale",
    }


@in_world()
def test_a_file_on_an_overlay_has_another_device_for_the_kernel() -> None:
    """It is why such files are marked inexact, and then are matched by their inode alone."""
    private_network()
    for name in ("lower", "upper", "over"):
        os.mkdir(f"{PLACE}/{name}")
    world.mount("tmpfs", f"{PLACE}/lower", "tmpfs")
    world.mount("tmpfs", f"{PLACE}/upper", "tmpfs")
    os.mkdir(f"{PLACE}/upper/files")
    os.mkdir(f"{PLACE}/upper/work")
    options = f"lowerdir={PLACE}/lower,upperdir={PLACE}/upper/files,workdir={PLACE}/upper/work,xino=off"
    try:
        world.mount("overlay", f"{PLACE}/over", "overlay", data=options)
    except OSError as error:
        pytest.skip(f"no overlay here: {error}")
    path = f"{PLACE}/over/x"
    made = bound(path, backlog=1)
    [one] = look().unix or ()
    assert one.dev == os.stat(f"{PLACE}/over").st_dev
    assert one.dev != os.stat(path).st_dev
    found = files(path)
    assert [row["state"] for row in rows(sockets.unix_table(look(), found, []))] == ["listen", "stale"]
    found.columns["inexact"] = [True]
    [row] = rows(sockets.unix_table(look(), found, []))
    assert (row["id"], row["path"], row["state"]) == (inode(made), path, "listen")


# ---------------------------------------------------------------- queues, owners, many


@in_world()
@pytest.mark.parametrize("kind", ["stream", "seqpacket"])
def test_a_full_queue_of_connections(kind: str) -> None:
    private_network()
    path = f"{PLACE}/x"
    server = bound(path, kind, 1)
    clients = [connected(path, kind) for _ in range(2)]
    with pytest.raises(BlockingIOError):
        connected(path, kind)
    [row] = rows(sockets.unix_table(look(), None, []))
    assert (row["rqueue"], row["wqueue"]) == (2, 1)
    server.accept()[0].detach()
    [row] = rows(sockets.unix_table(look(), None, []))
    assert (row["rqueue"], row["wqueue"]) == (1, 1)
    assert len(clients) == 2


@in_world()
def test_the_owner_of_a_socket_is_told_for_abstract_ones_too() -> None:
    world.needs_root()
    private_network()

    def make() -> None:
        bound("\0theirs", backlog=1).detach()

    world.spawn(make, uid=GONE)
    [one] = look().unix or ()
    if one.uid is None:
        pytest.skip("this kernel does not tell who owns a socket (before 5.3)")
    assert one.uid == GONE
    assert rows(sockets.unix_table(look(), None, []))[0]["uid"] == GONE


@in_world()
def test_a_list_of_many_parts_is_whole() -> None:
    private_network()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    count = min(2000, limit // 2 - 100)
    pairs = [one for _ in range(count // 2) for one in socket.socketpair()]
    names = [bound(f"\0name{at}", backlog=1) for at in range(count)]
    own = look()
    assert own.known == {*map(inode, pairs), *map(inode, names)}
    assert {one.inode for one in own.unix or ()} == {*map(inode, names)}


# ---------------------------------------------------------------- network sockets


def listener(address: str, backlog: int = 5, protocol: int = 0) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        made = socket.socket(family, socket.SOCK_STREAM, protocol)
        made.bind((address, 0))
    except OSError as error:
        if error.errno in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ENOPROTOOPT, errno.EADDRNOTAVAIL):
            pytest.skip(f"not on this kernel: {error}")
        raise
    made.listen(backlog)
    return made


def inet() -> dict[int, sockets.Inet]:
    return {one.inode: one for one in look("inet").inet or ()}


@in_world()
def test_listeners_of_both_families_and_datagram_sockets() -> None:
    private_network()
    four, six = listener("127.0.0.1", 7), listener("::", 8)
    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagram.bind(("0.0.0.0", 0))
    busy = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    busy.connect(datagram.getsockname())
    busy.send(b"12345")
    idle = socket.socket()
    idle.bind(("127.0.0.1", 0))
    client = socket.create_connection(four.getsockname())
    found = inet()
    assert set(found) == {inode(four), inode(six), inode(datagram)}, "neither connected nor merely bound TCP sockets"
    ports = [one.getsockname()[1] for one in (four, six, datagram)]
    uid = os.geteuid()
    assert found[inode(four)] == (inode(four), "tcp", 4, "127.0.0.1", ports[0], uid, "listen", 1, 7)
    assert found[inode(six)] == (inode(six), "tcp", 6, "::", ports[1], uid, "listen", 0, 8)
    heard = found[inode(datagram)]
    assert heard[:7] == (inode(datagram), "udp", 4, "0.0.0.0", ports[2], uid, "bound")
    assert heard.rqueue > 0
    paths = set(sockets.inet_table(look("inet"))["path"])
    assert paths == {f"tcp:127.0.0.1:{ports[0]}", f"tcp:[::]:{ports[1]}", f"udp:0.0.0.0:{ports[2]}"}
    assert client.fileno() > 0


@in_world()
def test_a_multipath_listener_is_one() -> None:
    private_network()
    made = listener("127.0.0.1", 3, MPTCP)
    assert [(one.protocol, one.state) for one in inet().values()] == [("tcp", "listen")]
    assert set(inet()) == {inode(made)}


@in_world()
def test_with_ipv6_off_nothing_is_missing() -> None:
    private_network()
    switch = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")
    if switch.exists():
        switch.write_text("1\n")
    made = listener("127.0.0.1")
    assert set(inet()) == {inode(made)}
    assert look("inet").gaps == []


@in_world()
def test_a_full_accept_queue_and_what_the_namespace_counts() -> None:
    with Directory.open("/proc") as proc:  # opened before, it shows what the reader is in
        private_network()
        somaxconn = Path("/proc/sys/net/core/somaxconn")
        somaxconn.write_text("77\n")
        server = listener("127.0.0.1", 1)
        wide = listener("127.0.0.1", 5000)
        clients = [socket.create_connection(server.getsockname()) for _ in range(2)]
        before = sockets.read_sockets(KERNEL, proc, 1, ["inet"]).network
        assert before == (1, 0, 0, 77)
        late = socket.socket()
        late.settimeout(0)
        assert late.connect_ex(server.getsockname()) == errno.EINPROGRESS

        def after() -> Any:
            network = sockets.read_sockets(KERNEL, proc, 1, ["inet"]).network
            return network if network.listen_overflows else None

        network = world.wait_until(after, "an overflow is counted")
        assert network.listen_drops
        assert network.listen_drops >= network.listen_overflows
    found = inet()
    assert (found[inode(server)].rqueue, found[inode(server)].wqueue) == (2, 1)
    assert found[inode(wide)].wqueue == 77, "cut to somaxconn"
    assert len(clients) == 2


@in_world()
def test_each_namespace_shows_its_own() -> None:
    private_network()
    made, network = listener("127.0.0.1"), bound("\0here", backlog=1)
    assert set(inet()) == {inode(made)}
    private_network()
    assert inet() == {}
    assert look().unix == []
    assert network.fileno() > 0


def test_a_family_that_the_kernel_cannot_list_is_an_error() -> None:
    with pytest.raises(OSError, match=r".") as caught:
        KERNEL.sock_diag(45, bytes(60))
    assert caught.value.errno in (errno.ENOENT, errno.EPROTONOSUPPORT, errno.EINVAL)


# ---------------------------------------------------------------- the probe


def state_of(path: str) -> list[Any]:
    """Return all that a probe could change of the sockets at *path* and of their file, atime last."""
    info = os.stat(path)
    named = [one for one in look().unix or () if one.path == path]
    return [*named, info.st_mtime_ns, info.st_ctime_ns, info.st_atime_ns]


@in_world()
@pytest.mark.parametrize(
    ("kind", "backlog", "waiting"),
    [
        *((kind, *queue) for kind in ("stream", "seqpacket") for queue in ((None, 0), (0, 0), (3, 1), (1, 2))),
        ("dgram", None, 0),
    ],
)
def test_the_probe_disturbs_nobody(kind: str, backlog: int | None, waiting: int) -> None:
    """Only bound, listening, with a client in the queue, and with a full queue."""
    private_network()
    path = f"{PLACE}/x"
    server = bound(path, kind, backlog)
    server.settimeout(0)
    clients = [connected(path, kind) for _ in range(waiting)]
    watch = select.epoll()
    watch.register(server, select.EPOLLIN | select.EPOLLET)
    watch.poll(0)  # what was there before
    os.utime(path, (1, 1))
    before, known = state_of(path), look().known
    assert KERNEL.probe_unix(path) == "bound"
    after = state_of(path)
    if kind == "seqpacket":  # its own type is asked, too, and the kernel notes that in the file's atime
        before[-1] = after[-1] = None
    assert after == before
    assert look().known == known, "the probe leaves no socket"
    assert watch.poll(0) == []
    if backlog is not None:
        for _ in clients:
            server.accept()
    if backlog is not None or kind == "dgram":
        with pytest.raises(BlockingIOError):
            server.recv(1) if kind == "dgram" else server.accept()
    server.close()
    assert KERNEL.probe_unix(path) == "nobody"


@in_world()
def test_the_probe_does_not_count_connections_without_a_listener() -> None:
    private_network()
    path = f"{PLACE}/x"
    server = bound(path, backlog=1)
    client = connected(path)
    accepted, _ = server.accept()
    server.close()
    assert KERNEL.probe_unix(path) == "nobody"
    client.send(b"alive")
    assert accepted.recv(9) == b"alive"


@in_world()
def test_the_probe_of_paths_that_are_too_long_for_connect() -> None:
    private_network()
    deep = PLACE + ("/" + "d" * 60) * 4
    os.makedirs(deep)
    os.chdir(deep)
    server = bound("s" * 100, backlog=1)
    os.rename("s" * 100, "s" * 250)
    path = f"{deep}/{'s' * 250}"
    assert KERNEL.probe_unix(path) == "bound"
    server.close()
    assert KERNEL.probe_unix(path) == "nobody"
    odd = bound("\udcff\n @", backlog=1)
    assert KERNEL.probe_unix(f"{deep}/\udcff\n @") == "bound"
    odd.close()


@in_world()
def test_the_probe_says_what_keeps_it_from_telling() -> None:
    world.needs_root()
    private_network()
    path = f"{PLACE}/x"
    server = bound(path, backlog=1)
    os.chmod(path, 0o600)

    def probe() -> int:
        try:
            KERNEL.probe_unix(path)
        except OSError as error:
            return error.errno or 0
        return 0

    assert world.as_uid(GONE, probe) == errno.EACCES
    os.chmod(path, 0o666)
    assert world.as_uid(GONE, lambda: KERNEL.probe_unix(path)) == "bound"
    assert server.fileno() > 0


@in_world()
def test_the_probe_is_only_for_sockets() -> None:
    private_network()
    os.chdir(PLACE)
    server = bound("x", backlog=1)
    Path("file").touch()
    os.mkfifo("fifo")
    os.symlink("x", "link")
    for name, code in (
        ("file", errno.ENOTSOCK),
        ("fifo", errno.ENOTSOCK),
        ("link", errno.ENOTSOCK),
        ("no", errno.ENOENT),
    ):
        with pytest.raises(OSError, match=r".") as caught:
            KERNEL.probe_unix(f"{PLACE}/{name}")
        assert caught.value.errno == code, name
    assert server.fileno() > 0
