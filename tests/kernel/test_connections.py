"""`ipcops show` of real sockets tells both ends: who is connected, in which process, in which network namespace."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import socket
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import containers, world
from tests.world import GONE, in_world

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
MPTCP = 262
PLACE = "/dev/shm"
WALKED = world.SCAN + f"fifo_dirs = {PLACE}\n"
TYPES = {"stream": socket.SOCK_STREAM, "dgram": socket.SOCK_DGRAM, "seqpacket": socket.SOCK_SEQPACKET}
HOLDER = {"pid", "started_at", "command", "unit", "container"}


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


def inode(of: socket.socket) -> int:
    return os.fstat(of.fileno()).st_ino


def bound(address: Any, kind: str = "stream") -> socket.socket:
    """Return a Unix socket that is bound, and listens unless it takes datagrams."""
    made = socket.socket(socket.AF_UNIX, TYPES[kind])
    made.bind(address)
    if kind != "dgram":
        made.listen(5)
    return made


def network(address: str, *, protocol: int = 0) -> socket.socket:
    """Return a listening TCP socket."""
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, protocol)
    made.bind((address, 0))
    made.listen(5)
    return made


def serve(make: Callable[[], socket.socket], *, count: int = 1 << 30) -> world.Process:
    """Start a process that accepts the first *count* connections; its value is inode and address of its listener."""
    kept: list[socket.socket] = []

    def begin() -> tuple[int, Any]:
        kept.append(make())
        return inode(kept[0]), kept[0].getsockname()

    def accept(_: Any) -> None:
        while len(kept) <= count:
            kept.append(kept[0].accept()[0])
        world.wait_until(lambda: False, "the end", world.TIMEOUT)

    return world.spawn(begin, then=accept)


def connected(
    address: Any,
    family: int = socket.AF_UNIX,
    kind: str = "stream",
    *,
    without: Sequence[socket.socket] = (),
    **more: Any,
) -> world.Process:
    """Start a process *without* some sockets of ours that is connected; its value is the inode of its socket."""

    def connect() -> int:
        for one in without:
            one.close()
        made = socket.socket(family, TYPES[kind])
        made.connect(address)
        number = inode(made)
        made.detach()
        return number

    return world.spawn(connect, **more)


def show(*words: str, text: str = world.SCAN, uid: int | None = None) -> list[dict[str, Any]]:
    answer = world.ipcops("show", "--format", "json", "--policy", world.policy(text), *words, uid=uid)
    assert answer.status == 0, answer.err
    found: list[dict[str, Any]] = answer.json["objects"]
    return found


def connections(name: str, count: int = 1, **more: Any) -> list[dict[str, Any]]:
    """Return the connections of an object as soon as a server has accepted *count* of them."""

    def look() -> list[dict[str, Any]] | None:
        [one] = show(name, **more)
        found: list[dict[str, Any]] = one["connections"]
        return found if sum(each["id"] is not None for each in found) == count else None

    got: list[dict[str, Any]] = world.wait_until(look, f"{count} connections of {name}")
    return got


def pids(holders: list[dict[str, Any]]) -> list[int]:
    assert all(set(one) == HOLDER for one in holders)
    return [one["pid"] for one in holders]


def ends(found: list[dict[str, Any]]) -> dict[int, tuple[list[int], list[int]]]:
    """Return the processes of both ends of connections, by the peer's inode."""
    return {one["peer"]: (pids(one["holders"]), pids(one["peer_holders"])) for one in found}


# ---------------------------------------------------------------- Unix sockets


