"""How reports look: 80 columns, wider ones, colour on a terminal only."""

from __future__ import annotations

import json
import re
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipcops.core import policy
from ipcops.core.layout import Grid, Para, Span, plain, printable
from ipcops.core.rules.catalogue import BY_ID
from ipcops.core.text.audit import looked_at
from ipcops.show.templates import rendered
from tests import world
from tests.cli.command import ipcops, on_terminal

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def populate() -> None:
    for number in range(50):
        world.semget(1 + number % 3, mode=0o666)
    world.shmget(1 << 20, key=0x1234)
    world.shm_file("a name\twith\x1b[31m everything\n in it")


@world.in_world()
def test_eighty_columns():
    populate()
    reports = (
        ("audit", "--fail-on", "none"),
        ("list", "shm", "sem", "posix-shm", "fifo", "pipe", "inet"),  # the others' names may be longer than a line
        ("show", "shm:0x1234"),
        ("rules",),
        ("rules", "SHM-001"),
    )
    for command in reports:
        done = ipcops(*command)
        assert done.returncode == 0, done.stderr
        long = [line for line in done.stdout.splitlines() if len(line) > 80 and " " in line.strip()]
        assert long == []
        assert "\x1b" not in done.stdout


@world.in_world()
def test_wide_terminals_get_more():
    populate()
    narrow, wide = ipcops("list", "shm", COLUMNS="80"), ipcops("list", "shm", COLUMNS="160")
    assert "PROTECTED" not in narrow.stdout
    assert "PROTECTED" in wide.stdout


@world.in_world()
def test_many_equal_findings_are_one_line():
    populate()
    done = ipcops("audit", "--kind", "sem", "--fail-on", "none")
    assert "50 semaphore sets" in done.stdout
    assert done.stdout.count("SEM-005") == 1
    full = json.loads(ipcops("audit", "--kind", "sem", "--fail-on", "none", "--format", "json").stdout)
    assert len([one for one in full["findings"] if one["rule"] == "SEM-005"]) == 50


@world.in_world()
def test_names_cannot_steer_the_terminal():
    populate()
    for text in (ipcops("list").stdout, ESCAPE.sub("", on_terminal("list", width=200))):
        assert "a name\\twith\\x1b[31m everything\\n in it" in text
        assert "\x1b" not in text


def test_a_kind_that_was_partly_seen_is_not_said_to_be_absent():
    gap = {"evidence": "table", "what": "POSIX queues", "why": "no", "kind": "posix-mq"}
    scan = {"processes": 1, "seconds": 0.01, "privileged": True, "kinds": ["shm", "sem", "posix-mq"], "skipped": [gap]}
    scan["places"] = [{}]
    usage = {"shm": {"objects": 2}, "sem": {"objects": 0}, "posix-mq": {"objects": 0}}
    first = next(iter(plain(looked_at({"scan": scan, "usage": usage}), 200)))
    assert first == "Looked at 1 process and 2 System V segments in 0.01 s. There are no semaphore sets.\n"


@world.in_world()
def test_what_was_not_asked_for_is_not_said_to_be_in_order():
    world.shmget(1, mode=0o666)
    for command in (("--kind", "sem"), ("--rule", "SEM-001"), ("--min-severity", "critical", "--kind", "msg")):
        assert ipcops("audit", *command).stdout.startswith("No finding on "), command
    assert "Nothing is" not in ipcops("audit", "--kind", "shm", "--fail-on", "none").stdout


@world.in_world()
def test_severities_stand_apart_from_rules():
    world.shmget(1, mode=0o666)
    done = ipcops("audit", "--rule", "SHM-003", "--fail-on", "none")
    assert re.search(r"^(CRITICAL|HIGH|MEDIUM) +SHM-003  Segment", done.stdout, re.MULTILINE)


def test_colour_on_a_terminal_only():
    assert ESCAPE.search(on_terminal("rules"))
    assert not ESCAPE.search(ipcops("rules").stdout)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", on_terminal("audit", NO_COLOR="1"))


