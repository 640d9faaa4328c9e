"""The policy file: what a user may write comes out, and anything else is one error that names its place."""

from __future__ import annotations

import contextlib
import math
from typing import Any, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipcops.core import policy
from ipcops.core.errors import InputError
from ipcops.core.known.protections import SHIPPED
from ipcops.core.model import KINDS, REMOVABLE_KINDS
from ipcops.core.policy import SETTINGS, defaults, parse_policy
from ipcops.core.rules import BY_ID
from ipcops.core.run import _parse_object

PATH = "/etc/some where/ipcops.conf"
WORDS = st.from_regex(r"[A-Za-z0-9_./*?@-]{1,12}", fullmatch=True)

# ---------------------------------------------------------------- values


@given(st.integers(0, 10**9), st.sampled_from([("", 1), ("s", 1), ("m", 60), ("h", 3600), ("d", 86400), ("w", 604800)]))
def test_durations(count, unit):
    word, seconds = unit
    assert policy.parse_duration("%d%s" % (count, word)) == count * seconds
    assert policy.parse_duration(" %d %s " % (count, word)) == count * seconds


@given(
    st.integers(0, 10**6),
    st.sampled_from(["", "K", "M", "G", "T"]),
    st.sampled_from(["", "B", "iB"]),
    st.booleans(),
)
def test_sizes(count, unit, tail, lower):
    if not unit and tail == "iB":
        tail = ""
    text = "%d%s%s" % (count, unit, tail)
    assert policy.parse_size(text.lower() if lower else text) == count << 10 * " KMGT".index(unit or " ")


@given(st.integers(0, 1000))
def test_percentages(count):
    for text in ("%d", "%d%%", " %d %% "):
        assert policy.parse_percent(text % count) == count / 100


@given(st.lists(WORDS, max_size=6), st.sampled_from([" ", ",", ", ", "\n", "\t \n"]))
def test_words(words, between):
    assert policy.parse_words(between.join(words)) == tuple(words)


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF))
def test_key_ranges(one, other):
    low, high = sorted((one, other))
    assert policy.parse_key_range("0x%x-0x%08X" % (low, high)) == (low, high)
    assert policy.parse_key_range("%d" % low) == (low, low)
    if low < high:
        with pytest.raises(ValueError, match="between"):
            policy.parse_key_range("0x%x-0x%x" % (high, low))


VALUES = [
    policy.parse_duration,
    policy.parse_size,
    policy.parse_percent,
    policy.parse_yes,
    policy.parse_words,
    policy.parse_directories,
    policy.parse_key_range,
]
TYPED = st.one_of(
    st.text(max_size=30),
    st.from_regex(r"[0-9a-fx.,+\-_ ]{0,12}[KMGTsmhdw%]?", fullmatch=True),
    st.sampled_from(
        ["nan", "inf", "-inf", "1e999", "9" * 400, "9" * 400 + "T", "9" * 5000, "0x" + "f" * 400, "-", "--", "1_0"]
    ),
)


@pytest.mark.parametrize("parse", VALUES, ids=lambda parse: parse.__name__)
@given(text=TYPED)
def test_a_value_parses_or_is_a_value_error(parse, text):
    with contextlib.suppress(ValueError):
        value = parse(text)
        if isinstance(value, float):
            assert value >= 0
            assert math.isfinite(value)


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "1e3", "9" * 400, "", "%", "1 0"])
def test_no_percentage(text):
    with pytest.raises(ValueError, match="percentage"):
        policy.parse_percent(text)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: "%s.%s" % (setting.section, setting.name))
def test_every_default_is_valid_and_every_bound_holds(setting):
    setting.value(setting.default)
    scale = 100 if setting.parse is policy.parse_percent else 1
    for bound, outside in ((setting.least, -1), (setting.most, +1)):
        if bound is None:
            continue
        assert setting.value("%f" % (bound * scale)) == pytest.approx(bound)
        if bound or outside > 0:
            with pytest.raises(ValueError, match="out of bounds"):
                setting.value("%f" % (bound * scale * (2 if outside > 0 else 0)))


# ---------------------------------------------------------------- the file


def test_an_empty_file_is_the_defaults():
    empty, usual = parse_policy("", PATH), defaults()
    assert (empty.values, empty.protect) == (usual.values, usual.protect)


def written(setting: Any, value: Any) -> str:
    if setting.parse is policy.parse_yes:
        return "yes" if value else "no"
    if setting.parse in (policy.parse_words, policy.parse_directories):
        return " ".join(value)
    if setting.parse is policy.parse_percent:
        return repr(value * 100)
    return "%f" % value if isinstance(value, float) else str(value)


