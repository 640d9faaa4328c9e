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
from ipcops.core.model import KINDS, POSIX_KINDS, REMOVABLE_KINDS
from ipcops.core.naming import parse_object
from ipcops.core.policy import ACCEPT, BACKUPS, ON_EXCESS, SETTINGS, Candidate, RemoveSection, defaults, parse_policy
from ipcops.core.policy.settings import METRIC_KINDS
from ipcops.core.rules.catalogue import BY_ID

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
    policy.parse_directory,
    policy.parse_count,
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
        form = "%d" if setting.parse in (policy.parse_count, policy.parse_size) else "%f"
        assert setting.value(form % (bound * scale)) == pytest.approx(bound)
        if bound or outside > 0:
            with pytest.raises(ValueError, match="out of bounds"):
                setting.value(form % (bound * scale * (2 if outside > 0 else 0)))


# ---------------------------------------------------------------- the file


def test_an_empty_file_is_the_defaults():
    empty, usual = parse_policy("", PATH), defaults()
    assert (empty.values, empty.protect, empty.remove) == (usual.values, usual.protect, usual.remove)
    assert empty.hash == usual.hash


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
    if setting.name == "kinds":
        known = REMOVABLE_KINDS if setting.section == "job" else METRIC_KINDS
        return st.lists(st.sampled_from(known), min_size=1).map(tuple)
    if setting.parse is policy.parse_directory:
        return st.sampled_from(["", "/var/lib/other", "/a b"])
    if setting.name == "file":
        return st.sampled_from(["60-a.conf", "99-zz-ipcops.conf", "A_b.c-d.conf"])
    if setting.parse is policy.parse_words:
        return st.lists(WORDS, max_size=3).map(tuple)
    if setting.parse is policy.parse_directories:
        return st.lists(WORDS.map("/{}".format), max_size=3).map(tuple)
    most = setting.most if setting.most is not None else 1 << 40
    if setting.parse in (policy.parse_size, policy.parse_count):
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
    for section in ("scan", "audit", "clean", "limits", "job", "metrics"):
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
            "[clean]", "[job]", "[remove s]", "kind = sem", "kinds = shm", "kinds =", "min_age = 1h", "min_age = x",
            "owner_gone = ignore", "owner_gone = unit", "owner_gone = all", "accept = strong", "backup = none",
            "with_data = yes", "with_data = perhaps", "max_removals = 3", "max_removals = -3", "name = /psm_*",
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
        ("[scan] deadline = 5\n", 1, ["what stands after [scan] would not count"]),
        ("[audit]\n[scan]\\ndeadline = 5\n", 2, ["what stands after [scan] would not count"]),
        ("[audit]\n\n  [scan] deadline = 5\n", 3, ["unknown key '[scan] deadline'"]),
    ],
)
def test_an_error_names_file_line_and_the_nearest_word(text, line, words):
    with pytest.raises(InputError) as raised:
        parse_policy(text, PATH, BY_ID)
    message = str(raised.value)
    assert "%s line %d: " % (PATH, line) in message
    for word in words:
        assert word in message


def test_a_comment_may_follow_a_section_and_a_value_may_begin_as_one_does():
    read = parse_policy("[scan] # mine\r\ndeadline = 5\n[remove x]\nkind = posix-shm\nname =\n  [a-z]x*\n", PATH, BY_ID)
    assert (read["scan", "deadline"], read.remove[0].names) == (5, ("[a-z]x*",))


def test_every_shipped_section_is_in_force_and_gives_its_reason():
    sections = {section.name: section for section in defaults().protect}
    assert set(sections) == set(SHIPPED)
    assert all(section.reason and (section.owners or section.names) for section in sections.values())


# ---------------------------------------------------------------- KIND:ID on the command line


@given(st.sampled_from(REMOVABLE_KINDS), st.integers(0, (1 << 32) - 1), st.sampled_from(["%d", "0x%x", "0X%08X"]))
def test_objects_by_number(kind, number, form):
    name = form % number
    wanted = "/" + name if kind.startswith("posix") else name
    assert parse_object("%s:%s" % (kind, name)) == (kind, wanted)


