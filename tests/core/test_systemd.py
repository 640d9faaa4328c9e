"""What systemd's files and the kernel's command line say of IPC; trees of files stand for hosts.

These run on Python 3.9, too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipcops.core.collect import facts, systemd
from ipcops.core.collect.systemd import Setting
from ipcops.core.collect.units import read_unit_starts
from ipcops.core.fs import Directory
from ipcops.core.model import Facts, Gap, RemoveIpc

BASE = {"run/systemd/system/": "", "usr/lib/systemd/systemd-logind": ""}
"""A host that runs systemd and has logind."""


def grow(root: Path, files: Dict[str, Any]) -> Path:
    """Make files; a name that ends in a slash is a directory, a Path is where a link leads."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        elif isinstance(content, Path):
            path.symlink_to(content)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def remove_ipc(root: Path) -> Tuple[Optional[RemoveIpc], List[Gap]]:
    with Directory.open(str(root)) as top:
        return systemd.read_remove_ipc(top)


def ipc(origin: str, *, on: bool) -> RemoveIpc:
    return RemoveIpc(on, origin, 999, frozenset())


def fifos(root: Path) -> Tuple[List[str], List[Gap]]:
    with Directory.open(str(root)) as top:
        paths, gaps = systemd.read_declared_fifos(top)
    return sorted(paths), gaps


# ---------------------------------------------------------------- the syntax

WORDS = st.text(
    st.characters(min_codepoint=0x21, blacklist_characters="[]=#;\\\x85\xa0", blacklist_categories=["Cs", "Z"])
)
ASSIGNMENTS = st.lists(st.tuples(WORDS.filter(bool), WORDS), max_size=5)


@given(st.lists(st.tuples(WORDS, ASSIGNMENTS), max_size=4), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_assignments_round_trip(sections, end, bom):
    lines, wanted = [], []
    for section, assignments in sections:
        lines += ["# %s" % section, "", "  [%s]" % section]
        for key, value in assignments:
            lines += [" %s =\t%s " % (key, value), ";x=y"]
            wanted.append(Setting(section, key, value, len(lines) - 1))
    text = end.join(lines).encode()
    assert list(systemd.parse_settings((b"\xef\xbb\xbf" if bom else b"") + text)) == wanted


@given(st.one_of(st.binary(max_size=120), st.text("[]=#;\\ \nab", max_size=40).map(str.encode)))
def test_whatever_a_file_holds(text):
    """Assignments come with the lines they end on; a header that is broken ends it as it ends logind's reading."""
    found = []
    try:
        for setting in systemd.parse_settings(text):
            found.append(setting)  # noqa: PERF402  # what came before the error counts
    except ValueError:
        assert b"[" in text
    assert [one.line for one in found] == sorted({one.line for one in found})
    assert all(one.key and one.key.strip(" \t\r\n") == one.key for one in found)


def test_lines_that_go_on():
    text = b"[a]\nk = 1 \\\n# a comment between\n; another\n  2\\\\\nl=3\\\\\\\n4\nlast=5\\"
    assert list(systemd.parse_settings(text)) == [
        Setting("a", "k", "1    2\\\\", 5),
        Setting("a", "l", "3\\\\ 4", 7),
        Setting("a", "last", "5", 8),
    ]


def test_lines_that_are_none_are_passed_over():
    text = b"k=0\n[a]\nnothing\n=x\nk=\xff\n\n  # k=2\nk=3\n[b"
    settings = systemd.parse_settings(text)
    assert [next(settings), next(settings)] == [Setting("", "k", "0", 1), Setting("a", "k", "3", 8)]
    with pytest.raises(ValueError, match=r"line 9, '\[b'"):
        next(settings)


@pytest.mark.parametrize("word", ["1", "yes", "y", "true", "t", "on"])
def test_yes(word):
    assert systemd.parse_boolean(word) is systemd.parse_boolean(word.upper()) is True


@pytest.mark.parametrize("word", ["0", "no", "n", "false", "f", "off"])
def test_no(word):
    assert systemd.parse_boolean(word) is systemd.parse_boolean(word.title()) is False


@given(st.text(max_size=6))
def test_what_is_neither_yes_nor_no(word):
    words = {"1", "yes", "y", "true", "t", "on", "0", "no", "n", "false", "f", "off"}
    if word.lower() in words:
        systemd.parse_boolean(word)
    else:
        with pytest.raises(ValueError, match="neither"):
            systemd.parse_boolean(word)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"[Login]\n#RemoveIPC=yes\n", True),
        (b"# RemoveIPC=no \n", False),
        (b"RemoveIPC=no\n", None),
        (b"#RemoveIPC=perhaps\n", None),
        (b"#RemoveIPC=no, since the database\n", None),
        (b"", None),
    ],
)
def test_the_default_that_comments_show(text, shown):
    assert systemd.parse_shown_default(text) is shown


