"""Every parser, for all inputs: what it was given comes out, and what it cannot read it says.

Two properties for each: a round trip of what the kernel may write, and on arbitrary bytes (also
on the kernel's own text with a few bytes changed) no exception but the documented one.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any, Callable, Dict, List, Tuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ipcops.core.collect import host, limits, mounts, mqueue, opening, proctext, sysvipc

KINDS = ("shm", "sem", "msg")
OLD_SHM = [name for name in sysvipc.NEEDED["shm"] if name not in ("rss", "swap")]
COLUMNS = {
    "shm": [sysvipc.NEEDED["shm"], [*sysvipc.NEEDED["shm"], "rss", "swap"]],  # 14 and 16
    "sem": [sysvipc.NEEDED["sem"]],
    "msg": [sysvipc.NEEDED["msg"]],
}
KEYS = st.integers(-(1 << 31), (1 << 31) - 1)
MODES = st.integers(0, 0o7777)
COUNTS = st.one_of(st.integers(0, 99), st.integers(0, (1 << 64) - 1))
PIDS = st.integers(1, 1 << 22)
IDS = st.integers(0, (1 << 32) - 1)

# What a name may hold in a process's status line: anything but NUL, up to 15 bytes.
COMMANDS = st.one_of(
    st.sampled_from([b"a b", b") R 1 (", b"(sd-pam)", b"x\ny", b"\xff\xfe", b"()", b" ", b")))", b""]),
    st.binary(max_size=15).map(lambda raw: raw.replace(b"\0", b"")),
)
PATHS = st.lists(
    st.text(st.characters(blacklist_characters="\0/", blacklist_categories=["Cs"]), min_size=1, max_size=8),
    min_size=1,
    max_size=4,
).map(lambda parts: "/" + "/".join(parts))


# ---------------------------------------------------------------- /proc/sysvipc


def line(names: List[str], row: Dict[str, int]) -> bytes:
    """Return a row as the kernel writes it: right-aligned decimals, the mode in octal."""
    words = ["%5o" % row[name] if name == "mode" else "%10d" % row[name] for name in names]
    return " ".join(words).encode()


def header(kind: str, names: List[str]) -> bytes:
    shown = {"id": sysvipc.ID_HEADERS[kind], "mode": "perms"}
    return " ".join("%10s" % shown.get(name, name) for name in names).encode()


@st.composite
def tables(draw: Any) -> Tuple[str, List[str], List[Dict[str, int]]]:
    """Draw a kind, its columns in any order with some that nobody knows yet, and rows."""
    kind = draw(st.sampled_from(KINDS))
    names = list(draw(st.sampled_from(COLUMNS[kind])))
    names += draw(st.lists(st.sampled_from(["new", "newer", "newest"]), unique=True, max_size=2))
    if draw(st.booleans()):
        names = draw(st.permutations(names))
    row = st.fixed_dictionaries({name: {"key": KEYS, "mode": MODES}.get(name, COUNTS) for name in names})
    return kind, names, draw(st.lists(row, max_size=6))


@given(tables())
def test_a_table_round_trips(table):
    kind, names, rows = table
    parsed, bad = sysvipc.parse_table(kind, b"\n".join([header(kind, names), *(line(names, row) for row in rows), b""]))
    assert bad == []
    assert len(parsed) == len(rows)
    for name in names:
        wanted = [row[name] & 0xFFFFFFFF if name == "key" else row[name] for row in rows]
        assert list(parsed[name]) == wanted
    assert ("rss" in parsed) == ("rss" in names)


BROKEN = st.one_of(
    st.binary(min_size=1, max_size=60).map(lambda raw: raw.replace(b"\n", b"")).filter(bool),
    st.sampled_from([b" ", b"\t", b"0 1 600", b"- - -", b"0x1 1", b"\xff\xfe", b"1 " * 40, b"-1 " * 14, b"888 " * 16]),
)


@given(tables(), st.lists(st.tuples(st.integers(0, 6), BROKEN), max_size=5))
def test_no_line_vanishes(table, broken):
    kind, names, rows = table
    lines = [line(names, row) for row in rows]
    for at, text in broken:
        lines.insert(at, text)
    parsed, bad = sysvipc.parse_table(kind, b"\n".join([header(kind, names), *lines]))
    assert len(parsed) + len(bad) == len([text for text in lines if text])
    assert all(len(parsed[name]) == len(parsed) for name in names)
    good = [row["id"] for row in rows]
    assert [one for one in parsed["id"] if one in good][: len(good)] or not good  # a bad row hides no good one
    remaining = list(parsed["id"])
    for one in good:
        remaining.remove(one)


@given(tables(), st.data())
def test_a_number_that_is_none_spoils_only_its_row(table, data):
    kind, names, rows = table
    assume(rows)
    at = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from([name for name in names if name != "key"]))
    word = data.draw(st.sampled_from([b"x", b"-1", b"1.5", b"0x10", b"9" if name == "mode" else b"--1"]))
    lines = [line(names, row).split() for row in rows]
    lines[at][names.index(name)] = word
    text = b"\n".join([header(kind, names), *map(b" ".join, lines), b""])
    parsed, bad = sysvipc.parse_table(kind, text)
    assert [one.encode() for one in bad] == [b" ".join(lines[at])[: sysvipc._WORST_ROW]]
    assert list(parsed["id"]) == [row["id"] for number, row in enumerate(rows) if number != at]


@pytest.mark.parametrize("kind", KINDS)
def test_a_needed_column_that_is_missing_is_an_error(kind):
    for missing in sysvipc.NEEDED[kind]:
        names = [name for name in sysvipc.NEEDED[kind] if name != missing]
        with pytest.raises(ValueError, match=missing):
            sysvipc.parse_table(kind, header(kind, names) + b"\n")


@pytest.mark.parametrize("word", [b"4294967296", b"-2147483649", b"99999999999999"])
def test_a_key_that_no_kernel_writes_is_no_key(word):
    names = sysvipc.NEEDED["sem"]
    row = b" ".join(word if name == "key" else b"1" for name in names)
    parsed, bad = sysvipc.parse_table("sem", header("sem", names) + b"\n" + row + b"\n")
    assert (len(parsed), len(bad)) == (0, 1)


def test_signed_keys_become_what_everybody_writes():
    names = sysvipc.NEEDED["sem"]
    text = header("sem", names) + b"\n" + line(names, {**dict.fromkeys(names, 1), "key": -559038737}) + b"\n"
    parsed, _ = sysvipc.parse_table("sem", text)
    assert list(parsed["key"]) == [0xDEADBEEF]


# ---------------------------------------------------------------- /proc/PID


@given(PIDS, COMMANDS, st.sampled_from("RSDTtZXIP"), COUNTS, st.integers(1, 99999), COUNTS, st.integers(0, 30))
def test_stat_round_trips_whatever_the_name(pid, command, state, flags, threads, started, more):  # noqa: PLR0913, PLR0917
    middle = b"1 1 1 0 -1 %d 0 0 0 0 0 0 0 0 20 0 %d 0 %d" % (flags, threads, started)
    text = b"%d (%s) %s %s%s\n" % (pid, command, state.encode(), middle, b" 0" * more)
    stat = proctext.parse_stat(text)
    assert stat.command.encode("utf-8", "surrogateescape") == command
    assert (stat.state, stat.flags, stat.threads, stat.started_ticks) == (state, flags, threads, started)


@given(
    st.lists(IDS, min_size=4, max_size=4),
    st.lists(IDS, min_size=4, max_size=4),
    st.lists(IDS, max_size=40),
    st.sampled_from(["", "x", "a\\nUid:\t0\t0\t0\t0"]),
)
def test_status_gives_every_uid_and_group(uids, gids, groups, name):
    text = "Name:\t%s\nUmask:\t0022\nPid:\t7\nUid:\t%s\nGid:\t%s\nFDSize:\t64\nGroups:\t%s \nNStgid:\t7\n" % (
        name,
        "\t".join(map(str, uids)),
        "\t".join(map(str, gids)),
        " ".join(map(str, groups)),
    )
    assert proctext.parse_status(text.encode()) == (frozenset(uids), frozenset(gids) | frozenset(groups))


@pytest.mark.parametrize(
    "text", [b"", b"Uid:\t1\t1\t1\t1\n", b"Uid:\t1\t1\t1\t1\nGid:\t1\t1\t1\t1\n", b"Groups:\t1 \n"]
)
def test_half_a_status_is_an_error(text):
    with pytest.raises(ValueError, match="Uid"):
        proctext.parse_status(text)


@given(st.integers(-1, 500), st.lists(st.integers(0, (1 << 64) - 1), min_size=8, max_size=8))
def test_a_blocked_call_round_trips(number, words):
    assume(number != -1)
    text = b"%d %s\n" % (number, b" ".join(b"0x%x" % word for word in words))
    assert proctext.parse_syscall(text) == (b"%d" % number, words[:6], words[6])


@pytest.mark.parametrize("text", [b"running\n", b"-1 0x7ffc0 0x7f00\n"])
def test_no_call_is_none(text):
    assert proctext.parse_syscall(text) is None


UNITS = st.from_regex(r"[a-z][a-z0-9@\\_.-]{0,9}\.(service|scope)", fullmatch=True)


@given(st.lists(st.sampled_from(["system.slice", "user.slice", "user-1000.slice"]), max_size=3), UNITS, st.booleans())
def test_the_outermost_unit_is_found(slices, unit, version1):
    path = "/" + "/".join([*slices, unit, "user.slice", "init.scope"])
    text = "9:cpu,cpuacct:/docker/x\n%s:%s\n" % ("1:name=systemd" if version1 else "0:", path)
    assert proctext.parse_unit(text.encode()) == unit


@pytest.mark.parametrize(
    "text", [b"", b"0::/\n", b"0::/docker/0123\n", b"2:memory:/a.service\n", b"0::/a.service.d/b\n"]
)
def test_no_unit_is_none(text):
    assert proctext.parse_unit(text) is None


HEX = "7f98f0f7e4a696d6b1d69c05167a014483f9828840a071073f9f510be659b040"
OTHER_HEX = HEX[::-1]


@pytest.mark.parametrize(
    ("text", "container"),
    [
        ("0::/libpod_parent/libpod-%s" % HEX, "podman 7f98f0f7e4a6"),
        ("9:name=systemd:/libpod_parent/libpod-%s/system.slice/cron.service" % HEX, "podman 7f98f0f7e4a6"),
        ("0::/machine.slice/libpod-%s.scope/container" % HEX, "podman 7f98f0f7e4a6"),
        ("0::/user.slice/user-1.slice/x/libpod-payload-%s" % HEX, "podman 7f98f0f7e4a6"),
        ("0::/libpod_parent/libpod-%s/machine.slice/libpod-%s.scope" % (OTHER_HEX, HEX), "podman 7f98f0f7e4a6"),
        ("0::/docker/%s" % HEX, "docker 7f98f0f7e4a6"),
        ("0::/system.slice/docker-%s.scope" % HEX, "docker 7f98f0f7e4a6"),
        ("0::/kubepods/besteffort/pod1-2-3/%s/kube-proxy" % HEX, "kubernetes 7f98f0f7e4a6"),
        ("0::/kubepods.slice/kubepods-pod1_2.slice/cri-containerd-%s.scope" % HEX, "containerd 7f98f0f7e4a6"),
        ("0::/kubepods.slice/kubepods-pod1_2.slice/crio-%s.scope" % HEX, "cri-o 7f98f0f7e4a6"),
        ("0::/lxc.payload.web1/system.slice/cron.service", "lxc web1"),
        ("0::/lxc/101/ns", "lxc 101"),
        ("0::/machine.slice/machine-web1.scope/payload/init.scope", "machine web1"),
        ("0::/machine.slice/systemd-nspawn@web1.service/payload", "machine web1"),
        ("0::/libpod_parent/conmon", None),
        ("0::/machine.slice/libpod-conmon-%s.scope" % HEX, None),
        ("0::/system.slice/crio-conmon-%s.scope" % HEX, None),
        ("0::/lxc.monitor.web1", None),
        ("0::/system.slice/docker.service", None),
        ("0::/user.slice/user-1000.slice/session-2.scope", None),
        ("", None),
    ],
)
def test_containers_are_told_by_their_control_group(text, container):
    assert proctext.parse_container(text.encode()) == container


def test_the_unit_of_a_process_in_a_container_is_none_of_the_hosts():
    """What a container calls its units could be any name."""
    inside = "9:name=systemd:/libpod_parent/libpod-%s/system.slice/postgresql.service" % HEX
    assert proctext.parse_unit(inside.encode()) is None
    scoped = "0::/machine.slice/libpod-%s.scope/system.slice/postgresql.service" % HEX
    assert proctext.parse_unit(scoped.encode()) == "libpod-%s.scope" % HEX


def test_inside_a_container_its_units_are_the_systems():
    inside = b"9:name=systemd:/libpod_parent/libpod-%s/system.slice/postgresql.service" % HEX.encode()
    assert proctext.parse_unit(inside, "podman 7f98f0f7e4a6") == "postgresql.service"
    assert proctext.parse_unit(inside, "podman 0000f0f7e4a6") is None


@given(st.integers(0, 1 << 31), st.integers(0, 1 << 20), st.integers(0, 1 << 20))
def test_queued_signals(uid, queued, limit):
    text = "SigQ:\t%d/%d\nUid:\t%d\t1\t2\t3\nGid:\t1\t1\t1\t1\n" % (queued, limit, uid)
    assert proctext.parse_signals(text.encode()) == (uid, queued, limit)


@pytest.mark.parametrize(
    ("name", "arguments", "wanted"),
    [
        ("open", [1000, 1, 0], (None, 1000, 1)),
        ("openat", [0xFFFFFFFFFFFFFF9C, 1000, 0], (None, 1000, 0)),
        ("openat", [0xFFFFFF9C, 1000, 0], (None, 1000, 0)),
        ("openat", [7, 1000, 1], (7, 1000, 1)),
        ("openat2", [7, 1000, 2000], (7, 1000, -1)),
        ("read", [7, 1000, 2000], None),
    ],
)
def test_arguments_of_open(name, arguments, wanted):
    assert opening.parse_open(name, arguments) == wanted


@st.composite
def maps(draw: Any) -> Tuple[bytes, set, set]:
    """Draw a maps file, the segments in it and the files of device 00:19 in it."""
    lines, segments, files = [], set(), set()
    for _ in range(draw(st.integers(0, 6))):
        ino = draw(st.integers(1, 1 << 40))
        name = draw(st.sampled_from(["segment", "file", "other", "anonymous", "special", "disguise"]))
        start = b"7f00-7f01 rw-s 00000000 "
        if name == "segment":
            lines.append(start + b"00:01 %d   /SYSV%08x (deleted)" % (ino, draw(st.integers(0, 0xFFFFFFFF))))
            segments.add(ino)
        elif name == "file":
            path = draw(PATHS).replace("\n", "\\012") + draw(st.sampled_from(["", " (deleted)"]))
            assume(not path.startswith("/SYSV"))
            lines.append(start + b"00:19 %d      %s" % (ino, path.encode()))
            files.add(("00:19", ino, path))
        elif name == "other":
            lines.append(start + b"08:01 %d  /usr/lib/x.so" % ino)
        elif name == "anonymous":
            lines.append(start + b"00:00 0 ")
        elif name == "special":
            lines.append(start + b"00:00 0    [stack]")
        else:  # what any user can make a mapping look like, by memfd_create or a directory's name
            lines.append(start + b"00:01 %d   /memfd:x /SYSV00000000 (deleted)" % ino)
            lines.append(start + b"08:01 %d   /tmp/x /SYSV00000000 (deleted)" % ino)
    return b"\n".join([*lines, b""]), segments, files


@given(maps())
def test_maps_give_segments_and_files_by_number(drawn):
    text, segments, files = drawn
    assert proctext.parse_maps(text, frozenset(["00:19"])) == (segments, files)


# ---------------------------------------------------------------- mountinfo


def mangled(path: str) -> bytes:
    """Return a path as the kernel writes it: space, tab, newline and backslash in octal."""
    raw = path.encode("utf-8", "surrogateescape")
    return b"".join(b"\\%03o" % byte if byte in b" \t\n\\#" else bytes([byte]) for byte in raw)


RAW_PATHS = st.binary(min_size=1, max_size=20).map(
    lambda raw: "/" + raw.replace(b"\0", b"").decode("utf-8", "surrogateescape")
)


@given(
    st.integers(1, 1 << 30),
    st.integers(0, 4095),
    st.integers(0, 1 << 19),
    RAW_PATHS,
    RAW_PATHS,
    st.lists(st.sampled_from(["shared:1", "master:2", "unbindable"]), max_size=2),
    st.sampled_from(["none", "tmpfs", "", "a\\040b"]),
)
def test_a_mount_round_trips(mount_id, major, minor, root, point, tags, source):  # noqa: PLR0913, PLR0917
    text = b"%d 1 %d:%d %s %s rw,nosuid %s- tmpfs %s rw,size=64k\n" % (
        mount_id,
        major,
        minor,
        mangled(root),
        mangled(point),
        b"".join(tag.encode() + b" " for tag in tags),
        source.encode(),
    )
    (mount,) = mounts.parse_mountinfo(text)
    assert (mount.mount_id, mount.dev) == (mount_id, os.makedev(major, minor))
    assert (mount.root, mount.point) == (root, point)
    assert mount.options == {"rw", "nosuid"}
    assert mount.super_options == {"rw", "size=64k"}
    assert mount.fstype == "tmpfs"


def test_a_device_that_is_none_is_the_documented_error():
    with pytest.raises(ValueError, match="mountinfo"):
        mounts.parse_mountinfo(b"1 1 %d:0 / / rw - tmpfs none rw\n" % 10**30)


# ---------------------------------------------------------------- host, limits, queues


@given(st.integers(0, 1 << 50))
def test_memory_is_bytes(kilobytes):
    text = b"MemTotal:       %8d kB\nMemFree:        1 kB\n" % kilobytes
    assert host.parse_meminfo(text) == kilobytes * 1024


@given(st.integers(0, 1 << 40), st.integers(0, 99))
def test_uptime_is_seconds(seconds, hundredths):
    assert host.parse_uptime(b"%d.%02d 5.00\n" % (seconds, hundredths)) == float("%d.%02d" % (seconds, hundredths))


@given(st.sampled_from(["ipc", "pid", "pid_for_children"]), IDS)
def test_a_namespace_is_its_inode(kind, inode):
    assert host.parse_namespace("%s:[%d]" % (kind, inode)) == inode


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (b"         0          0 4294967295\n", True),
        (b"         0       1000          1\n", False),
        (b"         0          0      65536\n", False),
        (b"0 0 1\n1 1 4294967294\n", False),
        (b"", False),
    ],
)
def test_only_the_identity_maps_all_ids(text, whole):
    assert host.parse_id_map(text) is whole


@pytest.mark.parametrize(("text", "bounded"), [("max\n", False), ("", False), ("1073741824\n", True), ("0\n", True)])
def test_memory_max(text, bounded):
    assert host.parse_memory_max(text) is bounded


@given(st.lists(st.integers(-(1 << 31), 1 << 31), min_size=4, max_size=4), st.integers(0, (1 << 64) - 1))
def test_limits_round_trip(four, one):
    assert limits.parse_limit("kernel.sem", "\t".join(map(str, four)).encode() + b"\n") == dict(
        zip(("semmsl", "semmns", "semopm", "semmni"), four)
    )
    assert limits.parse_limit("kernel.shmall", b"%d\n" % one) == one


@given(st.integers(0, (1 << 64) - 1))
def test_queue_limits_round_trip(soft):
    text = b"Limit   Soft Limit  Hard Limit  Units\nMax msgqueue size    %d   819200   bytes\nMax nice priority  0  0\n"
    assert limits.parse_queue_limit(text % soft) == soft
    assert limits.parse_queue_limit(b"Max msgqueue size         unlimited     unlimited    bytes\n") == -1


@given(st.integers(0, 1 << 22))
def test_the_notified_process_round_trips(pid):
    text = b"QSIZE:0          NOTIFY:%d     SIGNO:0     NOTIFY_PID:%-6d\n" % (bool(pid), pid)
    assert mqueue.parse_notify(text) == pid


# ---------------------------------------------------------------- arbitrary bytes

SAMPLES = [
    b"8162 (python) Z 8159 8159 28530 0 -1 4228092 0 0 0 0 3 1 0 0 20 0 2 0 2713 0 0\n",
    b"Name:\tx\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nGroups:\t0 4 \n",
    b"220 0x8003 0x7ffc 0x1 0x0 0x0 0x0 0x7ffd00000000 0x7f00\n",
    b"0::/system.slice/cron.service\n",
    b"7f00-7f01 rw-s 00000000 00:01 32768      /SYSV00000000 (deleted)\n7f00-7f01 rw-s 00000000 00:19 5 /dev/shm/x\n",
    b"22 1 0:19 / /dev/shm rw,nosuid - tmpfs tmpfs rw,size=64k\n",
    b"MemTotal:       16318480 kB\n",
    b"123.45 678.90\n",
    b"0 0 4294967295\n",
    b"32000\t1024000000\t500\t32000\n",
    b"Max msgqueue size         819200               819200               bytes\n",
    b"QSIZE:0          NOTIFY:0     SIGNO:0     NOTIFY_PID:0     \n",
    b"key semid perms nsems uid gid cuid cgid otime ctime\n0 0 600 1 0 0 0 0 0 1700000000\n",
]


@st.composite
def spoilt(draw: Any) -> bytes:
    """Draw the kernel's own text with some bytes changed, cut out or put in."""
    text = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        text[at : at + draw(st.integers(0, 8))] = draw(
            st.one_of(st.binary(max_size=4), st.sampled_from([b"9" * 400, b"-"]))
        )
    return bytes(text)


