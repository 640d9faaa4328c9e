"""What /proc/locks and fdinfo say of file locks: what the kernel writes is read as it was meant, anything else is told.

These run on Python 3.9, too, and need no kernel but to read a file.
"""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipcops.core.collect import locks
from ipcops.core.collect.locks import Holders, Lock
from ipcops.core.fs import Directory
from ipcops.core.model import Process

TYPES = {
    "FLOCK": "FLOCK  ADVISORY  ",
    "POSIX": "POSIX  ADVISORY  ",
    "OFDLCK": "OFDLCK ADVISORY  ",
    "LEASE": "LEASE  BREAKING  ",
    "DELEG": "DELEG  ACTIVE    ",
    "ACCESS": "ACCESS *NOINODE* ",
    "UNKNOWN": "UNKNOWN UNKNOWN  ",
}
"""As lock_get_status() in fs/locks.c pads them."""

HELD = Lock(
    number=1,
    waits=False,
    type="FLOCK",
    state="ADVISORY",
    access="WRITE",
    pid=10,
    device="fe:01",
    ino=7,
    start=0,
    end=None,
)

OFFSETS = st.integers(0, (1 << 63) - 2)
DEVICES = st.one_of(
    st.just("<none>"),
    st.builds(lambda major, minor: "%02x:%02x" % (major, minor), st.integers(0, 0xFFF), st.integers(0, 0xFFFFF)),
)
LOCKS = st.builds(
    lambda kind, number, waits, access, pid, device, ino, start, length: Lock(
        number, waits, kind, TYPES[kind].split()[1], access, pid, device, ino, start,
        None if length is None else start + length,
    ),
    st.sampled_from(sorted(TYPES)),
    st.integers(1, (1 << 63) - 1),
    st.booleans(),
    st.sampled_from(["READ", "WRITE", "UNLCK", "RW", "NONE"]),
    st.one_of(st.sampled_from([-1, 0, 1]), st.integers(-(1 << 31), 1 << 22)),
    DEVICES,
    st.integers(0, (1 << 64) - 1),
    OFFSETS,
    st.one_of(st.none(), st.integers(0, 99)),
)  # fmt: skip


def written(lock: Lock, depth: int = 0) -> bytes:
    """Return a lock as the kernel writes it: one that waits is indented by how deep it waits."""
    return (
        "%d: %s%s%s %d %s:%d %d %s"
        % (
            lock.number,
            "%*s" % (depth + 3, "-> ") if lock.waits else "",
            TYPES[lock.type],
            lock.access,
            lock.pid,
            lock.device,
            lock.ino,
            lock.start,
            "EOF" if lock.end is None else lock.end,
        )
    ).encode()


@given(st.lists(st.tuples(LOCKS, st.integers(0, 5)), max_size=6))
def test_locks_round_trip(them):
    text = b"".join(written(lock, depth) + b"\n" for lock, depth in them)
    assert locks.parse_locks(text) == [lock for lock, _ in them]


@given(st.lists(LOCKS, max_size=4))
def test_the_lines_of_fdinfo_round_trip(them):
    text = b"pos:\t0\nflags:\t02100002\nmnt_id:\t27\nino:\t2148011\n"
    text += b"".join(b"lock:\t" + written(lock) + b"\n" for lock in them)
    assert locks.parse_lock_lines(text + b"tfd:        5\n") == them


@given(LOCKS, LOCKS)
def test_a_lock_is_the_same_in_both_texts(one, other):
    """The number counts anew in every text, and a lease goes from ACTIVE to BREAKING."""
    (again,) = locks.parse_lock_lines(b"lock:\t" + written(one._replace(number=1, waits=False)))
    assert again.key == one.key == one._replace(state="ACTIVE").key
    same = all(getattr(one, name) == getattr(other, name) for name in "type access pid device ino start end".split())
    assert (one.key == other.key) == same


def test_what_this_kernel_writes():
    text = (
        b"1: FLOCK  ADVISORY  WRITE 12814 fe:00:2148010 0 EOF\n"
        b"1: -> FLOCK  ADVISORY  WRITE 12856 fe:00:2148010 0 EOF\n"
        b"1:  -> FLOCK  ADVISORY  WRITE 12857 fe:00:2148010 0 EOF\n"
        b"2: LEASE  BREAKING  UNLCK 25718 fe:00:2148806 0 EOF\n"
        b"2: -> LEASE  BREAKER   WRITE 26090 <none>:0 0 EOF\n"
        b"3: OFDLCK ADVISORY  WRITE -1 00:1a:7 5 14\n"
    )
    one, first, second, lease, breaker, ofd = locks.parse_locks(text)
    assert one == HELD._replace(pid=12814, device="fe:00", ino=2148010)
    assert [(lock.waits, lock.pid) for lock in (first, second)] == [(True, 12856), (True, 12857)]
    assert (lease.state, lease.access, breaker.waits, breaker.dev) == ("BREAKING", "UNLCK", True, None)
    assert (ofd.pid, ofd.start, ofd.end, ofd.dev, ofd.file) == (-1, 5, 14, os.makedev(0, 26), "00:1a:7")