@given(st.integers(0, 1 << 34), st.sampled_from(["\t\t", " "]))
def test_the_last_system_uid(number, blank):
    text = "#SYS_UID_MAX 5\nUID_MIN 1000\n SYS_UID_MAX 7\nSYS_UID_MAX%s%d\nSYS_UID_MAXX 8\n" % (blank, number)
    valid = number < (1 << 32) - 1
    assert systemd.parse_system_uid_max(text.encode()) == (max(1, number) if valid else 999)
    assert systemd.parse_system_uid_max(text.encode() + b"SYS_UID_MAX 499\n") == 499
    assert systemd.parse_system_uid_max(b"SYS_UID_MAX 499 # x\n") == 999


# ---------------------------------------------------------------- RemoveIPC


def login(value: str, key: str = "RemoveIPC", section: str = "Login") -> str:
    return "# text\n\n[%s]\nKillUserProcesses=no\n%s=%s\n" % (section, key, value)


CASES: List[Tuple[str, Dict[str, Any], bool, str]] = [
    ("nothing is set anywhere", {}, True, "the default"),
    ("the main file", {"etc/systemd/logind.conf": login("no")}, False, "/etc/systemd/logind.conf:5"),
    ("upper case", {"etc/systemd/logind.conf": login("OFF")}, False, "/etc/systemd/logind.conf:5"),
    ("the last counts", {"etc/systemd/logind.conf": login("no") + "RemoveIPC=1\n"}, True, "/etc/systemd/logind.conf:6"),
    ("another section", {"etc/systemd/logind.conf": login("no", section="Manager")}, True, "the default"),
    ("another key", {"etc/systemd/logind.conf": login("no", key="removeipc")}, True, "the default"),
    ("no boolean", {"etc/systemd/logind.conf": login("no # really")}, True, "the default"),
    (
        "an empty value leaves what was set before",
        {"etc/systemd/logind.conf": login("no") + "RemoveIPC=\n"},
        False,
        "/etc/systemd/logind.conf:5",
    ),
    (
        "only the first main file counts",
        {"run/systemd/logind.conf": login("no"), "usr/lib/systemd/logind.conf": login("yes")},
        False,
        "/run/systemd/logind.conf:5",
    ),
    (
        "a main file that hides the shipped one",
        {"etc/systemd/logind.conf": Path("/dev/null"), "usr/lib/systemd/logind.conf": login("no")},
        True,
        "the default",
    ),
    (
        "a drop-in beats the main file",
        {"etc/systemd/logind.conf": login("no"), "usr/lib/systemd/logind.conf.d/1.conf": login("yes")},
        True,
        "/usr/lib/systemd/logind.conf.d/1.conf:5",
    ),
    (
        "the last name beats the first directory",
        {"etc/systemd/logind.conf.d/10.conf": login("no"), "usr/local/lib/systemd/logind.conf.d/20.conf": login("yes")},
        True,
        "/usr/local/lib/systemd/logind.conf.d/20.conf:5",
    ),
    (
        "an earlier directory hides the same name",
        {"run/systemd/logind.conf.d/a.conf": login("no"), "usr/lib/systemd/logind.conf.d/a.conf": login("yes")},
        False,
        "/run/systemd/logind.conf.d/a.conf:5",
    ),
    (
        "a link to /dev/null hides the same name",
        {"etc/systemd/logind.conf.d/a.conf": Path("/dev/null"), "usr/lib/systemd/logind.conf.d/a.conf": login("no")},
        True,
        "the default",
    ),
    (
        "other endings are no drop-ins",
        {"etc/systemd/logind.conf.d/a.conf.rpmsave": login("no"), "etc/systemd/logind.conf.d/b": login("no")},
        True,
        "the default",
    ),
    (
        "before /usr was merged",
        {"lib/systemd/logind.conf.d/a.conf": login("no")},
        False,
        "/lib/systemd/logind.conf.d/a.conf:5",
    ),
    ("a build with another default", {"etc/systemd/logind.conf": "[Login]\n#RemoveIPC=no\n"}, False, "the default"),
    (
        "the shipped file knows the default, not a copy of ours",
        {"usr/lib/systemd/logind.conf": "#RemoveIPC=no\n", "etc/systemd/logind.conf": "#RemoveIPC=yes\n"},
        False,
        "the default",
    ),
    (
        "a file without comments on a distribution with another default",
        {"etc/systemd/logind.conf": "[Login]\n", "etc/os-release": 'NAME=x\nID="rocky"\nID_LIKE="rhel fedora"\n'},
        False,
        "the default",
    ),
    ("another distribution", {"usr/lib/os-release": "ID=fedora\nVARIANT_ID=rhel\n"}, True, "the default"),
]


