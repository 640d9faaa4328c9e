"""Thresholds in the syntax of monitoring plugins."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipcops.core.ranges import parse_range

# Range, values that are well, values that alert: the examples of the plugins' guidelines, and the edges.
EXAMPLES = [
    ("10", [0, 10, 9.99], [-1, 10.01, 11]),
    ("10:", [10, 11, 1e12], [9.99, 0, -5]),
    ("~:10", [-100, 0, 10], [10.5]),
    ("10:20", [10, 15, 20], [9, 21]),
    ("@10:20", [9, 21], [10, 15, 20]),
    ("@10", [11, -1], [0, 10]),
    ("@10:", [9], [10, 100]),
    ("0", [0], [1, -1, 0.01]),
    ("1:1", [1], [0, 2]),
    (".5:1.25", [0.5, 1], [0.4, 1.3]),
    ("-5:5", [-5, 0, 5], [6]),
]


@pytest.mark.parametrize(("text", "well", "bad"), EXAMPLES)
def test_the_guidelines(text, well, bad):
    one = parse_range(text)
    assert one.text == text
    assert [value for value in well if one.alerts(value)] == []
    assert [value for value in bad if not one.alerts(value)] == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        *((text, "is no range") for text in (
            "", "@", "~", "@~", "x", "10%", "10 ", " 10", "1:2:3", "10:~", "~10", "nan", "inf", "1e3", "--1", "1_0",
            "10,20", "10-20", "\u0663", "10\n", "+5", "@@1", "1:@2", "0x10", "9" * 30,
        )),
        ("20:10", "ends before it begins"),
        ("@5:1", "ends before it begins"),
        ("-1", "ends before it begins"),
        *((text, "never alerts") for text in ("~:", ":", "0:", "-3:", "@-5:-1", "@~:-1")),
        *((text, "always alerts") for text in ("@~:", "@:", "@0:", "@-1:", "-5:-1", "~:-1")),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(text, why):
    with pytest.raises(ValueError, match=why):
        parse_range(text)


NUMBERS = st.one_of(st.integers(-50, 200), st.floats(-50, 200).map(lambda one: round(one, 3)))


@given(NUMBERS, NUMBERS, st.booleans(), st.booleans(), st.booleans(), NUMBERS)
def test_a_range_alerts_where_the_guidelines_say(one, other, inside, open_start, open_end, value):
    low, high = sorted((one, other))
    text = "%s%s:%s" % ("@" * inside, "~" if open_start else "%g" % low, "" if open_end else "%g" % high)
    low, high = float("%g" % low), float("%g" % high)
    within = (open_start or low <= value) and (open_end or value <= high)
    with contextlib.suppress(ValueError):  # one that says nothing
        assert parse_range(text).alerts(value) == (within if inside else not within)


@given(st.text(max_size=12))
def test_any_text_is_a_range_or_a_value_error(text):
    with contextlib.suppress(ValueError):
        one = parse_range(text)
        assert any(one.alerts(value) for value in (0, one.start, one.end, one.end + 1, one.start - 1, 1e15))


@given(st.text("0123456789.:@~-", max_size=9), st.text("0123456789.:@~-", max_size=9), st.lists(NUMBERS.map(abs)))
def test_within_means_every_value(first, second, values):
    with contextlib.suppress(ValueError):
        one, other = parse_range(first), parse_range(second)
        edges = [edge for part in (one, other) for edge in (part.start, part.end) if 0 <= edge < 1e9]
        tried = [*values, *edges, *(edge + 0.25 for edge in edges), *(abs(edge - 0.25) for edge in edges), 1e12]
        counter = [value for value in tried if one.alerts(value) and not other.alerts(value)]
        if one.within(other):
            assert counter == []
        else:
            assert not all(edge == int(edge) for edge in edges) or counter, "there is a value, and these come close"
