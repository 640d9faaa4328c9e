"""The rules about FIFOs, pipes, sockets and the host on the real kernel: they fire where they must, and not else."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests import world
from tests.world import GONE, OTHER, in_world

CLONE_NEWNET = 0x40000000


def text(**audit: str) -> str:
    """Return a policy that looks for files in the world's own directory."""
    more = "".join(f"{name} = {value}\n" for name, value in audit.items())
    return f"[scan]\nunreadable_ok = init.scope\nfifo_dirs = {world.here()}\n[audit]\norphan_age = 0\n{more}"


def found(rule: str, *words: str, **audit: str) -> list[dict[str, Any]]:
    return [one for one in world.audit(*words, text=text(**audit))["findings"] if one["rule"] == rule]


def paths(rule: str, *words: str, **audit: str) -> set[str]:
    return {os.path.basename(one["path"] or "") for one in found(rule, *words, **audit)}


def fifo(name: str, mode: int = 0o600) -> str:
    path = str(world.here() / name)
    os.mkfifo(path)
    os.chmod(path, mode)
    return path


def bound(name: str, kind: int = socket.SOCK_STREAM) -> socket.socket:
    one = socket.socket(socket.AF_UNIX, kind)
    one.bind(str(world.here() / name))
    return one


def own_network() -> None:
    """Leave the machine's network namespace for a new one whose loopback is up."""
    world.unshare(CLONE_NEWNET)
    import fcntl
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP


# ---------------------------------------------------------------- FIFOs


@in_world()
def test_a_fifo_unused_for_long_is_stale_and_a_used_one_is_not() -> None:
    world.needs_root()
    fifo("old")
    used, waited = fifo("used"), fifo("waited")
    world.spawn(lambda: os.open(used, os.O_RDWR))
    waiter = world.spawn(then=lambda _: os.open(waited, os.O_RDONLY))
    world.wait_until(lambda: world.state_of(waiter.pid) == "S", "it to wait")
    assert paths("FIFO-002") == set(), "none is old yet"
    world.later(8 * 86400)
    young = fifo("young")
    os.utime(young, (time.time() + 8 * 86400,) * 2)
    assert paths("FIFO-002") == {"old"}


@in_world()
def test_a_fifo_that_everybody_may_write_to_is_told_if_they_can_reach_it() -> None:
    fifo("open", 0o622)
    fifo("closed", 0o600)
    hidden = world.here() / "private"
    hidden.mkdir(mode=0o700)
    fifo("private/unreachable", 0o666)
    assert paths("FIFO-003") == {"open"}


# ---------------------------------------------------------------- pipes


@in_world(timeout=120)
def test_a_user_over_the_soft_limit_of_pipe_pages_has_two_page_pipes() -> None:
    """The kernel itself says that the limit is reached: new pipes of that user hold two pages."""
    world.needs_root()
    page = os.sysconf("SC_PAGE_SIZE")
    soft = int(Path("/proc/sys/fs/pipe-user-pages-soft").read_text())
    pipes = soft // 16 + 20
    if not soft or resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 2 * pipes + 50:
        pytest.skip(f"pipe-user-pages-soft is {soft} and descriptors are few here, so it cannot be filled")

    def fill() -> None:
        for _ in range(pipes):
            os.pipe()

    def enough() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (2 * pipes + 50,) * 2)

    assert not [one for one in found("PIPE-001") if str(GONE) in one["reason"]]
    enough()
    filler = world.spawn(fill, uid=GONE)
    world.spawn(lambda: [os.pipe() for _ in range(8)], uid=OTHER)
    (one,) = (one for one in found("PIPE-001") if str(GONE) in one["reason"])
    assert (one["severity"], one["confidence"]) == ("high", "certain")
    assert not [other for other in found("PIPE-001") if str(OTHER) in other["reason"]]
    sizes = {pipe["capacity"] for pipe in world.objects("pipe") if pipe["owner"]["uid"] == GONE}
    assert sizes == {16 * page, 2 * page}
    filler.kill()
    assert not [one for one in found("PIPE-001") if str(GONE) in one["reason"]]


# ---------------------------------------------------------------- Unix sockets


def stale() -> set[str]:
    """Return the socket files called stale; where not every process can be seen that is a suspicion."""
    return paths("UNIX-001")


@in_world()
def test_only_a_file_that_nobody_is_bound_to_is_stale() -> None:
    world.needs_root()
    keep = [
        bound("listening"),
        bound("bound only"),
        bound("datagrams", socket.SOCK_DGRAM),
        bound("packets", socket.SOCK_SEQPACKET),
    ]
    keep[0].listen()
    bound("left").close()
    bound("left\nwith a newline").close()
    bound("@left").close()
    assert stale() == {"left", "left\nwith a newline", "@left"}
    assert len(keep) == 4