def some_value(setting: Any) -> st.SearchStrategy:
    if setting.parse is policy.parse_yes:
        return st.booleans()
    if setting.name == "exempt":
        return st.lists(st.sampled_from(["MSG-007", "SHM-001:shm:0x0052e2c1", "PSHM-001:posix-shm:/cache-*"])).map(
            tuple
        )
    if setting.parse is policy.parse_words:
        return st.lists(WORDS, max_size=3).map(tuple)
    if setting.parse is policy.parse_directories:
        return st.lists(WORDS.map("/{}".format), max_size=3).map(tuple)
    most = setting.most if setting.most is not None else 1 << 40
    if setting.parse is policy.parse_size:
        return st.integers(int(setting.least or 0), int(most))
    return (
        st.floats(setting.least or 0, most)
        .map(lambda number: round(number, 4))
        .filter(lambda n: n >= (setting.least or 0))
    )


FILES = st.lists(st.sampled_from(SETTINGS), unique_by=lambda setting: (setting.section, setting.name)).flatmap(
    lambda chosen: st.tuples(st.just(chosen), st.tuples(*(some_value(setting) for setting in chosen)))
)


@given(FILES, st.sampled_from([" = ", "=", ": "]), st.sampled_from(["", "# a comment\n\n", "; another\n"]))
def test_settings_round_trip(file, equals, comment):
    chosen, values = file
    lines: List[str] = []
    for section in ("scan", "audit"):
        mine = [(setting, value) for setting, value in zip(chosen, values) if setting.section == section]
        if mine:
            lines.append("[%s]" % section)
            lines += ["%s%s%s%s" % (comment, setting.name, equals, written(setting, value)) for setting, value in mine]
    given_near = {setting.name: value for setting, value in zip(chosen, values)}
    near, at = given_near.get("near_limit", 0.75), given_near.get("at_limit", 0.9)
    text = "\n".join(lines)
    if near > at:
        with pytest.raises(InputError, match="near_limit above at_limit"):
            parse_policy(text, PATH, BY_ID)
        return
    read = parse_policy(text, PATH, BY_ID)
    for setting, value in zip(chosen, values):
        assert read[setting.section, setting.name] == pytest.approx(value)
    assert read.source == PATH


LINES = st.one_of(
    st.sampled_from(
        [
            "[scan]", "[audit]", "[protect a]", "[protect b]", "[protect]", "[]", "[", "[x]", "[remove r]", "[DEFAULT]",
            "[\0]", "=", ":",
            "deadline = 5", "deadline =", "deadline", "deadlin = 5", "deadline = 5x", " deadline = 5", "deadline = 9h",
            "near_limit = 95", "near_limit = nan", "idle_size = " + "9" * 400, "exempt = NO-1",
            "exempt = SHM-001:shm:",
            "exempt = SHM-001:socket:x", "reason = r", "reason =", "owner = x", "owner =", "kind = shm", "kind = shmm",
            "key = 0x1-0x2", "key = x", "lift = oracle", "lift = orcle", "lift =", "unit = a.service",
            "  more", "# c", "; c", "", "%(x)s", "[scan", "scan]", "\tx = 1", "\ufeff[scan]", "\u2028", "\r",
        ]
    ),
    st.text(max_size=20),
)  # fmt: skip


