"""Profiles and formulas: what is shipped holds, what users write is read or refused with the place and the word."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipcops.core.collect.tuning import parse_fstab, parse_limits_conf, parse_numbers, parse_swap
from ipcops.core.errors import InputError
from ipcops.core.limits import shipped
from ipcops.core.limits.formula import LONGEST, FormulaError, names_of, value_of
from ipcops.core.limits.manual import snippet
from ipcops.core.limits.parameters import (
    ALL,
    BY_NAME,
    KEYS,
    NAMES,
    UNLIMITED,
    Machine,
    is_wide,
    parse_value,
    parse_values,
    release_of,
)
from ipcops.core.limits.profiles import Profile, floors_of, merged, parse_profiles, parse_wanted, told
from ipcops.core.limits.readings import Stated
from ipcops.core.model import IPCMNI

HOST = Machine((6, 12), 4096, wide=True, ipcmni=IPCMNI, memory=16 << 30, swap=1 << 30)
PROFILES = merged(parse_profiles(shipped.TEXT, shipped.PATH))

# ---------------------------------------------------------------- formulas

leaves = st.one_of(st.integers(0, 10**6).map(str), st.sampled_from(["ram_bytes", "page_size", "x"]))


def answer(ask: Any) -> Any:
    """Return what a call gives, be it the error that it raises for wrong input."""
    try:
        return ask()
    except (InputError, ValueError) as error:
        return error


def combined(part: Any) -> Any:
    pairs = st.tuples(part, st.sampled_from(["+", "-", "*", "//"]), part).map(lambda one: "(%s %s %s)" % one)
    calls = st.tuples(st.sampled_from(["max", "min", "ceil_div"]), part, part).map(lambda one: "%s(%s, %s)" % one)
    return st.one_of(pairs, calls)


@settings(max_examples=300)
@given(st.recursive(leaves, combined, max_leaves=8))
def test_a_formula_is_what_python_says_of_whole_numbers(text):
    names = {"ram_bytes": 16 << 30, "page_size": 4096, "x": 7}
    try:
        wanted = eval(text, {"max": max, "min": min, "ceil_div": lambda one, other: -(-one // other)}, names)
    except ZeroDivisionError:
        with pytest.raises(FormulaError, match="zero"):
            value_of(text, names)
        return
    if wanted < 0:
        with pytest.raises(FormulaError, match="below 0"):
            value_of(text, names)
    elif wanted < 1 << 100:
        found = answer(lambda: value_of(text, names))
        assert found == wanted or "larger than any limit" in str(found)  # a step on the way
    assert set(names_of(text)) <= set(names)


@settings(max_examples=300)
@given(st.text(max_size=60))
def test_any_other_text_is_refused_or_a_number(text):
    found = answer(lambda: value_of(text, HOST.names()))
    assert isinstance(found, FormulaError) or found >= 0


@pytest.mark.parametrize(
    "text",
    ["", "1.5", "True", "'a'", "4G", "1 +", "x", "1 / 2", "2 ** 99", "-1", "1 << 9", "__import__('os')", "max(1)",
     "ram_bytes.real", "max(1, *[2])", "(lambda: 1)()", "[1][0]", "min(1, 2, key=3)",
     "ceil_div(1)", "ceil_div(1, 0)", "1 if 1 else 2",
     "9" * LONGEST, "(" * 390, "1" + " * 9999999999" * 20, "print(1)", "1,2", "1 // 0", "0x1g", "not 1"],
)  # fmt: skip
def test_what_is_no_formula(text):
    with pytest.raises(FormulaError):
        value_of(text, HOST.names())


# ---------------------------------------------------------------- what is shipped


def test_every_profile_of_the_plan_is_there():
    first = "postgresql-18 postgresql-17 postgresql-12-16 postgresql-9 oracle-19c oracle-23ai sap-netweaver sap-hana"
    first += " db2-11.5 ibm-mq-9.4 apache-sysvsem gpu-node hardening-cis hardening-stig hardening-anssi"
    then = "greenplum-7 informix-14.10 sap-ase-16 timesten-26.1 iris tuxedo-22c primecluster netbackup zabbix mpi"
    assert set(PROFILES) >= {*first.split(), *then.split()}


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda one: one.name)
def test_a_shipped_profile_is_sourced_and_has_values_here(profile):
    assert profile.source
    assert profile.title
    assert "unverified" not in profile.source + profile.note
    assert "kernel.shm_rmid_forced" not in profile.floors
    for floor in floors_of(profile, {}, HOST):
        assert floor.source
        assert type(floor.value) is int
        assert floor.value >= 0
    told_row = told(profile, {}, HOST)
    assert {row["merge"] for row in told_row["parameters"]} <= {"max", "sum"}
    assert all(row["floor"] is not None for row in told_row["parameters"])


def test_postgresql_by_its_terms():
    given_terms = parse_wanted("postgresql-17:max_connections=500:max_wal_senders=20", PROFILES).terms
    values = {floor.name: floor.value for floor in floors_of(PROFILES["postgresql-17"], given_terms, HOST)}
    assert values["kernel.sem.semmni"] == -(-(500 + 3 + 20 + 8 + 7) // 16) == 34
    assert values["kernel.sem.semmns"] == 34 * 17
    newer = {floor.name: floor.value for floor in floors_of(PROFILES["postgresql-18"], {}, HOST)}
    assert newer["kernel.sem.semmni"] == -(-(100 + 16 + 10 + 8 + 7) // 16)
    sysv = parse_wanted("postgresql-18:shared_memory=17179869184", PROFILES).terms
    values = {floor.name: floor.value for floor in floors_of(PROFILES["postgresql-18"], sysv, HOST)}
    assert (values["kernel.shmmax"], values["kernel.shmall"]) == (17179869184, 4194304)


def test_memory_that_could_not_be_read_gives_no_value():
    blind = HOST._replace(memory=None)
    with pytest.raises(FormulaError, match=r"db2-11\.5.*ram_gib"):
        floors_of(PROFILES["db2-11.5"], {}, blind)
    assert told(PROFILES["db2-11.5"], {}, blind)["parameters"][0]["floor"] is None


# ---------------------------------------------------------------- the format

GOOD = """\
; mine
[app-1]
title = An app
source = its manual,
    page 3