@in_world()
def test_renamed_relative_and_hidden_files_are_not_stale() -> None:
    world.needs_root()
    renamed = bound("before")
    os.rename(world.here() / "before", world.here() / "after")

    def relative() -> int:
        os.chdir(world.here())
        one = socket.socket(socket.AF_UNIX)
        one.bind("relative")
        return one.detach()

    def linked() -> int:
        os.symlink(world.here(), world.here() / "link")
        one = socket.socket(socket.AF_UNIX)
        one.bind(str(world.here() / "link" / "by a link"))
        return one.detach()

    world.spawn(relative)
    world.spawn(linked)
    bound("left").close()
    assert stale() == {"left"}
    renamed.close()


@in_world()
def test_a_file_whose_socket_is_in_another_network_namespace_is_not_stale() -> None:
    world.needs_root()

    def there() -> int:
        world.unshare(CLONE_NEWNET)
        one = bound("there")
        one.listen()
        return one.detach()

    keeper = world.spawn(there)
    bound("left").close()
    assert stale() == {"left"}
    keeper.kill()
    assert stale() == {"left", "there"}


@in_world()
def test_a_second_server_on_the_same_path_does_not_bring_the_first_files_socket_back() -> None:
    world.needs_root()
    first = bound("served")
    os.unlink(world.here() / "served")
    second = bound("served")
    assert stale() == set()
    second.close()
    assert stale() == {"served"}, "the first socket is bound, but to a file that is gone"
    first.close()


@in_world()
def test_a_probe_is_certain_where_not_everything_could_be_seen_and_only_when_asked_for() -> None:
    """An ordinary user cannot look into the network namespaces of others."""
    world.needs_root()
    world.spawn(uid=OTHER)
    os.chmod(world.here(), 0o777)
    server = bound("listening")
    os.chmod(world.here() / "listening", 0o666)
    server.listen()
    bound("left").close()
    os.chmod(world.here() / "left", 0o666)
    words = ("list", "unix", "--format", "json", "--policy", world.policy(text()))

    def verdicts(*more: str) -> dict[str, str]:
        listed = world.ipcops(*words, *more, uid=GONE).json["objects"]
        return {os.path.basename(one["path"]): one["verdict"] for one in listed if one["mode"]}

    assert verdicts()["left"] == "unknown"
    assert verdicts("--probe")["left"] == "orphan"
    assert verdicts("--probe")["listening"] == "in-use"
    server.settimeout(0)
    with pytest.raises(BlockingIOError):
        server.accept()


@in_world()
def test_a_socket_of_root_that_everybody_may_write_to() -> None:
    world.needs_root()
    for name, mode in (("everybody", 0o777), ("group", 0o770)):
        one = bound(name)
        one.listen()
        os.chmod(world.here() / name, mode)
        one.detach()

    def of_a_user() -> None:
        one = bound("users")
        one.listen()
        os.chmod(world.here() / "users", 0o777)
        one.detach()

    os.chmod(world.here(), 0o777)
    world.spawn(of_a_user, uid=GONE)
    (world.here() / "private").mkdir(mode=0o700)
    hidden = bound("private/unreachable")
    hidden.listen()
    os.chmod(world.here() / "private" / "unreachable", 0o777)
    assert paths("UNIX-003") == {"everybody"}


@in_world()
def test_an_abstract_name_of_root_is_reachable_by_all() -> None:
    world.needs_root()
    world.unshare(CLONE_NEWNET)
    keep = []
    dgram, stream = socket.SOCK_DGRAM, socket.SOCK_STREAM
    for name, kind in ((b"\0service", stream), (b"\0datagrams", dgram), (b"", dgram)):
        one = socket.socket(socket.AF_UNIX, kind)
        one.bind(name)  # the empty one gets a name of five digits, which nobody can know
        if kind == stream:
            one.listen()
        keep.append(one)

    def of_a_user() -> int:
        one = socket.socket(socket.AF_UNIX)
        one.bind(b"\0users")
        one.listen()
        return one.detach()

    world.spawn(of_a_user, uid=GONE)
    assert {one["path"] for one in found("UNIX-004")} == {"@service", "@datagrams"}
    world.as_uid(GONE, lambda: socket.socket(socket.AF_UNIX).connect(b"\0service"))  # as it says


# ---------------------------------------------------------------- network sockets


def overflow(server: socket.socket, times: int = 4) -> list[socket.socket]:
    """Fill the queue of a listener and knock once more; return the clients."""
    clients = []
    for _ in range(times):
        one = socket.socket()
        one.settimeout(0)
        one.connect_ex(server.getsockname())
        clients.append(one)
    time.sleep(0.2)
    return clients


@in_world()
def test_a_full_accept_queue_is_certain_after_two_looks_and_hints_at_them_before() -> None:
    world.needs_root()
    own_network()
    server = socket.create_server(("127.0.0.1", 0), backlog=1)
    idle = socket.create_server(("127.0.0.1", 0), backlog=1)
    clients = overflow(server)
    (once,) = found("NET-002")
    assert once["confidence"] == "suspect"
    assert "--samples 2" in once["reason"]
    (twice,) = found("NET-002", "--samples", "2", "--interval", "0.1")
    assert (twice["confidence"], twice["path"]) == ("certain", "tcp:127.0.0.1:%d" % server.getsockname()[1])
    server.settimeout(0)
    with contextlib.suppress(BlockingIOError):  # an acceptor comes, and takes all there are
        while True:
            server.accept()
    for one in clients:
        one.close()
    assert found("NET-002", "--samples", "2", "--interval", "0.1") == []
    idle.close()