@given(st.sampled_from([kind for kind in KINDS if kind.startswith("posix")]), st.text(min_size=1, max_size=20))
def test_objects_by_name(kind, name):
    path = name if name.startswith("/") else "/" + name
    assert parse_object("%s:%s" % (kind, name)) == (kind, path)


@given(
    st.one_of(
        st.text(max_size=20),
        st.tuples(st.sampled_from(KINDS), st.text(max_size=20)).map(":".join),
        st.just("shm:" + "9" * 5000),
    )
)
def test_a_word_names_an_object_or_is_an_input_error(word):
    with contextlib.suppress(InputError):
        kind, name = parse_object(word)
        assert kind in KINDS
        assert name


# ---------------------------------------------------------------- what may go


def test_without_a_section_only_what_is_built_in_may_go():
    orphans, families = defaults().remove
    assert orphans == RemoveSection("orphans", ("shm",))
    assert families == RemoveSection("families", ("posix-shm",), families=True)
    assert (orphans.accept, orphans.owner_gone, orphans.min_age, orphans.backup) == ("certain", "uid", 86400, "full")
    assert parse_policy("[protect x]\nowner = a\nreason = r\n", PATH).remove == (orphans, families)


def test_a_section_of_ones_own_takes_the_place_of_what_is_built_in():
    text = """
[remove old]
kind = shm, sem
owner = alice @users nameless
    1000
key = 0x0 0x10-0x20
min_age = 2d
owner_gone = unit
accept = strong
max_removals = 7
on_excess = oldest
backup = metadata
"""
    assert parse_policy(text, PATH).remove == (
        RemoveSection(
            "old", ("shm", "sem"), ("alice", "@users", "nameless", "1000"), (), ((0, 0), (0x10, 0x20)),
            min_age=2 * 86400.0, owner_gone="unit", accept="strong", max_removals=7, on_excess="oldest",
            backup="metadata",
        ),
    )  # fmt: skip
    (queues,) = parse_policy("[remove q]\nkind = msg\nowner = a\naccept = strong\nwith_data = yes\n", PATH).remove
    assert queues.with_data


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[remove x]\nowner = a\n", 1, ["names no kind", "kind = shm"]),
        ("[remove]\nkind = shm\n", 1, ["needs a name"]),
        ("[remove a b]\nkind = shm\n", 1, ["needs a name"]),
        ("[remove x]\nkind =\n", 2, ["kind is empty"]),
        ("[remove x]\nkind = shm\nowner = ,\n", 3, ["owner is empty"]),
        ("[remove x]\nkind = shmm\n", 2, ["unknown kind 'shmm'", "did you mean 'shm'"]),
        ("[remove x]\nkind = fifo\n", 2, ["unknown kind 'fifo'"]),
        ("[remove x]\nkind = shm\nminage = 1h\n", 3, ["unknown key 'minage'", "did you mean 'min_age'"]),
        ("[remove x]\nkind = shm\nreason = r\n", 3, ["unknown key 'reason'"]),
        ("[remove x]\nkind = shm\nmin_age = -1h\n", 3, ["is no duration"]),
        ("[remove x]\nkind = shm\nmin_age = 400d\n", 3, ["out of bounds"]),
        ("[remove x]\nkind = shm\nmax_removals = many\n", 3, ["is no whole number"]),
        ("[remove x]\nkind = shm\non_excess = all\n", 3, ["unknown on_excess 'all'"]),
        ("[remove x]\nkind = shm\naccept = strnog\n", 3, ["unknown accept 'strnog'", "did you mean 'strong'"]),
        ("[remove x]\nkind = shm\naccept = suspect\n", 3, ["unknown accept 'suspect'"]),
        ("[remove x]\nkind = shm\nbackup = no\n", 3, ["unknown backup 'no'"]),
        ("[remove x]\nkind = shm\nowner_gone = units\n", 3, ["unknown owner_gone 'units'", "did you mean 'unit'"]),
        ("[remove x]\nkind = sem\naccept = strong\n", 1, ["needs an owner for kind sem", "owner = USER"]),
        ("[remove x]\nkind = shm msg\n", 1, ["needs an owner for kind msg"]),
        ("[remove x]\nkind = sem\nowner = a\n", 1, ["kind sem never is", "accept = strong"]),
        ("[remove x]\nkind = posix-mq\naccept = certain\n", 3, ["kind posix-mq never is", "accept = strong"]),
        ("[remove x]\nkind = shm\nowner = 65534\n", 3, ["may be anybody"]),
        ("[remove x]\nkind = shm\nowner = a nobody\n", 3, ["may be anybody"]),
        ("[remove x]\nkind = shm\nowner = *\n", 3, ["means anybody"]),
        ("[remove x]\nkind = shm\nowner = 007\n", 3, ["is no uid; write 7"]),
        ("[remove x]\nkind = shm\nname = /psm_*\n", 3, ["never matches kind shm"]),
        ("[remove x]\nkind = posix-shm\nkey = 0x1\n", 3, ["never matches kind posix-shm"]),
        ("[remove x]\nkind = posix-shm\nname = psm_*\n", 3, ["write /psm_*"]),
        ("[remove x]\nkind = posix-shm\nowner_gone = ignore\n", 3, ["name = /psm_*"]),
        ("[remove x]\nkind = posix-shm\nname = /*\nowner_gone = ignore\n", 3, ["'/*' is every file"]),
        ("[remove x]\nkind = posix-shm\nname = /[!x]?*\nowner_gone = ignore\n", 3, ["is every file", "/psm_*"]),
        ("[remove x]\nkind = shm\nowner = [a-z]*\n", 3, ["means anybody"]),
        ("[remove x]\nkind = posix-shm\nname = /a* *\nowner_gone = ignore\n", 3, ["'*' is every file"]),
        ("[remove x]\nkind = sem\nowner = a\naccept = strong\nowner_gone = ignore\n", 5, ["sem", "write uid or unit"]),
        ("[remove x]\nkind = msg\nowner = a\naccept = strong\nowner_gone = ignore\n", 5, ["msg", "write uid or unit"]),
        ("[remove x]\nkind = posix-sem\naccept = strong\nowner_gone = ignore\n", 4, ["posix-sem", "write uid"]),
        ("[remove x]\nkind = posix-mq\naccept = strong\nowner_gone = ignore\n", 4, ["posix-mq", "write uid"]),
        ("[remove x]\nkind = posix-shm\nowner_gone = unit\n", 3, ["write uid for kind posix-shm"]),
        ("[remove x]\nkind = shm\nkey = 0x5\nowner_gone = unit\n", 4, ["only private keys", "key = 0x0"]),
        ("[remove x]\nkind = shm\nwith_data = yes\n", 3, ["is about queues"]),
        ("[remove x]\nkind = shm\n[remove x]\nkind = shm\n", 3, ["is there already"]),
        ("[removes x]\nkind = shm\n", 1, ["unknown section 'removes x'"]),
        ("[clean]\nmax_removal = 1\n", 2, ["unknown key 'max_removal'", "did you mean 'max_removals'"]),
        ("[clean]\nstate = var/lib\n", 2, ["no absolute path"]),
        ("[clean]\njournal_files = 0\n", 2, ["out of bounds"]),
        ("[job]\nkinds = shm fifo\n", 2, ["unknown kind 'fifo'"]),
        ("[job]\nkinds =\n", 2, ["is empty"]),
    ],
)
def test_a_section_that_cannot_work_or_is_too_wide_is_refused(text, line, words):
    with pytest.raises(InputError) as raised:
        parse_policy(text, PATH, BY_ID)
    message = str(raised.value)
    assert "%s line %d: " % (PATH, line) in message
    for word in words:
        assert word in message


