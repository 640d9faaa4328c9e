"""The journal's text: whatever a crash leaves of it is read as far as it is whole, and the rest is told."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipcops.core import journal
from ipcops.core.journal import Backup, Intent, Journal, join, parse_events, told, untold
from ipcops.core.model import Action
from ipcops.core.state import parse_seen

WORDS = st.text(max_size=20)
ROWS = st.fixed_dictionaries(
    {
        "id": st.integers(0, (1 << 31) - 1),
        "key": st.integers(0, (1 << 32) - 1),
        "mode": st.integers(0, 0o7777),
        "uid": st.integers(0, (1 << 32) - 1),
        "ctime": st.integers(0, 1 << 40),
    }
)
ACTIONS = st.builds(
    lambda row, section, reasons, with_data: Action(
        "sem", row["id"], row["key"], None, 4026531839, row, section, tuple(reasons), "strong", "full", with_data
    ),
    ROWS,
    WORDS,
    st.lists(WORDS, max_size=3),
    st.booleans(),
)
BACKUPS = st.one_of(st.none(), st.builds(Backup, st.integers(0, 1 << 40), st.just("0" * 64)))
EVENTS = st.lists(
    st.one_of(
        st.builds(lambda name: {"event": "batch", "batch": name}, WORDS),
        st.builds(lambda action, n: journal._intent_event("b", n, action, None), ACTIONS, st.integers(0, 5)),
        st.builds(
            lambda word, n, why: {"event": word, "time": 5, "batch": "b", "n": n, "error": why},
            st.sampled_from(journal.OUTCOMES),
            st.integers(0, 5),
            WORDS,
        ),
        st.just({"event": "backed-up", "batch": "b", "pack": "b.pack"}),
        st.just({"event": "end"}),
    ),
    max_size=12,
)


def written(events: list) -> bytes:
    """Return a journal file of events."""
    return "".join(json.dumps(event) + "\n" for event in events).encode()


@given(EVENTS, st.data())
def test_any_torn_tail(events, data):
    """Cut anywhere: every line that is whole is read, and how much of the next one is left is said."""
    text = written(events)
    cut = text[: data.draw(st.integers(0, len(text)))]
    found = parse_events(cut)
    whole = cut.count(b"\n")
    assert found.events == json.loads(json.dumps(events[:whole]))
    assert found.torn == len(cut) - (cut.rfind(b"\n") + 1)
    assert found.bad == []


@given(EVENTS, EVENTS, st.binary(max_size=40))
def test_any_torn_line_that_a_later_run_went_on_behind(before, after, rubbish):
    """A line that was cut off and ended by the next run spoils no other, and is told."""
    line = b"{" + rubbish.replace(b"\n", b"")
    found = parse_events(written(before) + line + b"\n" + written(after))
    assert found.events == json.loads(json.dumps(before + after))
    assert found.bad == [len(before) + 1]
    assert found.torn == 0


@given(st.binary(max_size=200))
def test_anything_else_is_told(text):
    found = parse_events(text)
    assert len(found.events) + len(found.bad) == text.count(b"\n")


@given(EVENTS)
def test_entries_are_the_intents(events):
    """As many entries as intents, each with its last outcome; none without."""
    entries = join(parse_events(written(events)).events)
    numbers = [event["n"] for event in events if event["event"] == "intent"]
    assert [entry["n"] for entry in entries] == list(dict.fromkeys(numbers))
    for entry in entries:
        assert entry["event"] in ("intent", *journal.OUTCOMES)
        assert entry["backup"] is None


@given(ACTIONS, st.integers(0, 1023), BACKUPS)
def test_the_fast_form_is_the_slow_one(action, number, backup):
    """Lines filled into a form are, byte for byte, those that JSON makes."""
    written = []

    class Lines(Journal):
        def __init__(self):
            """Write nowhere."""

        def _write(self, lines, **_):
            written.extend(lines)

    names, values = tuple(action.expect), tuple(action.expect.values())
    Lines().intents("batch", [Intent(number, action, backup), Intent(number, action, backup, names, values)])
    assert written[0] == written[1]


@given(ROWS)
def test_told_and_untold(row):
    assert told(row)["key"] == "0x%08x" % row["key"]
    assert told(row)["mode"] == "0%o" % row["mode"]
    assert untold(json.loads(json.dumps(told(row)))) == row


def test_untold_refuses():
    with pytest.raises(ValueError, match="invalid literal"):
        untold({"key": "x"})


def test_an_entry_knows_its_batch_and_backup():
    batch = {"event": "batch", "batch": "b", "time": 1, "user": {"uid": 0}, "command": "clean", "boot_id": "x"}
    action = Action("sem", 1, 2, None, 3, {"uid": 7}, "s", ("r",), "strong")
    intent = journal._intent_event("b", 0, action, Backup(26, "ff"))
    backed = {"event": "backed-up", "batch": "b", "pack": "b.pack"}
    gone = {"event": "removed", "time": 9, "batch": "b", "n": 0, "object": "sem:1"}
    (entry,) = join([batch, intent, backed, gone])
    assert entry["event"] == "removed"
    assert entry["time"] == 9
    assert entry["user"] == {"uid": 0}
    assert entry["object"] == {"kind": "sem", "id": 1, "key": "0x00000002", "path": None, "namespace": 3, "uid": 7}
    assert entry["backup"] == {"pack": "b.pack", "offset": 26, "sha256": "ff"}
    assert entry["kept"] == "full"
    # What is not said to be on the disk is no backup.
    assert join([batch, intent, gone])[0]["backup"] is None


def test_sightings():
    good = {"boot_id": "b", "kinds": {"shm": {"x": [1.5, 2]}}}
    assert parse_seen(json.dumps(good).encode(), "b") == {"shm": {"x": [1.5, 2]}}
    assert parse_seen(json.dumps(good).encode(), "other boot") == {}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b"\xff",
        b'{"boot_id": "b", "kinds": []}',
        b'{"boot_id": "b", "kinds": {"shm": {"x": [-1, 2]}}}',
        b'{"boot_id": "b", "kinds": {"shm": {"x": [1]}}}',
        b'{"boot_id": "b", "kinds": {"shm": {"x": [NaN, 2]}}}',
        b'{"boot_id": "b", "kinds": {"shm": {"x": [true, 2]}}}',
        b'{"boot_id": "b", "kinds": {"shm": {"x": ["1", 2]}}}',
        b'{"boot_id": "b", "kinds": {"shm": {"x": 1}}}',
    ],
)
def test_what_are_no_sightings(text):
    with pytest.raises(ValueError, match=r"sightings|Expecting|codec"):
        parse_seen(text, "b")