note = two
  lines
term workers = 8 processes at once
kernel.shmmni = 4 *
    workers
kernel.sem.semmni = workers
source kernel.shmmni = the wiki
"""


def test_the_format():
    (profile,) = parse_profiles(GOOD, "own.conf", "own.conf")
    assert profile == Profile(
        "app-1", "An app", "its manual, page 3", "two lines", {"workers": (8, "processes at once")},
        {"kernel.shmmni": "4 * workers", "kernel.sem.semmni": "workers"}, {"kernel.shmmni": "the wiki"}, "own.conf",
    )  # fmt: skip
    floors = floors_of(profile, {"workers": 100}, HOST)
    assert [(floor.name, floor.value, floor.source) for floor in floors] == [
        ("kernel.shmmni", 400, "the wiki"), ("kernel.sem.semmni", 100, "its manual, page 3"),
    ]  # fmt: skip
    assert merged([*PROFILES.values(), profile._replace(name="zabbix")])["zabbix"].title == "An app"


def sets(line: str) -> str:
    return changed("kernel.sem.semmni = workers", line)


def changed(before: str, after: str) -> str:
    assert before in GOOD
    return GOOD.replace(before, after)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1", "own.conf line 1: no \\[section\\]"),
        ("[a]\nnonsense", "own.conf line 2: neither"),
        ("[A b]\n", "line 1: \\[A b\\] is no name"),
        (GOOD + "[app-1]\n", "line 13: \\[app-1\\] is there already"),
        (GOOD + "title = x\n", "line 13: \\[app-1\\] title is there already"),
        (changed("title = An app\n", ""), "line 2: \\[app-1\\] needs a title"),
        (changed("source = its manual,\n    page 3\n", ""), "needs a source"),
        ("[a]\ntitle = t\nsource = s\n", "asks for nothing"),
        (sets("kernel.shmni = 1"), "line 11: unknown parameter 'kernel.shmni'; did you mean 'kernel.shmmni'"),
        (sets("kernel.sem = 1 2 3 4"), "write them as kernel.sem.semmsl"),
        (sets("kernel.shm_rmid_forced = 1"), "no profile may ask for kernel.shm_rmid_forced"),
        (sets("kernel.sem.semmni = worker"), "line 11: kernel.sem.semmni: unknown name 'worker'.*'workers'"),
        (sets("kernel.sem.semmni = 4G"), "line 11: kernel.sem.semmni '4G' is no formula"),
        (sets("kernel.sem.semmni ="), "line 11: kernel.sem.semmni '' is no formula"),
        (sets("kernel.sem.semmni = True"), "no whole number"),
        (changed("workers = 8 processes at once", "workers = many"), "line 8: term workers needs a whole number"),
        (changed("term workers = 8 processes at once", "term workers = 8"), "and then its meaning"),
        (changed("term workers = 8", "term ram_bytes = 8"), "no name of a term, or taken"),
        (GOOD + "source kernel.msgmax = x", "has no kernel.msgmax"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(text, words):
    with pytest.raises(InputError, match=words):
        parse_profiles(text, "own.conf")


@settings(max_examples=300)
@given(st.lists(st.sampled_from([*GOOD.split("\n"), "[x]", "=", "a=", "\x00", " y", "#"]), max_size=20).map("\n".join))
def test_any_text_is_profiles_or_an_error_that_names_the_file(text):
    found = answer(lambda: parse_profiles(text, "own.conf"))
    if isinstance(found, InputError):
        assert re.match(r"profiles own\.conf line \d+: ", str(found))
    else:
        assert all(one.title and one.floors for one in found)


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("postgres-18", "unknown profile 'postgres-18'; did you mean 'postgresql-18'"),
        ("", "unknown profile ''"),
        ("postgresql-18:max_connection=5", "did you mean 'max_connections'"),
        ("postgresql-18:max_connections", "sets no term"),
        ("postgresql-18:max_connections=many", "sets no term"),
        ("postgresql-18:max_connections=-1", "sets no term"),
        ("db2-11.5:x=1", "has no terms"),
    ],
)
def test_what_is_asked_for_wrongly(word, words):
    with pytest.raises(InputError, match=words):
        parse_wanted(word, PROFILES)


# ---------------------------------------------------------------- values that somebody gives


@pytest.mark.parametrize(
    ("name", "given_value", "numbers"),
    [
        ("kernel.shmmni", "8192", [8192]),
        ("kernel.shmmni", 8192, [8192]),
        ("kernel.shmmni", " 0x2000 ", [8192]),
        ("kernel.shmmax", str((1 << 64) - 1), [(1 << 64) - 1]),
        ("kernel.sem", "32000\t1024000000  500 32768", [32000, 1024000000, 500, 32768]),
        ("kernel.sem", [1, 2, 3, 4], [1, 2, 3, 4]),
        ("kernel.sem.semmni", 5, [5]),
    ],
)
def test_values(name, given_value, numbers):
    assert list(parse_values(name, given_value, HOST).values()) == numbers


@pytest.mark.parametrize(
    ("name", "given_value", "words"),
    [
        ("kernel.shmmni", "32769", "0 to 32768"),
        ("kernel.shmmni", "-1", "0 to 32768"),
        ("kernel.shmmni", "4G", "whole number"),
        ("kernel.shmmni", "many", "whole number"),
        ("kernel.shmmni", "", "whole number"),
        ("kernel.shmmni", "1,000", "whole number"),
        ("kernel.shmmni", "0100", "whole number"),
        ("kernel.shmmni", "1 2", "whole number"),
        ("kernel.shmmni", True, "whole number"),
        ("kernel.shmmni", None, "whole number"),
        ("kernel.shmmni", 1.0, "whole number"),
        ("kernel.shmmax", str(1 << 64), "18446744073709551615"),
        ("fs.mqueue.msg_max", "0", "1 to 65536"),
        ("fs.mqueue.msgsize_max", "16777217", "128 to 16777216"),
        ("kernel.sem", "1 2 3", "4 whole numbers.*SEMMNI 0 to 32768"),
        ("kernel.sem", "1 2 3 4 5", "4 whole numbers"),
        ("kernel.sem", "1,2,3,4", "4 whole numbers"),
        ("kernel.sem", "1 2 3 99999", "kernel.sem.semmni is '99999'; it takes a whole number from 0 to 32768"),
        ("kernel.sem", "0 2 3 4", "kernel.sem.semmsl is '0'"),
        ("kernel.sem", True, "4 whole numbers"),
        ("kernel.sem", [1, 2, 3, True], "semmni is 'True'"),
        ("kernel.sem", "", "4 whole numbers"),
        ("rlimit.msgqueue", "-1", "whole number"),
    ],
)
def test_values_that_are_none(name, given_value, words):
    with pytest.raises(ValueError, match=words):
        parse_values(name, given_value, HOST)


@given(st.sampled_from(ALL), st.one_of(st.text(max_size=12), st.integers(), st.booleans(), st.none(), st.floats()))
def test_a_value_is_within_its_range_or_refused_with_it(parameter, given_value):
    value = answer(lambda: parse_value(parameter, given_value, HOST))
    if isinstance(value, ValueError):
        assert re.search(r"from \d+ to \d+$", str(value))
    else:
        assert type(value) is int
        assert not isinstance(given_value, bool)


# ---------------------------------------------------------------- the tables themselves


def test_the_parameters():
    assert len(BY_NAME) == len(ALL)
    for one in ALL:
        least, most = one.least, one.most(HOST)
        default = one.default(HOST)
        assert most is not None
        assert least <= most
        assert default is None or least <= default <= most
        assert one.space in {"ipc", "net", "host"}
        assert re.fullmatch(r"[a-zA-Z0-9_.-]+", one.name)
    assert not set(NAMES) - {*HOST.names()}
    assert sys.maxsize < UNLIMITED


@pytest.mark.parametrize(
    ("release", "wide", "sem", "shmmax"),
    [
        ((6, 12), True, [32000, 1024000000, 500, 32000], 18446744073692774399),
        ((3, 19), True, [32000, 1024000000, 500, 32000], 18446744073692774399),
        ((3, 18), True, [250, 32000, 32, 128], 18446744073692774399),
        ((3, 15), True, [250, 32000, 32, 128], 33554432),
        ((6, 12), False, [32000, 1024000000, 500, 32000], 4278190079),
    ],
)
def test_defaults_by_kernel(release, wide, sem, shmmax):
    host = HOST._replace(release=release, wide=wide)
    fields = ("semmsl", "semmns", "semopm", "semmni")
    assert [BY_NAME["kernel.sem." + one].default(host) for one in fields] == sem
    assert BY_NAME["kernel.shmmax"].default(host) == shmmax
    assert BY_NAME["net.core.somaxconn"].default(host) == (4096 if release >= (5, 4) else 128)


@pytest.mark.parametrize(
    ("text", "release"), [("6.12.0-1-amd64", (6, 12)), ("3.10.0-1160.el7", (3, 10)), ("x", (0, 0)), ("", (0, 0))]
)
def test_releases(text, release):
    assert release_of(text) == release


@pytest.mark.parametrize(
    ("arch", "wide"), [("x86_64", True), ("aarch64", True), ("s390x", True), ("i686", False), ("armv7l", False)]
)
def test_words_of_a_machine(arch, wide):
    assert is_wide(arch) is wide


# ---------------------------------------------------------------- files beside sysctl


def test_fstab():
    text = "# tmpfs /dev/shm tmpfs size=1g 0 0\ntmpfs /tmp tmpfs size=9g 0 0\n"
    text += "tmpfs\t/dev/shm  tmpfs  nosuid,nodev,size=50% 0 0\n"
    assert parse_fstab(text, 16 << 30) == {
        "dev_shm.nodev": Stated(1, "/etc/fstab", 3), "dev_shm.nosuid": Stated(1, "/etc/fstab", 3),
        "dev_shm.size": Stated(8 << 30, "/etc/fstab", 3),
    }  # fmt: skip
    assert parse_fstab("none /dev/shm tmpfs size=2G", None)["dev_shm.size"].value == 2 << 30
    assert parse_fstab("none /dev/shm tmpfs size=1234", None)["dev_shm.size"].value == 1234
    assert parse_fstab("none /dev/shm tmpfs size=50%", None) == {}


def test_limits_conf():
    text = (
        "# x - memlock 1\n* soft memlock 64\n@db hard msgqueue 819200\nroot - memlock unlimited # all\n* - nofile 5\n"
    )
    assert list(parse_limits_conf(text, "/f")) == [
        ("rlimit.memlock", Stated(65536, "/f", 2)),
        ("rlimit.msgqueue", Stated(819200, "/f", 3)),
        ("rlimit.memlock", Stated(UNLIMITED, "/f", 4)),
    ]


@settings(max_examples=200)
@given(st.text(alphabet="#* \t\nmemlocksgqu/devh,size=5%kG0", max_size=80))
def test_any_text_of_fstab_and_limits_conf_is_read(text):
    for one in [*parse_fstab(text, 1 << 30).values(), *(stated for _, stated in parse_limits_conf(text, "/f"))]:
        assert one.value >= 0
        assert one.line is not None
        assert 1 <= one.line <= text.count("\n") + 1


@given(st.sampled_from(KEYS), st.lists(st.integers(-5, 1 << 64), max_size=6))
def test_the_numbers_of_a_setting(key, numbers):
    text = "\t".join(map(str, numbers)).encode() + b"\n"
    if len(numbers) == (4 if key == "kernel.sem" else 1):
        assert parse_numbers(key, text) == tuple(numbers)
    else:
        with pytest.raises(ValueError, match="instead of"):
            parse_numbers(key, text)


def test_swap():
    assert parse_swap(b"MemTotal: 5 kB\nSwapTotal:      2048 kB\n") == 2 << 20
    assert parse_swap(b"") is None


MOUNT = "tmpfs /dev/shm tmpfs defaults,%s 0 0\n"
LOGIND = "/etc/systemd/logind.conf.d/ipcops.conf"
LIMITS = "/etc/security/limits.d/ipcops.conf"


@pytest.mark.parametrize(
    ("name", "value", "file", "text", "command"),
    [
        ("dev_shm.size", 1 << 30, "/etc/fstab", MOUNT % "size=1073741824", "mount -o remount,size=1073741824 /dev/shm"),
        ("dev_shm.noexec", 1, "/etc/fstab", MOUNT % "noexec", "mount -o remount,noexec /dev/shm"),
        ("logind.RemoveIPC", 0, LOGIND, "[Login]\nRemoveIPC=no\n", "systemctl restart systemd-logind"),
        ("rlimit.msgqueue", 1000, LIMITS, "USER - msgqueue 1000\n", "log in again"),
        ("rlimit.memlock", 1025, LIMITS, "USER - memlock 2\n", "log in again"),
        ("rlimit.memlock", UNLIMITED, LIMITS, "USER - memlock unlimited\n", "log in again"),
    ],
)
def test_snippets(name, value, file, text, command):
    found = snippet(name, value)
    assert (found.file, found.text, found.command) == (file, text, command)
    if name.startswith("rlimit"):
        limit = "infinity" if value == UNLIMITED else value
        assert f"Limit{name[7:].upper()}={limit}" in found.note
    assert list(parse_limits_conf(text, file)) or "rlimit" not in name