@in_world()
@pytest.mark.parametrize(("kind", "path"), [("stream", f"{PLACE}/x"), ("seqpacket", f"{PLACE}/x"), ("stream", "@x")])
def test_two_clients_of_a_listener(kind: str, path: str) -> None:
    private_network()
    address = path.replace("@", "\0")
    server = serve(lambda: bound(address, kind))
    clients = [connected(address, kind=kind) for _ in range(2)]
    found = connections(f"unix:{path}", 2)
    assert ends(found) == {client.value: ([server.pid], [client.pid]) for client in clients}
    assert {(one["local"], one["remote"], one["state"]) for one in found} == {(path, None, "established")}
    assert {(one["note"], one["peer_note"]) for one in found} == {(None, None)}
    assert connections(f"unix:{server.value[0]}", 2) == found
    # By its own number each end knows the other.
    by_id = {each["id"]: each for each in show(*(f"unix:{one[end]}" for one in found for end in ("id", "peer")))}
    for one in found:
        here, there = by_id[one["id"]], by_id[one["peer"]]
        assert (here["path"], there["path"], here["type"]) == (None, None, kind)
        assert here["connections"] == [one]
        [back] = there["connections"]
        assert (back["id"], back["peer"], back["remote"]) == (one["peer"], one["id"], path)
        assert pids(back["peer_holders"]) == [server.pid]
    text = world.ipcops("show", f"unix:{path}").out
    assert all(f"{process.pid} (" in text.partition("connections\n")[2] for process in (server, *clients))


@in_world()
def test_who_waits_to_be_accepted() -> None:
    private_network()
    path = f"{PLACE}/x"
    server = serve(lambda: bound(path), count=1)
    first = connected(path)
    connections(f"unix:{path}")
    late = connected(path)
    [accepted, waiting] = connections(f"unix:{path}")
    assert ends([accepted]) == {first.value: ([server.pid], [first.pid])}
    assert (waiting["id"], waiting["state"], waiting["note"]) == (None, "waiting", "not accepted yet")
    assert ends([waiting]) == {late.value: ([], [late.pid])}
    [one] = show(f"unix:{late.value}")
    [its] = one["connections"]
    assert (its["state"], its["remote"], its["peer"]) == ("waiting", path, None)
    assert its["peer_note"] == f"not accepted yet by unix:{server.value[0]}"