SECTION_LINES = st.fixed_dictionaries(
    {"kind": st.lists(st.sampled_from(REMOVABLE_KINDS), min_size=1, max_size=3, unique=True).map(" ".join)},
    optional={
        "owner": st.sampled_from(["alice", "@users", "nameless", "1000", "ali*", "*", "65534", "alice bob"]),
        "name": st.sampled_from(["/psm_*", "/*", "*", "/a /b", "psm"]),
        "key": st.sampled_from(["0x0", "0x10-0x20", "0x10"]),
        "min_age": st.sampled_from(["0", "1h", "24h"]),
        "owner_gone": st.sampled_from(["uid", "unit", "ignore"]),
        "accept": st.sampled_from(["certain", "strong"]),
        "backup": st.sampled_from(["full", "none"]),
        "with_data": st.sampled_from(["yes", "no"]),
    },
)


@given(SECTION_LINES)
def test_what_is_accepted_is_never_too_wide(lines):
    text = "[remove x]\n" + "".join("%s = %s\n" % item for item in lines.items())
    try:
        (section,) = parse_policy(text, PATH).remove
    except InputError:
        return
    kinds = set(section.kinds)
    assert section.owners or not kinds & {"sem", "msg"}
    assert "*" not in section.owners
    assert "65534" not in section.owners
    if section.owner_gone == "ignore":
        assert kinds <= {"shm", "posix-shm"}
        assert "posix-shm" not in kinds or all(name.strip("/*?") for name in section.names)
        assert "posix-shm" not in kinds or section.names
    if section.owner_gone == "unit":
        assert not kinds & set(POSIX_KINDS)
    assert section.accept in ACCEPT
    assert section.backup in BACKUPS
    assert section.on_excess in ON_EXCESS