@given(st.lists(LINES, max_size=8).map("\n".join))
def test_text_of_any_kind_is_a_policy_or_an_error_that_names_its_place(text):
    try:
        read = parse_policy(text, PATH, BY_ID)
    except InputError as error:
        message = str(error)
        assert (PATH in message, "line" in message) == (True, True)
    else:
        assert all(not isinstance(value, float) or math.isfinite(value) for value in read.values.values())


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[scan]\n\ndeadlin = 5\n", 3, ["unknown key 'deadlin'", "did you mean 'deadline'"]),
        ("[audit]\norphan_age = 1h\n[scann]\n", 3, ["unknown section 'scann'", "did you mean 'scan'"]),
        ("[scan]\ndeadline = 5 parsecs\n", 2, ["[scan] deadline '5 parsecs' is no duration"]),
        ("[scan]\ndeadline = 2h\n", 2, ["out of bounds; from 0.01"]),
        ("[audit]\nat_limit = 101\n", 2, ["out of bounds; from 1"]),
        ("[audit]\nnear_limit = 95\n", 2, ["near_limit puts near_limit above at_limit"]),
        ("[audit]\nat_limit = 50\n", 2, ["at_limit puts near_limit above at_limit"]),
        ("[audit]\nidle_size = %s\n" % ("9" * 400), 2, ["idle_size"]),
        ("[audit]\nat_limit = nan\n", 2, ["is no percentage"]),
        ("[audit]\nexempt = SHM-01\n", 2, ["unknown rule 'SHM-01'", "did you mean 'SHM-0"]),
        ("[audit]\nexempt = SHM-001:shmm:1\n", 2, ["unknown kind 'shmm'", "did you mean 'shm'"]),
        ("[audit]\nexempt = SHM-001:shm\n", 2, ["names no object"]),
        ("[protect x]\nowner = a\n", 1, ["needs a reason"]),
        ("[protect x]\nreason = r\n", 1, ["protects nothing"]),
        ("[protect x]\nreason = r\nowner =\n", 1, ["protects nothing"]),
        ("[protect x]\nreason = r\nkind =\nkey =\n", 1, ["protects nothing"]),
        ("[protect x]\nreason = r\nlift = postgresql\nowner =\n", 4, ["owner is empty"]),
        ("[protect x]\nreason = r\nlift = sap\nowner = hdbadm\nkey = ,\n", 5, ["key is empty"]),
        ("[protect x]\nreason = r\nkind = shm\nkey =\n", 4, ["key is empty"]),
        ("[protect]\nreason = r\nowner = a\n", 1, ["needs a name"]),
        ("[protect a b]\nreason = r\nowner = a\n", 1, ["needs a name"]),
        ("[protect oracle]\nreason = r\nowner = a\n", 1, ["has the name of a shipped section"]),
        ("[protect x]\nreason = r\nlift = orakle\n", 3, ["unknown shipped section 'orakle'", "did you mean 'oracle'"]),
        ("[protect x]\nreason = r\nkind = posix-sm\n", 3, ["unknown kind 'posix-sm'", "did you mean 'posix-s"]),
        ("[protect x]\nreason = r\nkey = 0x1 2-1\n", 3, ["is no key between"]),
        ("[protect x]\nreason = r\nowners = a\n", 3, ["unknown key 'owners'", "did you mean 'owner'"]),
        ("[protect x]\nreason = r\nowner = a\n[protect x]\nreason = r\nowner = b\n", 4, ["is there already"]),
        ("[scan]\ndeadline = 1\ndeadline = 2\n", 3, ["is there already"]),
        ("deadline = 1\n", 1, ["none stands before it"]),
        ("[scan]\nnonsense\n", 2, ["neither a [section] nor KEY = VALUE"]),
        ("[\0]\ndeadline = 1\n", 1, ["unknown section"]),
    ],
)
def test_an_error_names_file_line_and_the_nearest_word(text, line, words):
    with pytest.raises(InputError) as raised:
        parse_policy(text, PATH, BY_ID)
    message = str(raised.value)
    assert "%s line %d: " % (PATH, line) in message
    for word in words:
        assert word in message


def test_every_shipped_section_is_in_force_and_gives_its_reason():
    sections = {section.name: section for section in defaults().protect}
    assert set(sections) == set(SHIPPED)
    assert all(section.reason and (section.owners or section.names) for section in sections.values())


# ---------------------------------------------------------------- KIND:ID on the command line


@given(st.sampled_from(REMOVABLE_KINDS), st.integers(0, (1 << 32) - 1), st.sampled_from(["%d", "0x%x", "0X%08X"]))
def test_objects_by_number(kind, number, form):
    name = form % number
    wanted = "/" + name if kind.startswith("posix") else name
    assert _parse_object("%s:%s" % (kind, name)) == (kind, wanted)


@given(st.sampled_from([kind for kind in KINDS if kind.startswith("posix")]), st.text(min_size=1, max_size=20))
def test_objects_by_name(kind, name):
    path = name if name.startswith("/") else "/" + name
    assert _parse_object("%s:%s" % (kind, name)) == (kind, path)


@given(
    st.one_of(
        st.text(max_size=20),
        st.tuples(st.sampled_from(KINDS), st.text(max_size=20)).map(":".join),
        st.just("shm:" + "9" * 5000),
    )
)
def test_a_word_names_an_object_or_is_an_input_error(word):
    with contextlib.suppress(InputError):
        kind, name = _parse_object(word)
        assert kind in KINDS
        assert name