@pytest.mark.parametrize(("files", "on", "origin"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_logind_does(tmp_path, files, on, origin):
    found, gaps = remove_ipc(grow(tmp_path, {**BASE, **files}))
    assert gaps == []
    assert found == ipc(origin, on=on)


def test_system_users_and_lingering_ones(tmp_path):
    linger = "var/lib/systemd/linger/"
    files = {linger + name: "" for name in ("ann", "DOM\\\\bob", "bad\\q")}
    files["etc/login.defs"] = "SYS_UID_MAX 499\n"
    found, _ = remove_ipc(grow(tmp_path, {**BASE, **files}))
    assert found is not None
    assert found.system_uid_max == 499
    assert found.lingering == {"ann", "DOM\\bob", "bad\\q"}


@pytest.mark.parametrize("missing", sorted(BASE))
def test_without_logind_there_is_nothing_to_tell(tmp_path, missing):
    """Neither where it is not installed, nor where it is and does not run, as in most containers."""
    files = {name: content for name, content in BASE.items() if name != missing}
    assert remove_ipc(grow(tmp_path, {**files, "etc/systemd/logind.conf": login("yes")})) == (None, [])


UNREADABLE: List[Tuple[str, Dict[str, Any], str]] = [
    ("the main file", {"etc/systemd/logind.conf": Path("logind.conf")}, "Too many levels"),
    ("a drop-in", {"etc/systemd/logind.conf.d/a.conf": Path("a.conf")}, "Too many levels"),
    ("the drop-ins", {"etc/systemd/logind.conf.d": Path("logind.conf.d")}, "Too many levels"),
    ("who lingers", {"var/lib/systemd/linger": Path("linger")}, "Too many levels"),
    ("which users are the system's", {"etc/login.defs": Path("login.defs")}, "Too many levels"),
    ("a file far too large", {"etc/systemd/logind.conf": b"\n" * (1 << 20) + b"\n"}, "it has 1048577 bytes"),
    ("a broken header", {"etc/systemd/logind.conf": "[Login]\nRemoveIPC=no\n[Login\n"}, "line 3, '[Login', is no"),
]


@pytest.mark.parametrize(("files", "why"), [case[1:] for case in UNREADABLE], ids=[case[0] for case in UNREADABLE])
def test_what_cannot_be_read_is_a_gap_and_no_answer(tmp_path, files, why):
    found, (gap,) = remove_ipc(grow(tmp_path, {**BASE, **files}))
    assert found is None
    assert (gap.evidence, gap.what) == ("settings", "/" + next(iter(files)))
    assert gap.why.startswith(why)


def test_nothing_but_regular_files_is_opened(tmp_path):
    """The open alone would make us a reader of the FIFO."""
    dropins = "etc/systemd/logind.conf.d/"
    root = grow(tmp_path, {**BASE, dropins + "b.conf": login("no"), dropins + "d.conf/": ""})
    os.mkfifo(str(root / dropins / "a.conf"))
    os.mkfifo(str(root / "etc/systemd/logind.conf"))
    read: List[str] = []

    class Watched(Directory):
        def read(self, name: str) -> bytes:
            read.append(name)
            return super().read(name)

    with Watched.open(str(root)) as top:
        found, gaps = systemd.read_remove_ipc(top)
    assert (found, gaps) == (ipc("/etc/systemd/logind.conf.d/b.conf:5", on=False), [])
    assert read == [dropins + "b.conf"]


# ---------------------------------------------------------------- FIFOs

NAMES = st.text(st.characters(blacklist_characters="\0/", blacklist_categories=["Cs"]), min_size=1, max_size=6)
PATHS = st.lists(NAMES, min_size=1, max_size=3).filter(
    lambda names: not {".", ".."} & set(names) and names[:2] != ["var", "run"]
)


@given(PATHS, st.sampled_from(["/", "//", "/./"]))
def test_paths_become_what_the_file_system_has(names, slash):
    path = "/" + "/".join(names)
    written = (slash + slash.join(names)).replace("%", "%%")
    assert systemd.resolve(written) == path
    assert systemd.resolve("/var/run" + written) == systemd.resolve("%t" + written) == "/run" + path
    assert systemd.resolve("." + written) is None


@pytest.mark.parametrize("path", ["", "/", "run/x", "/run/../x", "/run/..", "/run/%i", "/run/%9", "%h/x", "%"])
def test_paths_that_are_not_to_be_known(path):
    assert systemd.resolve(path) is None


def test_directories_of_the_system():
    known = {"%t": "/run", "%S": "/var/lib", "%C": "/var/cache", "%L": "/var/log", "%E": "/etc", "%T": "/tmp"}
    assert [systemd.resolve(short + "/%%x") for short in known] == [there + "/%x" for there in known.values()]


def quoted(name: str, how: int) -> str:
    """Return a text as a field of tmpfiles.d may have it."""
    if how == 0:
        return "".join("\\x%02x" % byte for byte in name.encode())
    if how == 1:
        return "".join("\\%03o" % byte for byte in name.encode())
    if how == 2:
        return "".join("\\u%04x" % ord(one) if ord(one) < 0x10000 else "\\U%08x" % ord(one) for one in name)
    mark = "\"'"[how - 3]
    return mark + name.replace("\\", "\\\\").replace(mark, "\\" + mark).replace("\n", "\\n") + mark


@given(NAMES, st.integers(0, 4), NAMES, st.integers(0, 4))
def test_quotes_and_escapes_round_trip(first, how, second, also):
    assert systemd.unescape(quoted(first, how) + quoted(second, also)) == first + second


@pytest.mark.parametrize(
    "field", ['"', "a'b", "\\", "a\\", "\\q", "\\x4", "\\x00", "\\1", "\\400", "\\u12", "\\UFFFFFFFF", "\\ud800"]
)
def test_quotes_and_escapes_that_are_none(field):
    with pytest.raises(ValueError, match=r"backslash|escape|open quote|encode"):
        systemd.unescape(field)


@given(st.lists(st.tuples(PATHS, st.integers(0, 4), st.text("-+!=~^$?", max_size=3), st.booleans()), max_size=4))
def test_the_lines_of_tmpfiles_round_trip(lines):
    text, wanted = "# comment\n\nd /run/x 0755 - - -\n", []
    for names, how, modifiers, fifo in lines:
        path = "/" + "/".join(names)
        text += " %s%s\t%s 0600 - - -\n" % ("p" if fifo else "f", modifiers, quoted(path.replace("%", "%%"), how))
        wanted += [path] if fifo else []
    assert systemd.parse_tmpfiles(text.encode()) == wanted


@given(st.one_of(st.binary(max_size=80), st.text("p# \t\"'\\/%x1\n", max_size=40).map(str.encode)))
def test_whatever_a_file_of_tmpfiles_holds(text):
    for path in systemd.parse_tmpfiles(text):
        assert path.startswith("/")
        assert "//" not in path + "/"


@given(st.lists(st.tuples(st.sampled_from(["FIFO", "Stream", "Special"]), st.one_of(st.none(), PATHS)), max_size=6))
def test_what_a_socket_unit_listens_on(assignments):
    settings, wanted = [], []
    for kind, names in assignments:
        path = "" if names is None else "/" + "/".join(names)
        settings.append(Setting("Socket", "Listen" + kind, path.replace("%", "%%"), 1))
        if names is None:
            wanted.clear()
        elif kind == "FIFO":
            wanted.append(path)
    other = [Setting("Install", "ListenFIFO", "/run/no", 1), Setting("Socket", "SocketUser", "", 1)]
    assert systemd.parse_declared_fifos("x.socket", [*settings, *other]) == wanted


def test_fifos_of_socket_units(tmp_path):
    def socket(*lines: str) -> str:
        return "[Unit]\nDescription=x\n[Socket]\n%s\n" % "\n".join(lines)

    root = grow(
        tmp_path,
        {
            "usr/lib/systemd/system/dm-event.socket": socket("ListenFIFO=/run/dm-server", "ListenFIFO=%t/dm-client"),
            "usr/lib/systemd/system/hidden.socket": socket("ListenFIFO=/run/hidden"),
            "etc/systemd/system/hidden.socket": Path("/dev/null"),
            "lib/systemd/system/changed.socket": socket("ListenFIFO=/run/old"),
            "etc/systemd/system/changed.socket.d/b.conf": "[Socket]\nListenFIFO=\nListenFIFO=/run/%p-%N-%n\n",
            "usr/lib/systemd/system/changed.socket.d/a.conf": "[Socket]\nListenFIFO=/run/older\n",
            "run/systemd/generator/made.socket": socket("ListenFIFO=/run/made up"),
            "etc/systemd/system/each@.socket": socket("ListenFIFO=/run/%i", "ListenFIFO=/run/all"),
            "etc/systemd/system/sockets.target.wants/other.socket": socket("ListenFIFO=/run/other"),
            "etc/systemd/system/x.service": "[Socket]\nListenFIFO=/run/service\n",
        },
    )
    assert fifos(root) == (
        ["/run/all", "/run/changed-changed-changed.socket", "/run/dm-client", "/run/dm-server", "/run/made up"],
        [],
    )


def test_fifos_of_tmpfiles(tmp_path):
    root = grow(
        tmp_path,
        {
            "usr/lib/tmpfiles.d/a.conf": "p /run/hidden\n",
            "etc/tmpfiles.d/a.conf": "p! /run/a 0600 root\np+ /var/run/b\n",
            "run/tmpfiles.d/b.conf": "p /run/c\r\n",
            "usr/local/lib/tmpfiles.d/c": "p /run/no\n",
            "usr/lib/tmpfiles.d/z.conf": Path("/dev/null"),
        },
    )
    assert fifos(root) == (["/run/a", "/run/b", "/run/c"], [])


def test_systemd_makes_the_same_fifos(tmp_path):
    """The real program reads the same files, and makes what they say."""
    program = shutil.which("systemd-tmpfiles")
    if program is None:
        pytest.skip("systemd-tmpfiles is not installed")
    root = grow(
        tmp_path,
        {
            "run/": "",
            "usr/lib/tmpfiles.d/a.conf": "p /run/hidden\n",
            "usr/lib/tmpfiles.d/b.conf": Path("/dev/null"),
            "run/tmpfiles.d/b.conf": "p /run/from-run\n",
            "etc/tmpfiles.d/a.conf": (
                "# p /run/comment\n#p /run/comment\n"
                'p /run/a 0600 - - -\n  p!\t\'/var/run/e"f\'  -\np- "/run/c d" -\n'
                '"p" /run//h/./i/\np+!- /run/j\npp /run/k\np relative\np /run/open"quote\np /run/x/../y\n'
                "p /run/%%n\np /run/un%q\np /run/%!%\nf /run/file\np /run/é\np\np /run/'x''y'\n"
            ),
        },
    )
    wanted = fifos(root)
    # Lines that are no lines are told on standard error and by its status.
    words = [program, "--create", "--boot", "--root=%s" % root]
    done = subprocess.run(words, stderr=subprocess.PIPE, check=False, timeout=20)
    made = sorted("/" + str(path.relative_to(root)) for path in root.rglob("*") if path.is_fifo())
    assert made, done.stderr
    assert wanted == (made, [])


def test_configuration_without_end_is_a_gap(tmp_path, monkeypatch):
    monkeypatch.setattr(systemd, "_MOST_FILES", 2)
    root = grow(tmp_path, {"etc/tmpfiles.d/%d.conf" % at: "p /run/%d\n" % at for at in range(5)})
    paths, (gap,) = fifos(root)
    assert paths == ["/run/0", "/run/1"]
    assert (gap.evidence, gap.kind, gap.why) == ("settings", "fifo", "there are more than the 2 that were read")


def test_configuration_that_cannot_be_read_is_a_gap(tmp_path):
    files = {"etc/tmpfiles.d/a.conf": Path("a.conf"), "usr/lib/systemd/system": Path("system")}
    paths, gaps = fifos(grow(tmp_path, {**files, "usr/lib/tmpfiles.d/b.conf": "p /run/b\n"}))
    assert paths == ["/run/b"]
    assert sorted((gap.what, gap.kind) for gap in gaps) == [
        ("/etc/tmpfiles.d/a.conf", "fifo"),
        ("/usr/lib/systemd/system", "fifo"),
    ]


# ---------------------------------------------------------------- facts


@pytest.mark.parametrize(
    ("cmdline", "extended"),
    [
        (b"quiet ipcmni_extend ro\n", True),
        (b"ipcmni-extend\n", True),
        (b"ipcmni_extend=1", True),
        (b'"ipcmni_extend=a b" x', True),
        (b"noipcmni_extend ipcmni_extended", False),
        (b"x=ipcmni_extend", False),
        (b'dyndbg="a ipcmni_extend b"', False),
        (b"quiet -- ipcmni_extend", False),
        (b"", False),
    ],
)
def test_the_command_line_of_the_kernel(cmdline, extended):
    assert facts.parse_ipcmni_extended(cmdline) is extended


PLAIN = st.text("abc=-_.,/0", min_size=1, max_size=8).filter(lambda word: word != "--").map(str.encode)


@given(st.lists(PLAIN, max_size=5), st.lists(PLAIN, max_size=5), st.binary(max_size=30))
def test_the_option_is_found_wherever_it_stands(before, after, noise):
    assert facts.parse_ipcmni_extended(b" ".join([*before, b"ipcmni_extend", *after])) is True
    assert facts.parse_ipcmni_extended(b" ".join([*before, *after])) is False
    assert not facts.parse_ipcmni_extended(noise) or b"extend" in noise


def read_facts(root: Path, files: Dict[str, Any]) -> Tuple[Facts, List[Gap]]:
    grow(root, {"proc/": "", **files})
    with Directory.open(str(root / "proc")) as proc, Directory.open(str(root)) as top:
        return facts.read_facts(proc, top)


def test_facts(tmp_path):
    files = {
        **BASE,
        "etc/systemd/logind.conf": login("no"),
        "proc/cmdline": "ro ipcmni_extend\n",
        "proc/sys/kernel/yama/ptrace_scope": "2\n",
    }
    wanted = Facts(ipc("/etc/systemd/logind.conf:5", on=False), 2, ipcmni_extended=True)
    assert read_facts(tmp_path, files) == (wanted, [])


def test_a_host_without_any_of_it(tmp_path):
    assert read_facts(tmp_path, {"proc/cmdline": "ro\n"}) == (Facts(), [])


def test_facts_that_cannot_be_read_are_gaps(tmp_path):
    found, gaps = read_facts(tmp_path, {"proc/sys/kernel/yama/ptrace_scope": "much\n", "etc/login.defs/": "", **BASE})
    assert found == Facts(ipc("the default", on=True))
    assert [(gap.evidence, gap.what) for gap in gaps] == [
        ("settings", "kernel.yama.ptrace_scope"),
        ("settings", "/proc/cmdline"),
    ]


def test_when_units_began(tmp_path):
    place = tmp_path / "run/systemd/units"
    units = ["web.service", "session-3.scope", "other.service"]

    def starts() -> Any:
        with Directory.open(str(tmp_path)) as top:
            return read_unit_starts(top, units)

    assert starts() == {}
    place.mkdir(parents=True)
    for unit, began in (("web.service", 1000), ("session-3.scope", 2000)):
        (place / ("invocation:" + unit)).symlink_to("0123456789abcdef")  # leads nowhere, as systemd's do
        os.utime(str(place / ("invocation:" + unit)), (0, began), follow_symlinks=False)
    assert starts() == {"web.service": 1000.0, "session-3.scope": 2000.0}


def test_a_unit_of_which_nothing_can_be_told_was_always_there(tmp_path):
    (tmp_path / "run/systemd").mkdir(parents=True)
    (tmp_path / "run/systemd/units").write_text("no directory")
    with Directory.open(str(tmp_path)) as top:
        assert read_unit_starts(top, ["web.service"]) == {"web.service": 0.0}