def test_whom_owner_means():
    section = RemoveSection("x", ("sem",), owners=("nameless", "@staff", "web*", "12"))
    members = {"staff": frozenset(["carol"])}
    for uid, user, owned in (
        (5, None, True),
        (65534, None, False),
        (65534, "webnobody", False),
        (1002, "carol", True),
        (33, "web-data", True),
        (12, "x", True),
        (13, "nameless", False),
        (None, None, False),
    ):
        assert section.covers(Candidate("sem", uid, user), members) is owned, (uid, user)


def test_the_hash_tells_what_a_policy_means_and_not_how_it_is_written():
    plain = "[clean]\nmax_removals = 5\nsecond_sighting = 1h\n[remove a]\nkind = shm\n"
    same = "# of ours\n[remove a]\nkind: shm\n[clean]\nsecond_sighting = 60m\nmax_removals = 5\n"
    assert parse_policy(plain, PATH).hash == parse_policy(same, "elsewhere").hash
    others = [
        defaults(),
        parse_policy(plain.replace("5", "6"), PATH),
        parse_policy(plain.replace("kind = shm", "kind = shm\nmin_age = 1h"), PATH),
        parse_policy(plain + "[protect p]\nowner = a\nreason = r\n", PATH),
        parse_policy(plain + "[job]\nkinds = shm posix-shm\n", PATH),
    ]
    assert len({parse_policy(plain, PATH).hash, *(one.hash for one in others)}) == len(others) + 1
    assert len(defaults().hash) == 64


def test_people_and_groups_of_sections_are_looked_up():
    text = "[remove a]\nkind = sem\naccept = strong\nowner = alice @staff nameless web* 12\n"
    assert parse_policy(text, PATH).people == {"alice", "@staff"}
    assert parse_policy(text, PATH).groups == {"staff"}


def test_what_the_end_of_a_job_takes():
    assert (defaults().job_kinds, defaults().job_accept) == (("shm", "posix-shm"), "certain")
    own = parse_policy("[job]\nkinds = sem, msg\n", PATH)
    assert (own.job_kinds, own.job_accept) == (("sem", "msg"), "strong")
