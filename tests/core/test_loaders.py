"""Which line counts at boot: the simulated loaders, line by line and tree by tree.

These run on Python 3.9, too. tests/kernel/test_loaders.py compares with the loaders themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipcops.core.limits import loaders
from ipcops.core.limits.loaders import (
    CONF,
    DIRECTORIES,
    NO_ASSIGNMENT,
    PROCPS,
    SYSTEMD,
    File,
    Line,
    Tree,
    bounds_of,
    dotted,
    load,
    settle,
    standings,
    taken,
)
from ipcops.core.limits.parameters import Machine
from ipcops.core.model import Gap
from tests.core.sysctl_cases import CASES, DEFAULT, KEY, SPELLINGS

MACHINE = Machine((6, 12), 4096, True, 1 << 15, 8 << 30, 0)  # noqa: FBT003 - as the type has it
BOUNDS = bounds_of(MACHINE)
OURS = "/etc/sysctl.d/60-ipcops.conf"
VENDOR = "/usr/lib/sysctl.d/99-vendor.conf"


def plant(files: Dict[str, Any], **more: Any) -> Tree:
    """Return the tree of files as tests write them: bytes, or the path that a link leads to."""
    directories: Dict[str, Dict[str, File]] = {}
    single: Dict[str, File] = {}
    for path, content in files.items():
        directory, _, name = path.rpartition("/")
        file = File(path, content)
        if isinstance(content, Path):
            real = CONF if content.name == "sysctl.conf" else str(content)
            file = File(path, files.get(real, b""), real)
        if directory in DIRECTORIES:
            directories.setdefault(directory, {})[name] = file
        else:
            single["conf" if path == CONF else "credential"] = file
    return Tree(directories, **single, **more)


def final(tree: Tree, key: str = KEY) -> Dict[str, Tuple[Tuple[Optional[int], ...], Optional[str]]]:
    """Return what each loader ends with, and who decides."""
    found = {}
    for loader, loaded in load(tree, BOUNDS).items():
        settled = settle(loaded.writes.get(key, ()), BOUNDS[key])
        place = settled.placed and "%s:%d" % (settled.placed.file, settled.placed.line)
        found[loader] = (settled.numbers, place)
    return found


def value(files: Dict[str, Any], loader: str, key: str = KEY, **more: Any) -> Optional[int]:
    numbers, _ = final(plant(files, **more), key)[loader]
    return numbers[0]


# ---------------------------------------------------------------- which file wins


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_which_file_wins(case):
    found = final(plant(case.files))
    for loader, (number, place) in {SYSTEMD: case.systemd, PROCPS: case.procps}.items():
        assert found[loader] == ((None if place is None else number,), place)
        assert (place is None) == (number == DEFAULT)


def test_there_are_as_many_cases_as_were_seen():
    assert len({case.name for case in CASES}) == 16


# ---------------------------------------------------------------- what the versions differ in


def test_patterns_and_exclusions_are_nothing_to_procps_3():
    files = {OURS: b"kernel.shm*i = 7\n", VENDOR: b"-kernel.shmmni\n"}
    assert value(files, PROCPS, procps=4) is None
    assert value(files, PROCPS, procps=3) is None
    assert value({OURS: files[OURS]}, PROCPS, procps=4) == 7
    assert value({OURS: files[OURS]}, PROCPS, procps=3) is None


@pytest.mark.parametrize(("version", "wins"), [(247, 8), (252, 8), (254, 8), (255, 7), (257, 7)])
def test_systemd_reads_a_lib_that_is_no_link_until_255(version, wins):
    files = {OURS: b"kernel.shmmni=7\n", "/lib/sysctl.d/99.conf": b"kernel.shmmni=8\n"}
    assert value(files, SYSTEMD, systemd=version) == wins
    assert value(files, PROCPS) == 8


@pytest.mark.parametrize(("version", "wins"), [(247, 7), (252, 9)])
def test_what_the_machine_was_given_counts_last_since_252(version, wins):
    files = {OURS: b"kernel.shmmni=7\n", loaders.CREDENTIAL: b"kernel.shmmni=9\n"}
    assert value(files, SYSTEMD, systemd=version) == wins
    assert value(files, PROCPS) == 7


def test_only_the_loaders_of_this_host_count():
    assert list(load(Tree(systemd=None), BOUNDS)) == [PROCPS]
    assert list(load(Tree(procps=None), BOUNDS)) == [SYSTEMD]
    assert list(load(Tree(), BOUNDS)) == [SYSTEMD, PROCPS]
    assert list(load(Tree(systemd=None, procps=None), BOUNDS)) == [SYSTEMD, PROCPS]


# ---------------------------------------------------------------- what the loaders differ in

@pytest.mark.parametrize(("text", "systemd", "procps"), SPELLINGS, ids=repr)
def test_what_a_line_sets(text, systemd, procps):
    found = final(plant({OURS: text}))
    assert (found[SYSTEMD][0][0], found[PROCPS][0][0]) == (systemd, procps)


def test_files_whose_names_begin_with_a_dot_are_read_by_procps_alone():
    files = {"/etc/sysctl.d/.conf": b"kernel.shmmni=7\n", "/etc/sysctl.d/.x.conf": b"kernel.shmmni=8\n"}
    assert (value(files, SYSTEMD), value(files, PROCPS)) == (None, 8)


def test_names_that_are_no_utf_8_sort_by_their_bytes():
    files = {"/etc/sysctl.d/\udcff.conf": b"kernel.shmmni=7\n", "/etc/sysctl.d/\U0001f600.conf": b"kernel.shmmni=8\n"}
    assert (value(files, SYSTEMD), value(files, PROCPS)) == (7, 7)


# ---------------------------------------------------------------- several numbers


def test_a_refused_sem_is_half_applied():
    text = b"kernel.sem = 10 20 30 40\nkernel.sem = 1 2 3 99999\n"
    found = final(plant({OURS: text}), "kernel.sem")
    assert found[SYSTEMD] == ((1, 2, 3, None), OURS + ":2")
    assert found[PROCPS] == ((1, 2, 3, 40), OURS + ":2")


def test_fewer_numbers_leave_the_rest_and_more_are_ignored():
    assert taken("300", (1, 2, 3, 4), BOUNDS["kernel.sem"]) == ((300, 2, 3, 4), True)
    assert taken("5 6 7 8 9", (1, 2, 3, 4), BOUNDS["kernel.sem"]) == ((5, 6, 7, 8), True)
    assert taken("5 6 7 2147483648", (1, 2, 3, 4), BOUNDS["kernel.sem"]) == ((5, 6, 7, 4), False)
    assert taken("5,6", (1, 2, 3, 4), BOUNDS["kernel.sem"]) == ((1, 2, 3, 4), False)
    assert taken("-5", (1, 2, 3, 4), BOUNDS["kernel.sem"]) == ((-5, 2, 3, 4), True)
    assert taken(" \t\n", (1,), BOUNDS[KEY]) == ((1,), False)


@pytest.mark.parametrize(
    ("key", "least", "most"),
    [
        ("kernel.shmmax", 0, 2**64 - 1),
        ("kernel.msgmax", 0, 2**31 - 1),
        ("kernel.shmmni", 0, 32768),
        ("fs.mqueue.queues_max", -(2**31), 2**31 - 1),
        ("fs.mqueue.msg_max", 1, 65536),
        ("fs.mqueue.msgsize_max", 128, 2**24),
    ],
)
def test_what_the_kernel_takes(key, least, most):
    for number, takes in ((least, True), (most, True), (least - 1, False), (most + 1, False)):
        assert taken(str(number), (None,), BOUNDS[key]) == ((number if takes else None,), takes)


# ---------------------------------------------------------------- our file among them


def standing(files: Dict[str, Any], key: str = KEY, **more: Any) -> loaders.Standing:
    return standings(plant({OURS: b"# ours\nkernel.shmmni = 7\n", **files}, **more), OURS, MACHINE)[key]


def test_alone_our_line_wins():
    found = standing({})
    assert (found.wins, found.disagree, found.gaps) == (True, False, ())
    assert [fate.why for fate in found.fates] == ["line 2 decides"] * 2


def test_a_later_file_is_named_with_its_line():
    found = standing({VENDOR: b"\n\nkernel.shmmni = 8\n"})
    assert (found.wins, found.disagree) == (False, False)
    assert [fate.why for fate in found.fates] == [VENDOR + ":3 sets '8'"] * 2


def test_a_later_line_that_says_the_same_overrides_nothing():
    found = standing({VENDOR: b"kernel.shmmni = 0x7 # as ours\n"})
    assert (found.wins, found.disagree) == (True, False)
    assert [fate.settled.placed.file for fate in found.fates] == [VENDOR] * 2


def test_the_loaders_disagree_about_sysctl_conf():
    found = standing({CONF: b"kernel.shmmni = 8\n"})
    assert [fate.wins for fate in found.fates] == [True, False]
    assert (found.wins, found.disagree) == (False, True)
    assert found.fates[1].why == CONF + ":1 sets '8'"


def test_a_link_is_told_by_the_file_to_edit():
    found = standing({"/etc/sysctl.d/99-sysctl.conf": Path("../sysctl.conf"), CONF: b"kernel.shmmni = 8\n"})
    assert [fate.why for fate in found.fates] == [CONF + ":1 sets '8'"] * 2


def test_a_refused_line_after_ours():
    found = standing({VENDOR: b"kernel.shmmni = 99999\n"})
    assert [fate.wins for fate in found.fates] == [False, True]
    assert found.disagree
    assert found.fates[0].why == VENDOR + ":1 sets '99999', which the kernel refuses: it keeps what it starts with"


def test_a_line_that_takes_ours_back():
    found = standing({VENDOR: b"-kernel.shmmni\n"})
    assert [fate.wins for fate in found.fates] == [False, True]
    assert found.fates[0].why == "a later line excludes it"


def test_a_file_that_hides_ours():
    ours = "/usr/lib/sysctl.d/60-ipcops.conf"
    tree = plant({ours: b"kernel.shmmni = 7\n", OURS: b""})
    found = standings(tree, ours, MACHINE)[KEY]
    assert not found.wins
    assert [fate.why for fate in found.fates] == [OURS + " is read in its place"] * 2


def test_what_cannot_be_read_matters_only_after_ours():
    before = standing({"/etc/sysctl.d/10-secret.conf": None})
    assert before.gaps == ()
    after = standing({"/etc/sysctl.d/90-secret.conf": None})
    assert after.gaps == (Gap("settings", "/etc/sysctl.d/90-secret.conf", "it cannot be read"),)


def test_what_is_not_followed_is_said():
    braces = standing({VENDOR: b"kernel.{shmmni,x}* = 7\n"})
    assert braces.gaps[0].why == "line 1: the pattern 'kernel.{shmmni,x}*' is not followed"
    assert "'..'" in standing({VENDOR: b"kernel/../kernel/shmmni = 8\n"}).gaps[0].why
    assert "takes the '*'" in standing({"/etc/sysctl.d/99*.conf": b""}).gaps[0].why


def test_lines_that_come_to_nothing_are_told():
    tree = plant({OURS: b"kernel.shmmni 7\n", VENDOR: b"- kernel.shmmni = 8\n--kernel.msgmni = 9\n"})
    skipped = {loader: [(one.line, one.why) for one in loaded.skipped] for loader, loaded in load(tree, BOUNDS).items()}
    assert skipped == {
        SYSTEMD: [(1, NO_ASSIGNMENT), (2, "to this loader '-kernel.msgmni' is no setting")],
        PROCPS: [(1, NO_ASSIGNMENT), (1, "to this loader ' kernel.shmmni' is no setting")],
    }


def test_a_file_of_ours_is_put_in_and_taken_out():
    tree = plant({VENDOR: b"kernel.shmmni = 8\n"}).with_file(OURS, b"kernel.shmmni = 7\n")
    assert list(tree.directories) == ["/etc/sysctl.d", "/usr/lib/sysctl.d"]
    assert tree.with_file(OURS, None).directories["/etc/sysctl.d"] == {}
    assert tree.with_file(OURS, b"").directories["/etc/sysctl.d"]["60-ipcops.conf"].text == b""


@pytest.mark.parametrize("path", ["/etc/ipcops.conf", "60-ipcops.conf", "/etc/sysctl.d/", "/etc/sysctl.d/x/y.conf"])
def test_a_file_elsewhere_is_refused(path):
    with pytest.raises(ValueError, match="is in none of"):
        Tree().with_file(path, b"")


# ---------------------------------------------------------------- properties

PARSERS = [loaders.parse_systemd, loaders.parse_procps, loaders.parse_procps_3]
KEYS = st.from_regex(r"[a-z][a-z0-9_.-]{0,12}", fullmatch=True).filter(lambda key: len(key) > 1)
VALUES = st.from_regex(r"[a-z0-9](?:[a-z0-9 =#]{0,12}[a-z0-9])?", fullmatch=True)
BLANKS = st.text(" \t", max_size=3)


@given(st.lists(st.tuples(KEYS, VALUES, BLANKS, BLANKS, BLANKS, st.booleans()), max_size=5))
@pytest.mark.parametrize("parse", PARSERS)
def test_plain_lines_mean_the_same_to_all(parse, lines):
    text, wanted = [], []
    for key, told, one, two, three, ignore in lines:
        text += ["# comment", "%s%s%s%s=%s%s%s" % (one, "-" * ignore, key, two, three, told, one), ""]
        wanted.append(Line(len(text) - 1, key, told))
    assert list(parse("\n".join(text).encode())) == wanted


@given(st.one_of(st.binary(max_size=120), st.text("=-#; \t\n\r\0*[ab.\v/", max_size=40).map(str.encode)))
@pytest.mark.parametrize("parse", PARSERS)
def test_whatever_a_file_holds(parse, text):
    lines = list(parse(text))
    numbers = [line.number for line in lines]
    assert numbers == sorted(set(numbers))
    assert all(1 <= number <= 1 + len(text) for number in numbers)
    for line in lines:
        assert "=" not in line.key
        assert "\n" not in line.key + (line.value or "")
        assert not (line.value or "").startswith((" ", "\t"))
    # A line more changes nothing before it.
    assert list(parse(text + b"\nkernel.shmmni = 5\n"))[: len(lines)] == lines


@given(st.text("0123456789 -x\tabcf#", max_size=30), st.sampled_from(sorted(BOUNDS)))
def test_no_text_leaves_the_bounds(text, key):
    before = tuple(low for low, _ in BOUNDS[key])
    after, _ = taken(text, before, BOUNDS[key])
    assert len(after) == len(before)
    assert all(low <= number <= high for number, (low, high) in zip(after, BOUNDS[key]))


@given(st.data(), st.sampled_from(sorted(BOUNDS)))
def test_what_is_in_bounds_is_taken_as_it_is(data, key):
    numbers = tuple(data.draw(st.integers(low, high)) for low, high in BOUNDS[key])
    text = data.draw(st.sampled_from([" ", "\t", "  \t"])).join(map(str, numbers))
    assert taken(text, (None,) * len(numbers), BOUNDS[key]) == (numbers, True)


@given(st.lists(st.tuples(st.integers(-5, 40000), st.integers(1, 9)), max_size=6))
def test_the_last_write_that_the_kernel_takes_counts(writes):
    placed = [loaders.Placed(str(number), "/f", line) for number, line in writes]
    good = [one for one, (number, _) in zip(placed, writes) if 0 <= number <= 32768]
    settled = settle(placed, BOUNDS[KEY])
    assert settled.placed == (good[-1] if good else None)
    assert len(settled.refused) == len(placed) - len(good)


@given(st.text("kernl./", max_size=20))
def test_dots_and_slashes_change_places(path):
    assert dotted(dotted(path)) == path
    assert dotted(path).count(".") == path.count("/")