@given(st.binary(max_size=80))
def test_anything_else_is_told(text):
    try:
        found = locks.parse_locks(text)
    except ValueError:
        return
    assert len(found) == len([line for line in text.split(b"\n") if line])
    assert all(lock.dev is None or lock.dev >= 0 for lock in found)


@pytest.mark.parametrize(
    "line",
    [
        b" ",
        b"1: FLOCK  ADVISORY  WRITE 1 fe:00:1 0",
        b"1: FLOCK  ADVISORY  WRITE 1 fe:00:1 0 EOF ",
        b"1: FLOCK  ADVISORY  WRITE 1 fe:00:1 -1 EOF",
        b"1: FLOCK  ADVISORY  WRITE one fe:00:1 0 EOF",
        b"1: FLOCK  ADVISORY  WRITE 1 0:1 0 EOF",
        b"1: FLOCK  ADVISORY  WRITE 1 123456789:00:1 0 EOF",
        b"1 FLOCK  ADVISORY  WRITE 1 fe:00:1 0 EOF",
        b"1: => FLOCK  ADVISORY  WRITE 1 fe:00:1 0 EOF",
        b"1: FLOCK  WRITE 1 fe:00:1 0 EOF",
    ],
)
def test_a_line_that_is_none_spoils_the_table(line):
    good = b"1: FLOCK  ADVISORY  WRITE 1 fe:00:1 0 EOF\n"
    with pytest.raises(ValueError, match="no line of a lock"):
        locks.parse_locks(good + line + b"\n")
    with pytest.raises(ValueError, match="no line of a lock"):
        locks.parse_lock_lines(b"pos:\t0\nlock:\t" + line + b"\n")


@pytest.mark.parametrize(("text", "why"), [(None, "No such file"), (b"1: ?\n", "'1: ?' is no line")])
def test_a_table_that_cannot_be_read_is_a_gap(tmp_path, text, why):
    if text is not None:
        (tmp_path / "locks").write_bytes(text)
    with Directory.open(str(tmp_path)) as proc:
        found, (gap,) = locks.read_locks(proc)
    assert (found, gap.evidence, gap.what, gap.kind) == ([], "table", "/proc/locks", "lock")
    assert gap.why.startswith(why)


def test_the_table_has_a_row_for_each_held_lock():
    """Who waits is found by the number, in the order of the text, however deep."""
    held = HELD._replace(number=3)
    waits = held._replace(waits=True, pid=11)
    free = HELD._replace(number=2, type="OFDLCK", access="READ", pid=-1, device="00:2f", ino=8, start=5, end=9)
    holder = Process(12, 1, 1, "x", frozenset((33, 5)), frozenset())
    found = Holders({HELD.key: [(holder, 3), (holder, 4)]}, {HELD.key: "/run/a b"})
    table = locks.lock_table([held, waits, waits._replace(pid=-1), free], found)
    assert (table.kind, table.namespace, len(table)) == ("lock", 0, 2)
    assert {name: list(column) for name, column in table.columns.items()} == {
        "id": ["fe:01:7", "00:2f:8"],
        "path": ["/run/a b", None],
        "dev": [os.makedev(0xFE, 1), os.makedev(0, 0x2F)],
        "ino": [7, 8],
        "uid": [5, None],
        "type": ["FLOCK", "OFDLCK"],
        "access": ["WRITE", "READ"],
        "start": [0, 5],
        "end": [None, 9],
        "pid": [10, -1],
        "holders": [((holder, 3), (holder, 4)), ()],
        "waiters": [(11, -1), ()],
    }


def test_without_a_search_no_holder_is_claimed():
    table = locks.lock_table([HELD], None)
    assert [table[name][0] for name in ("path", "uid", "holders")] == [None, None, ()]
    assert len(locks.lock_table([], None)) == 0


def test_the_deadline_is_a_gap(tmp_path):
    """Nothing is looked at after it, and who was not looked at is told."""
    held = HELD._replace(type="POSIX")
    process = Process(10, 1, 1, "x", frozenset((0,)), frozenset())
    with Directory.open(str(tmp_path)) as proc:
        found = locks.find_holders(proc, [held], {10: process}, time.monotonic() - 1)
    (gap,) = found.gaps
    assert (gap.evidence, gap.what, gap.kind) == ("descriptors", "descriptors of 1 processes", "lock")
    assert (dict(found.by_lock), dict(found.paths)) == ({}, {})