def text_of(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


PARSERS: List[Tuple[str, Callable[[bytes], Any]]] = [
    *[("parse_table " + kind, lambda raw, kind=kind: sysvipc.parse_table(kind, raw)) for kind in KINDS],
    ("parse_stat", proctext.parse_stat),
    ("parse_status", proctext.parse_status),
    ("parse_syscall", proctext.parse_syscall),
    ("parse_unit", proctext.parse_unit),
    ("parse_container", proctext.parse_container),
    ("parse_signals", proctext.parse_signals),
    ("parse_maps", lambda raw: proctext.parse_maps(raw, frozenset(["00:19"]))),
    ("parse_mountinfo", mounts.parse_mountinfo),
    ("parse_meminfo", host.parse_meminfo),
    ("parse_uptime", host.parse_uptime),
    ("parse_id_map", host.parse_id_map),
    ("parse_namespace", lambda raw: host.parse_namespace(text_of(raw))),
    ("parse_memory_max", lambda raw: host.parse_memory_max(text_of(raw))),
    ("parse_limit kernel.sem", lambda raw: limits.parse_limit("kernel.sem", raw)),
    ("parse_limit kernel.shmmax", lambda raw: limits.parse_limit("kernel.shmmax", raw)),
    ("parse_queue_limit", limits.parse_queue_limit),
    ("parse_notify", mqueue.parse_notify),
]


@pytest.mark.parametrize("parse", [parse for _, parse in PARSERS], ids=[name for name, _ in PARSERS])
@given(raw=st.one_of(spoilt(), st.binary(max_size=200)))
def test_bytes_of_any_kind_parse_or_raise_value_error(parse, raw):
    with contextlib.suppress(ValueError):  # what every parser here documents
        parse(raw)


NEVER = {"parse_unit", "parse_container", "parse_signals", "parse_meminfo", "parse_id_map", "parse_memory_max"}


@pytest.mark.parametrize(
    "parse",
    [parse for name, parse in PARSERS if name in NEVER],
    ids=sorted(NEVER, key=[name for name, _ in PARSERS].index),
)
@given(raw=st.one_of(spoilt(), st.binary(max_size=200)))
def test_some_parsers_never_raise(parse, raw):
    parse(raw)


@pytest.mark.parametrize("text", [b"", b"Max msgqueue size", b"Max msgqueue size   \n", b"Max msgqueue size x y\n"])
def test_a_queue_limit_that_is_none_is_the_documented_error(text):
    with pytest.raises(ValueError):  # noqa: PT011  # whichever message
        limits.parse_queue_limit(text)


@pytest.mark.parametrize("text", [b"", b" \n", b"nan 1\n", b"inf 1\n", b"-1 1\n"])
def test_an_uptime_that_is_none_is_the_documented_error(text):
    with pytest.raises(ValueError):  # noqa: PT011  # whichever message
        host.parse_uptime(text)


@given(st.binary(max_size=400), st.lists(st.sampled_from([b" 00:1a ", b" /SYSV", b"a", b"0"]), max_size=3))
def test_lines_with_finds_each_line_once(text: bytes, needles: List[bytes]) -> None:
    found = proctext.lines_with(text, needles)
    wanted = [line for line in text.split(b"\n") if any(needle in line for needle in needles)]
    assert sorted(line for line in found.split(b"\n") if line) == sorted(line for line in wanted if line)
