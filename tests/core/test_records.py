"""Columns written as JSON say the same as dictionaries would, whatever is in them."""

from __future__ import annotations

import json
from array import array
from typing import Any, Dict, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipcops.core.records import Chain, Column, Records, Text, json_text

# What breaks a format string, a JSON string or an encoder; lone surrogates stand for bytes of a file name.
NASTY = st.sampled_from(
    [
        "%",
        "%s",
        "%%d",
        "%(x)s",
        "{}",
        "{0}",
        "{{",
        "}",
        '"',
        "\\",
        "\n",
        "\x1b[31m",
        "\0",
        "\udcff",
        "\udc80x",
        "\u2028",
        "",
    ]
)
STRINGS = st.lists(st.one_of(NASTY, st.text(st.characters(), max_size=6)), max_size=3).map("".join)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 80), 1 << 80),
    st.floats(allow_nan=False, allow_infinity=False),
    STRINGS,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(STRINGS, inner, max_size=3)),
    max_leaves=5,
)
NAMES = st.sampled_from(["user", "age", "size", "why"])


def columns(rows: int) -> st.SearchStrategy:
    def of(values: st.SearchStrategy) -> st.SearchStrategy:
        return st.lists(values, min_size=rows, max_size=rows)

    shared = st.lists(VALUES, min_size=1, max_size=2).flatmap(lambda few: of(st.sampled_from(few)))
    return st.one_of(
        of(st.integers(-(1 << 80), 1 << 80)),
        of(STRINGS),
        of(st.none()),
        of(st.booleans()),
        of(SCALARS),
        of(VALUES),
        of(st.sampled_from([0, 1, True, False, None, 1.0, -0.0, 0.0, "1"])),
        shared,  # one object many times
        of(st.integers(-(1 << 63), (1 << 63) - 1)).map(lambda values: memoryview(array("q", values))),
        of(st.integers(0, (1 << 32) - 1)).map(strided),
        st.integers(0, 9).map(lambda start: range(start, start + rows)),
        of(SCALARS).map(tuple),
    ).map(Column)


def strided(values: List[int]) -> memoryview:
    """Return a view over every third word, as over a table of the kernel's structures."""
    words = array("I", [0] * (3 * len(values) + 1))
    for at, value in enumerate(values):
        words[3 * at + 1] = value
    return memoryview(words)[1::3]


@st.composite
def texts(draw: Any, rows: int) -> Text:
    parts = draw(st.lists(st.one_of(STRINGS.map(escaped), NAMES.map("{%s}".__mod__)), max_size=5))
    filling = {name: draw(st.lists(STRINGS, min_size=rows, max_size=rows)) for name in ("user", "age", "size", "why")}
    return Text("".join(parts), filling)


def escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def templates(rows: int) -> st.SearchStrategy:
    leaves = st.one_of(VALUES, columns(rows), texts(rows))
    inner = st.recursive(
        leaves,
        lambda node: st.one_of(st.lists(node, max_size=3), st.dictionaries(STRINGS, node, max_size=3)),
        max_leaves=6,
    )
    return st.dictionaries(STRINGS, inner, max_size=4)


RECORDS = st.integers(0, 4).flatmap(lambda rows: templates(rows).map(lambda template: Records(template, rows)))


def plain(node: Any, row: int) -> Any:
    """Return what a row is, worked out without the code under test."""
    if isinstance(node, Column):
        return list(node.values)[row]
    if isinstance(node, Text):
        words = {name: values[row] for name, values in node.columns.items()}
        return node.template.format(**words)
    if isinstance(node, dict):
        return {key: plain(value, row) for key, value in node.items()}
    if isinstance(node, list):
        return [plain(value, row) for value in node]
    return node


def told(report: Dict[str, Any]) -> Any:
    return json.loads("".join(json_text(report)))


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: 1, 1.0 and true are three different ones."""
    return json.dumps(one) == json.dumps(other)


@given(RECORDS)
def test_json_is_that_of_the_dictionaries(records):
    rows = [plain(records.template, row) for row in range(len(records))]
    assert same(told({"rows": records})["rows"], rows)
    assert same([json.loads(line) for line in records.json_lines()], rows)


@given(st.lists(RECORDS, max_size=3), st.dictionaries(STRINGS, VALUES, max_size=3))
def test_a_report_of_several(parts, others):
    rows = [plain(part.template, row) for part in parts for row in range(len(part))]
    report = {**others, "rows": Chain(parts)}
    assert same(told(report), {**others, "rows": rows})


@given(RECORDS, st.integers(-6, 6), st.slices(4))
def test_records_are_a_sequence(records, index, some):
    assert_sequence(records, [plain(records.template, row) for row in range(len(records))], index, some)


@given(st.lists(RECORDS, max_size=3), st.integers(-6, 6), st.slices(4))
def test_chains_are_a_sequence(parts, index, some):
    rows = [plain(part.template, row) for part in parts for row in range(len(part))]
    assert_sequence(Chain(parts), rows, index, some)


def assert_sequence(sequence: Any, rows: List[Any], index: int, some: slice) -> None:
    assert len(sequence) == len(rows)
    assert bool(sequence) == bool(rows)
    assert same(list(sequence), rows)
    assert same(list(reversed(sequence)), rows[::-1])
    assert same(list(sequence[some]), rows[some])
    if -len(rows) <= index < len(rows):
        assert same(sequence[index], rows[index])
    else:
        with pytest.raises(IndexError):
            sequence[index]


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 1025])
def test_batches_lose_nothing(count):
    records = Records({"id": Column(range(count)), "constant": "100 %"}, count)
    assert told({"rows": records})["rows"] == [{"id": number, "constant": "100 %"} for number in range(count)]
    assert len("".join(json_text({"rows": records})).splitlines()) == count + 3


def test_a_record_is_one_line_whatever_is_in_it():
    values: Tuple[str, ...] = ("a\nb", "\u2028", "\x85", "\r")
    lines = list(Records({"name": Column(values), "why": Text("{x}\n", {"x": values})}, 4).json_lines())
    assert all(len(line.splitlines()) == 1 for line in lines)
