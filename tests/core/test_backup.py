"""What reads a pack takes nothing on trust: it is what was written, or it is refused."""

from __future__ import annotations

import hashlib
import json
import struct
from typing import Any, Dict, Iterator, List, Tuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ipcops.core import backup, restore
from ipcops.core.backup import BackupError, batch_name, find_pack, parse_header, scan
from ipcops.core.contents import MESSAGE

ROW: Dict[str, Any] = {"id": 7, "key": 0xDEADBEEF, "mode": 0o600, "uid": 1000, "gid": 1000, "size": 100, "atime": 5}
HEADER: Dict[str, Any] = {"kind": "shm", "backup": "full", "namespace": 4026531839, "row": ROW}
FILE: Dict[str, Any] = {
    "kind": "posix-shm",
    "backup": "full",
    "namespace": 1,
    "row": {"path": "/psm_1", "mode": 0o600, "uid": 0, "gid": 0, "size": 5},
}
END = struct.pack("<QQ", 0, 0)

parts = st.lists(st.tuples(st.integers(0, 1 << 40), st.binary(min_size=1, max_size=40)), max_size=4)


def entry(header: bytes, frames: List[Tuple[int, bytes]]) -> bytes:
    return header + b"\n" + b"".join(struct.pack("<QQ", at, len(data)) + data for at, data in frames) + END


def reader(data: bytes) -> backup.Read:
    return lambda position, size: data[position : position + size]


def found(data: bytes, offset: int) -> Tuple[bytes, str, List[Tuple[int, bytes]]]:
    one = scan(reader(data), offset, len(data))
    frames = [
        (at, data[position : position + length])
        for at, length, position in backup._frames(reader(data), one.frames, len(data))
    ]
    return one.header, one.sha256, frames


@given(st.binary(max_size=30), st.binary(max_size=60).map(lambda text: text.replace(b"\n", b"")), parts)
def test_what_was_written_is_found_with_its_checksum(before, header, frames):
    whole = entry(header, frames)
    assert found(before + whole + b"rest", len(before)) == (header, hashlib.sha256(whole).hexdigest(), frames)


@given(parts, st.data())
def test_whatever_is_changed_in_it_shows(frames, data):
    whole = entry(json.dumps(HEADER).encode(), frames)
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = data.draw(
        st.one_of(
            st.integers(1, 255).map(lambda bits: whole[:at] + bytes((whole[at] ^ bits,)) + whole[at + 1 :]),
            st.just(whole[:at]),
            st.binary(min_size=1, max_size=20).map(lambda more: whole[:at] + more + whole[at:]),
            st.just(whole[:at] + whole[at + 1 :]),
        )
    )
    try:
        other = scan(reader(changed), 0, len(changed))
    except ValueError:
        return
    same = changed[: other.end] == whole
    assert (other.sha256 == hashlib.sha256(whole).hexdigest()) == same


@given(st.binary(max_size=200), st.integers(-5, 250))
@example(b"{}\n" + struct.pack("<QQ", 0, (1 << 64) - 1), 0)
@example(b"{}\n" + struct.pack("<QQ", (1 << 64) - 1, 1) + b"x" + END, 0)
@example(b"{}\n" + struct.pack("<QQ", 5, 0) + END, 0)  # a frame of nothing that is not the last
@example(b"", 0)
def test_any_bytes_are_an_entry_or_refused(data, offset):
    try:
        one = scan(reader(data), offset, len(data))
    except ValueError:
        return
    assert offset < one.frames < one.end <= len(data)
    assert one.sha256 == hashlib.sha256(data[offset : one.end]).hexdigest()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def valid(header: backup.Header) -> bool:
    row = dict(header.row)
    path = row.pop("path", None)
    numbers = [*row.values(), header.namespace]
    return (
        header.backup in {"full", "metadata"}
        and set(backup._NEEDED[header.kind]) <= set(header.row)
        and all(type(one) is int and -(1 << 63) < one < 1 << 64 for one in numbers)
        and (path is None) == (header.kind in {"shm", "sem", "msg"})
        and (path is None or (path[0] == "/" and "/" not in path[1:] and path[1:] not in {"", ".", ".."}))
    )


@given(st.sampled_from([HEADER, FILE]), st.data())
def test_any_value_anywhere_in_a_description_is_possible_or_refused(header, data):
    where = data.draw(st.sampled_from([header, header["row"]]))
    name = data.draw(st.sampled_from([*where, "other"]))
    one = json.loads(json.dumps(header))
    (one if where is header else one["row"])[name] = data.draw(json_values)
    try:
        parsed = parse_header(json.dumps(one).encode())
    except ValueError:
        return
    assert valid(parsed)


@given(st.binary(max_size=60))
@example(b"[" * 60000)
@example(b'{"a":' * 12000)
@example(b'{"kind": ' + b"9" * 60000 + b"}")
@example(b'{"kind": 1e999, "backup": NaN, "namespace": -Infinity, "row": []}')
def test_bytes_that_are_no_description_are_refused(text):
    with pytest.raises(ValueError, match="description"):
        parse_header(text)