@in_world()
def test_a_queue_too_long_for_the_kernel_to_tell_hides_no_other_connection() -> None:
    """An answer about some 1,000 waiting clients is too large for the kernel: it ends its list without a word."""
    private_network()
    count, limit = 1100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit != resource.RLIM_INFINITY and limit < count + 100:
        pytest.skip(f"not allowed {count} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    server = bound(f"{PLACE}/x")
    server.listen(count)
    first = connected(f"{PLACE}/x")
    accepted, _ = server.accept()
    waiting = [socket.socket(socket.AF_UNIX) for _ in range(count)]
    for client in waiting:
        client.settimeout(0)
        client.connect(f"{PLACE}/x")
    [one] = show(f"unix:{PLACE}/x")
    assert one["rqueue"] == count
    by_id = {each["id"]: each for each in one["connections"]}
    assert by_id[inode(accepted)]["peer"] == first.value
    notes = {each["peer_note"] for each in one["connections"] if each["id"] is None}
    told = {each["peer"] for each in one["connections"] if each["id"] is None}
    assert told == {*map(inode, waiting)} or notes == {f"{count} wait, more than the kernel has room to tell"}


@in_world()
def test_who_is_connected_to_a_datagram_socket() -> None:
    private_network()
    path = f"{PLACE}/log"
    server = world.spawn(lambda: bound(path, "dgram").detach())
    number = next(iter(show(f"unix:{path}")))["id"]
    clients = [connected(path, kind="dgram") for _ in range(2)]
    found = connections(f"unix:{path}", 2)
    assert ends(found) == {client.value: ([server.pid], [client.pid]) for client in clients}
    assert {(one["id"], one["local"], one["state"]) for one in found} == {(number, path, "established")}
    [one] = show(f"unix:{clients[0].value}")
    [its] = one["connections"]
    assert (its["peer"], its["remote"], pids(its["peer_holders"])) == (number, path, [server.pid])
    server.kill()
    [one] = show(f"unix:{clients[0].value}")
    assert [(each["peer"], each["peer_note"]) for each in one["connections"]] == [(None, "closed")]


@in_world()
@pytest.mark.parametrize("kind", sorted(TYPES))
def test_a_pair_without_a_name(kind: str) -> None:
    private_network()
    here, there = socket.socketpair(socket.AF_UNIX, TYPES[kind])
    child = world.spawn(here.close)
    there.close()
    [one] = show(f"unix:{inode(here)}")
    assert (one["path"], one["type"], one["state"], one["verdict"]) == (None, kind, "established", "in-use")
    assert pids(one["holders"]) == [os.getpid()]
    [connection] = one["connections"]
    assert ends([connection]) == {connection["peer"]: ([os.getpid()], [child.pid])}
    assert connection["peer"] != inode(here)
    child.kill()
    [one] = show(f"unix:{inode(here)}")
    assert [(each["peer"], each["peer_note"]) for each in one["connections"]] == [(None, "closed")]


@in_world()
def test_the_listener_is_closed_and_its_connections_live() -> None:
    private_network()
    path = f"{PLACE}/x"
    listeners = bound(path), bound("\0x")
    client, other = (connected(address, without=listeners) for address in (path, "\0x"))
    accepted, accepted_too = (listener.accept()[0] for listener in listeners)
    for listener in listeners:
        listener.close()
    for name, text, peer, its in [
        (f"unix:{path}", WALKED, client, accepted),  # the file was found
        (f"unix:{path}", world.SCAN, client, accepted),
        ("unix:@x", world.SCAN, other, accepted_too),
    ]:
        [one] = show(name, text=text)
        assert (one["id"], one["state"], one["verdict"]) == (None, "established", "in-use")
        assert [each["id"] for each in one["connections"]] == [inode(its)]
        assert ends(one["connections"]) == {peer.value: ([os.getpid()], [peer.pid])}
    accepted.close()
    client.kill()
    other.kill()
    answer = world.ipcops("show", f"unix:{path}")
    assert (answer.status, "there is no unix:" in answer.err) == (2, True)


@in_world()
def test_a_client_in_another_network_namespace() -> None:
    """What a server accepts from there is in no list of the server's own network namespace."""
    world.needs_root()
    private_network()
    path = f"{PLACE}/x"
    server = serve(lambda: bound(path))

    def enter() -> tuple[int, int]:
        private_network()
        made = socket.socket(socket.AF_UNIX)
        made.connect(path)
        number = inode(made)
        abstract = bound("\0same")  # a name that our namespace has, too
        one = socket.socket(socket.AF_UNIX)
        one.connect("\0same")
        for each in (made, abstract, one, abstract.accept()[0]):
            each.detach()
        return number, world.namespace("net")

    client = world.spawn(enter)
    number, space = client.value
    [connection] = connections(f"unix:{path}")
    assert ends([connection]) == {number: ([server.pid], [client.pid])}
    [accepted] = show(f"unix:{connection['id']}")
    assert accepted["namespace"] == space
    assert pids(accepted["holders"]) == [server.pid]
    assert accepted["connections"] == [connection]
    abstract = bound("\0same")
    [one] = show("unix:@same")
    assert (one["id"], one["connections"]) == (inode(abstract), [])
    assert one["namespace"] == world.namespace("net")


@in_world()
def test_both_ends_in_another_network_namespace() -> None:
    world.needs_root()
    private_network()

    def enter() -> tuple[list[int], Any]:
        private_network()
        made = [bound("\0x"), network("127.0.0.1")]
        made += [socket.socket(socket.AF_UNIX), socket.create_connection(made[1].getsockname())]
        made[2].connect("\0x")
        made += [made[0].accept()[0], made[1].accept()[0]]
        return [os.fstat(one.detach()).st_ino for one in made], world.namespace("net")

    there = world.spawn(enter)
    numbers, space = there.value
    names = [f"unix:{numbers[2]}", f"unix:{numbers[4]}", f"inet:{numbers[3]}", f"inet:{numbers[5]}"]
    found = {one["id"]: one for one in show("--all-namespaces", *names)}
    assert set(found) == {numbers[at] for at in (2, 3, 4, 5)}
    for here, peer in ((2, 4), (4, 2), (3, 5), (5, 3)):
        one = found[numbers[here]]
        assert one["namespace"] == space
        assert ends(one["connections"]) == {numbers[peer]: ([there.pid], [there.pid])}
    answer = world.ipcops("show", names[2])
    assert (answer.status, "there is no inet:" in answer.err) == (2, True)


@in_world()
def test_another_mount_namespace_does_not_repeat_the_sockets_of_its_network() -> None:
    private_network()
    server = bound("\0x")
    client = socket.socket(socket.AF_UNIX)
    client.connect("\0x")
    world.spawn(lambda: world.unshare(world.CLONE_NEWNS))
    listed = world.ipcops("list", "unix", "--all-namespaces", "--format", "json").json["objects"]
    assert [one["id"] for one in listed if one["id"] == inode(server)] == [inode(server)]
    found = show("unix:@x", f"unix:{inode(client)}", "--all-namespaces")
    assert sorted(one["id"] for one in found) == sorted(map(inode, (server, client)))


@in_world()
def test_a_user_is_told_what_could_not_be_seen() -> None:
    world.needs_root()
    private_network()
    path = f"{PLACE}/x"
    server = serve(lambda: bound(path))
    os.chmod(path, 0o777)
    client = connected(path, uid=GONE)
    connections(f"unix:{path}")
    [one] = connections(f"unix:{path}", uid=GONE)
    assert server.pid not in pids(one["holders"])
    assert one["note"] == "no process was seen that has it"
    assert (pids(one["peer_holders"]), one["peer_note"]) == ([client.pid], None)


@in_world()
def test_other_commands_do_not_look_for_connections() -> None:
    private_network()
    server = serve(lambda: bound(f"{PLACE}/x"))
    connected(f"{PLACE}/x")
    found = world.ipcops("list", "unix", "inet", "--format", "json").json["objects"]
    assert [one["id"] for one in found] == [server.value[0]]
    assert "connections" not in found[0]


# ---------------------------------------------------------------- network sockets


@in_world()
@pytest.mark.parametrize(
    ("listens", "connects", "protocol"),
    [
        ("127.0.0.1", "127.0.0.1", 0),
        ("0.0.0.0", "127.0.0.1", 0),
        ("::1", "::1", 0),
        ("::", "127.0.0.1", 0),
        ("127.0.0.1", "127.0.0.1", MPTCP),
    ],
)
def test_both_ends_of_a_network_connection(listens: str, connects: str, protocol: int) -> None:
    private_network()
    try:
        network(listens, protocol=protocol).close()
    except OSError as error:
        pytest.skip(f"not on this kernel: {error}")
    server = serve(lambda: network(listens, protocol=protocol))
    number, address = server.value
    family = socket.AF_INET6 if ":" in connects else socket.AF_INET
    clients = [connected((connects, address[1]), family) for _ in range(2)]
    path = "tcp:%s:%d" % (f"[{listens}]" if ":" in listens else listens, address[1])
    found = connections(f"inet:{path}", 2)
    assert ends(found) == {client.value: ([server.pid], [client.pid]) for client in clients}
    assert {one["state"] for one in found} == {"established"}
    seen = f"[{connects}]" if ":" in connects else f"[::ffff:{connects}]" if ":" in listens else connects
    assert {one["local"] for one in found} == {f"{seen}:{address[1]}"}
    assert all(one["remote"].startswith(f"{seen}:") for one in found)
    assert connections(f"inet:{number}", 2) == found
    [one] = show(f"inet:{clients[0].value}")
    assert (one["state"], one["verdict"], one["reasons"][0][:20]) == ("established", "in-use", "connected, held by p")
    [its] = one["connections"]
    assert ends([its])[its["peer"]] == ([clients[0].pid], [server.pid])
    assert {its["peer"]: its["id"]} == {each["id"]: each["peer"] for each in found if each["peer"] == its["id"]}


@in_world()
def test_a_network_connection_that_waits_and_one_that_is_closed() -> None:
    private_network()
    listener = network("127.0.0.1")
    address = listener.getsockname()
    name = f"inet:tcp:127.0.0.1:{address[1]}"
    gone = connected(address, socket.AF_INET)
    accepted, _ = listener.accept()
    gone.kill()
    late = connected(address, socket.AF_INET)
    [closed, waiting] = sorted(connections(name), key=lambda one: one["id"] is None)
    assert (closed["id"], closed["peer"], closed["peer_note"]) == (inode(accepted), None, "closed")
    assert closed["state"] == "close-wait"
    assert (waiting["id"], waiting["state"], waiting["note"]) == (None, "waiting", "not accepted yet")
    assert (waiting["peer"], pids(waiting["peer_holders"])) == (late.value, [late.pid])
    [one] = show(f"inet:{late.value}")
    assert [(each["peer"], each["peer_note"]) for each in one["connections"]] == [(None, "not accepted yet")]


@in_world()
def test_who_sends_to_a_datagram_socket() -> None:
    private_network()
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("0.0.0.0", 0))
    port = server.getsockname()[1]
    client = connected(("127.0.0.1", port), socket.AF_INET, "dgram")
    [one] = connections(f"inet:udp:0.0.0.0:{port}")
    assert (one["id"], one["peer"], pids(one["peer_holders"])) == (inode(server), client.value, [client.pid])
    [its] = show(f"inet:{client.value}")
    assert [each["peer"] for each in its["connections"]] == [inode(server)]