@world.in_world()
@pytest.mark.parametrize("width", [50, 80, 200])
def test_terminal_shows_the_tables_of_a_pipe(width):
    populate()
    for command in (("rules",), ("list", "shm", "sem", "posix-shm")):
        shown = ESCAPE.sub("", on_terminal(*command, width=width)).partition("Not seen")[0]
        piped = ipcops(*command, COLUMNS=str(width)).stdout.partition("Not seen")[0]
        assert re.sub(r"\d s\b", "", shown) == re.sub(r"\d s\b", "", piped)


def test_terminal_says_what_a_pipe_says():
    shown = ESCAPE.sub("", on_terminal("rules", "SHM-001"))
    piped = ipcops("rules", "SHM-001").stdout
    assert shown.split() == piped.split()


@given(st.text() | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_printable_text_is_harmless_and_honest(text):
    shown = printable(text)
    assert shown.isprintable() or not shown
    if text.isprintable():
        assert shown == text


WORDS = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), max_size=12)


@settings(max_examples=60)
@given(st.lists(st.tuples(WORDS, WORDS, WORDS.map(lambda word: word * 5)), max_size=6), st.integers(30, 100))
def test_grids_keep_to_the_width(rows, width):
    lines = "".join(plain([Grid(("A", "B", "C"), rows, (False, True, False))], width)).splitlines()
    assert len(lines) == len(rows) + 1
    for line, row in zip(lines[1:], rows, strict=True):
        assert len(line) <= width
        assert line.endswith("…") or " ".join(row).split() == line.split()


@given(st.text(max_size=300).map(printable), st.integers(0, 8))
def test_paragraphs_lose_no_word(text, indent):
    lines = "".join(plain([Para((Span(text),), indent, 2)], 60))
    assert lines.split() == text.split()


@given(
    st.lists(st.sampled_from(["a", "bb", "ccc-dd", "é", "long" * 5, " ", "  "]), max_size=30).map("".join),
    st.integers(1, 40), st.integers(0, 6), st.integers(0, 6),
)  # fmt: skip
def test_paragraphs_break_as_those_of_textwrap(text, width, indent, hang):
    lines = textwrap.wrap(
        text, width, initial_indent=" " * indent, subsequent_indent=" " * (indent + hang),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    expected = "".join(line.rstrip() + "\n" for line in lines or [""])
    assert "".join(plain([Para((Span(text),), indent, hang)], width)) == expected


def test_policy_template_is_a_valid_policy_of_the_defaults():
    text = rendered("policy")
    assert policy.parse_policy(text, "template", BY_ID).values == policy.defaults().values
    uncommented = re.sub(r"^# (\w+ =)", r"\1", text.partition("# What is never removed")[0], flags=re.MULTILINE)
    assert uncommented.count("\n" + policy.SETTINGS[0].name) == 1
    assert policy.parse_policy(uncommented, "template", BY_ID).values == policy.defaults().values
    for setting in policy.SETTINGS:
        assert f"# {setting.name} =" in text


def test_shipped_protections_could_be_written_by_a_user():
    part = rendered("policy").partition("#\n# [protect oracle]")
    text = re.sub(r"^# ?", "", (part[1] + part[2]).lstrip("#\n"), flags=re.MULTILINE)
    text = re.sub(r"\[protect (\S+)\]", r"[protect own-\1]", text)
    own = policy.parse_policy(text, "own", BY_ID).protect
    shipped = policy.defaults().protect
    assert [one._replace(name=one.name.removeprefix("own-")) for one in own[: len(shipped)]] == list(shipped)


def test_render_lists_and_refuses():
    assert ipcops("render", "--list").stdout.startswith("policy")
    done = ipcops("render", "polisy")
    assert done.returncode == 2
    assert "did you mean 'policy'" in done.stderr
    assert ipcops("render").returncode == 2


@pytest.mark.parametrize("width", [40, 80, 200])
def test_terminal_keeps_to_its_width(width):
    text = ESCAPE.sub("", on_terminal("rules", "MSG-004", width=width))
    assert max(len(line) for line in text.splitlines()) <= width