def test_a_description_comes_back_as_it_was():
    assert parse_header(json.dumps(HEADER).encode()) == ("shm", "full", 4026531839, ROW)
    odd = json.loads(json.dumps(FILE))
    odd["row"]["path"] = "/psm_\udcff\u20ac"  # bytes that are no UTF-8, as a file name may have
    assert parse_header(json.dumps(odd).encode()).row["path"] == odd["row"]["path"]


@pytest.mark.parametrize(
    "path",
    ["", "/", "x", "/.", "/..", "//x", "/a/b", "/../etc/passwd", "a/b", "/x\0y", "/" + "x" * 256,
     "/" + "\u20ac" * 86, "/\ud800", 5, None, ["/x"]],
)  # fmt: skip
def test_a_path_out_of_the_directory_of_its_kind_is_refused(path):
    with pytest.raises(ValueError, match="path"):
        parse_header(json.dumps({**FILE, "row": {**FILE["row"], "path": path}}).encode())


@pytest.mark.parametrize(("kind", "path"), [("posix-sem", "/psm_1"), ("posix-shm", "/sem.x")])
def test_a_path_of_another_kind_is_refused(kind, path):
    with pytest.raises(ValueError, match="another kind"):
        parse_header(json.dumps({**FILE, "kind": kind, "row": {**FILE["row"], "path": path}}).encode())


@pytest.mark.parametrize(
    ("name", "value"),
    [("size", -1), ("size", 1 << 63), ("mode", 0o10000), ("uid", (1 << 32) - 1), ("id", 1 << 31), ("key", -1),
     ("key", 1 << 32), ("key", True), ("key", 1.0), ("key", "1"), ("size", None), ("path", "/x")],
)  # fmt: skip
def test_an_impossible_number_is_refused(name, value):
    with pytest.raises(ValueError, match="impossible"):
        parse_header(json.dumps({**HEADER, "row": {**ROW, name: value}}).encode())


@pytest.mark.parametrize("name", ["id", "key", "mode", "uid", "gid", "size"])
def test_what_is_needed_must_be_there(name):
    with pytest.raises(ValueError, match="lacks " + name):
        parse_header(json.dumps({**HEADER, "row": {key: value for key, value in ROW.items() if key != name}}).encode())


# --- contents


@given(st.lists(st.tuples(st.integers(1, (1 << 63) - 1), st.binary(max_size=30)), max_size=6), st.data())
def test_messages_come_back_in_order_and_nothing_else_does(messages, data):
    packed = b"".join(MESSAGE.pack(kind, len(text)) + text for kind, text in messages)
    assert restore.parse_messages(packed) == messages
    cut = data.draw(st.integers(0, len(packed)))
    try:
        fewer = restore.parse_messages(packed[:cut])
    except ValueError:
        return
    assert fewer == messages[: len(fewer)]


@pytest.mark.parametrize("packed", [MESSAGE.pack(0, 0), MESSAGE.pack(-1, 0), MESSAGE.pack(1, (1 << 32) - 1), b"x"])
def test_impossible_messages_are_refused(packed):
    with pytest.raises(ValueError, match="message"):
        restore.parse_messages(packed)


@given(st.lists(st.tuples(st.integers(0, 50), st.binary(max_size=20)), max_size=4), st.integers(0, 60))
def test_contents_stay_inside_and_in_order(given_parts, size):
    image = bytearray(size)

    def write() -> Iterator[int]:
        for offset, data in restore.in_order(iter(given_parts), size):
            image[offset : offset + len(data)] = data
            yield offset

    try:
        offsets = list(write())
    except ValueError:
        assert len(image) == size
        return
    assert len(image) == size
    assert offsets == sorted(offsets)


@given(st.lists(st.binary(min_size=1, max_size=9), max_size=5), st.integers(0, 5), st.integers(-3, 3))
def test_contents_without_holes_have_none(pieces, which, shift):
    given_parts, at = [], 0
    for number, piece in enumerate(pieces):
        given_parts.append((at + (shift if number == which else 0), piece))
        at += len(piece)
    if shift and which < len(pieces):
        with pytest.raises(ValueError, match="holes"):
            restore.together(iter(given_parts))
    else:
        assert restore.together(iter(given_parts)) == b"".join(pieces)


# --- names


@pytest.mark.parametrize("name", ["", ".", "..", ".x", "a/b", "../x", "x\n", "x\0", "a b", "-x", "x" * 101, "\u00e9"])
def test_a_name_that_could_lead_elsewhere_is_no_batch(name):
    with pytest.raises(BackupError, match="no name of a backup"):
        batch_name(name)


@pytest.mark.parametrize(
    ("word", "where"),
    [
        ("b1", ("/state/b1.pack", None)),
        ("b1.pack", ("/state/b1.pack", None)),
        ("b1:17", ("/state/b1.pack", 17)),
        ("/x/b1.pack", ("/x/b1.pack", None)),
        ("./b1.pack:0", ("./b1.pack", 0)),
    ],
)
def test_a_backup_is_found_by_name_place_and_path(word, where):
    assert find_pack("/state", word) == where