@in_world()
def test_the_other_end_is_in_another_network_namespace() -> None:
    world.needs_root()
    private_network()
    tool = shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if tool is None:
        pytest.skip("ip(8) is not here, which makes the cable between two network namespaces")
    listener = network("0.0.0.0")
    ready, go = os.pipe()

    def connect() -> None:
        private_network()

    def later(_: Any) -> None:
        os.read(ready, 1)
        made = socket.create_connection(("192.0.2.1", listener.getsockname()[1]))
        os.read(ready, 1)
        made.close()

    client = world.spawn(connect, then=later)
    try:
        cable = f"link add ipcops0 type veth peer name ipcops1 netns {client.pid}"
        subprocess.run([tool, *cable.split()], check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no cable between network namespaces here: {error.stderr!r}")
    for where, address, device in (([], "192.0.2.1/24", "ipcops0"), ([str(client.pid)], "192.0.2.2/24", "ipcops1")):
        enter = ["nsenter", "--net", "--target", *where] if where else []
        for words in (f"address add {address} dev {device}", f"link set {device} up"):
            subprocess.run([*enter, tool, *words.split()], check=True)
    os.write(go, b"x")
    accepted, _ = listener.accept()
    [one] = connections(f"inet:tcp:0.0.0.0:{listener.getsockname()[1]}")
    assert (one["id"], one["peer"], one["remote"].partition(":")[0]) == (inode(accepted), None, "192.0.2.2")
    assert one["peer_note"] == "on another host or in another network namespace"
    os.write(go, b"x")


# ---------------------------------------------------------------- containers


def test_a_container_that_uses_a_socket_of_the_host(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    server = bound(str(path))
    path.chmod(0o777)
    program = "import socket, time; s = socket.socket(1); s.connect('/given/x.sock'); time.sleep(60)"
    with containers.container("bookworm", mounts=[f"{tmp_path}:/given"], command=["python3", "-c", program]):
        accepted, _ = server.accept()
        answer = world.ipcops("show", f"unix:{path}", "--format", "json")
        [one] = answer.json["objects"]
        [connection] = one["connections"]
        assert (connection["id"], pids(connection["holders"])) == (inode(accepted), [os.getpid()])
        [client] = connection["peer_holders"]
        assert client["command"] == "python3"
        assert client["container"].startswith("podman ")
        text = world.ipcops("show", f"unix:{path}").out
        assert f"{client['pid']} (python3) in {client['container']}" in text