def quiet(rule: str) -> bool:
    return found(rule, "--samples", "2", "--interval", "0.2") == []


@in_world()
def test_overflows_count_only_while_they_grow() -> None:
    """The counters never go back, so what they hold from earlier proves nothing."""
    world.needs_root()
    own_network()
    server = socket.create_server(("127.0.0.1", 0), backlog=1)
    clients = overflow(server, 6)
    once = world.audit("--rule", "NET-001", text=text())
    assert once["findings"] == []
    assert any("NET-001 needs --samples 2" in note for note in once["notes"])
    for one in clients:
        one.close()  # or the kernel would go on trying for them
    world.wait_until(lambda: quiet("NET-001"), "the kernel to try no more")

    def knock(_: Any) -> None:
        while True:
            for one in overflow(server, 6):
                one.close()

    knocker = world.spawn(then=knock)
    (one,) = found("NET-001", "--samples", "2", "--interval", "1.5")
    assert one["severity"] == "high"
    knocker.kill()


@pytest.mark.parametrize(("address", "told"), [("0.0.0.0", True), ("127.0.0.1", False)], ids=["all", "loopback"])
@in_world()
def test_a_plain_service_on_every_address(address: str, told: bool) -> None:  # noqa: FBT001 - pytest's way
    world.needs_root()
    own_network()
    server = socket.create_server((address, 6379))
    assert [one["path"] for one in found("NET-004")] == (["tcp:0.0.0.0:6379"] if told else [])
    server.close()


@in_world()
def test_without_ipv6_nothing_is_missed() -> None:
    world.needs_root()
    own_network()
    try:
        with open("/proc/sys/net/ipv6/conf/all/disable_ipv6", "w", encoding="ascii") as switch:
            switch.write("1\n")
    except OSError as error:
        pytest.skip(f"IPv6 cannot be switched off in a network namespace here: {error}")
    server = socket.create_server(("127.0.0.1", 0))
    report = world.audit("--kind", "inet", text=text())
    assert report["scan"]["skipped"] == []
    assert report["usage"]["inet"]["objects"] == 1
    server.close()


@pytest.mark.parametrize(
    ("command", "backlog", "told"),
    [(b"redis-server", 511, ["medium"]), (b"redis-server", 100, []), (b"unheard-of", 511, ["info"])],
    ids=["cut", "shorter", "unknown program"],
)
@in_world()
def test_a_listen_queue_that_was_cut(command: bytes, backlog: int, told: list[str]) -> None:
    """net.core.somaxconn is each network namespace's own."""
    world.needs_root()
    own_network()
    Path("/proc/sys/net/core/somaxconn").write_text("128\n")

    def serve() -> int:
        ctypes.CDLL(None).prctl(15, ctypes.c_char_p(command), 0, 0, 0)  # PR_SET_NAME
        return socket.create_server(("127.0.0.1", 0), backlog=backlog).detach()

    world.spawn(serve)
    assert [one["severity"] for one in found("NET-003")] == told


# ---------------------------------------------------------------- signals


@in_world()
def test_a_user_near_the_limit_of_queued_signals() -> None:
    world.needs_root()
    limit = 64

    def queue() -> None:
        resource.setrlimit(resource.RLIMIT_SIGPENDING, (limit, limit))
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMIN})
        libc = ctypes.CDLL(None)
        for _ in range(limit - 4):
            assert libc.sigqueue(os.getpid(), signal.SIGRTMIN, None) == 0

    calm = world.spawn(lambda: resource.setrlimit(resource.RLIMIT_SIGPENDING, (limit, limit)), uid=OTHER)
    assert not [one for one in found("SIG-001") if str(GONE) in one["reason"]]
    world.spawn(queue, uid=GONE)
    ours = found("SIG-001")
    (one,) = (one for one in ours if str(GONE) in one["reason"])
    assert one["severity"] == "high"
    assert not [one for one in ours if str(OTHER) in one["reason"]]
    calm.kill()


# ---------------------------------------------------------------- the host


@in_world(pids=True)
def test_in_a_pid_namespace_the_list_of_locks_has_holes() -> None:
    assert [one["severity"] for one in found("LOCK-003")] == ["info"]


@in_world()
def test_on_the_host_it_has_none() -> None:
    if world.namespace("pid") != 4026531836:  # PROC_PID_INIT_INO
        pytest.skip("this is a PID namespace of its own, so locks cannot all be seen from here")
    assert found("LOCK-003") == []


@in_world()
def test_rules_about_the_host_are_judged_once_and_have_no_kind() -> None:
    report = world.audit()
    host = [one for one in report["findings"] if one["rule"].startswith("HOST-")]
    assert {one["kind"] for one in host} <= {None}
    only = world.audit("--kind", "shm")
    assert not [one for one in only["findings"] if one["rule"].startswith(("HOST-", "SIG-"))]
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    restricted = scope.exists() and scope.read_text().strip() != "0"
    assert ("HOST-002" in {one["rule"] for one in host}) == (not restricted)
