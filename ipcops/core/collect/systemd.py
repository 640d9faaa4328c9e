"""What the configuration of systemd says about IPC: read from its files, no program is asked.

logind.conf(5), systemd.syntax(7), systemd.unit(5), systemd.socket(5), tmpfiles.d(5). Only regular
files are read: a FIFO is never opened, and a link to /dev/null says nothing, which is what it
is there for.
"""

from __future__ import annotations

import re
from typing import Dict, FrozenSet, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from ..fs import Directory
from ..model import Evidence, Gap, RemoveIpc
from ..tuples import NamedTuple

PREFIXES = ("etc", "run", "usr/local/lib", "usr/lib", "lib")
"""Where configuration is looked for: a file in an earlier one hides those of its name in later ones."""
UNIT_DIRS = (
    "etc/systemd/system.control",
    "run/systemd/system.control",
    "run/systemd/transient",
    "run/systemd/generator.early",
    "etc/systemd/system",
    "etc/systemd/system.attached",
    "run/systemd/system",
    "run/systemd/system.attached",
    "run/systemd/generator",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
    "run/systemd/generator.late",
)
"""Where units are, likewise."""
SPECIFIERS = {
    "%": "%",
    "t": "/run",
    "S": "/var/lib",
    "C": "/var/cache",
    "L": "/var/log",
    "E": "/etc",
    "T": "/tmp",
    "V": "/var/tmp",
}
"""What ``%`` and a letter stand for in settings of the system's own manager (systemd.unit(5))."""
SYSTEM_UID_MAX = 999
"""Up to which uid a user is the system's where /etc/login.defs does not say (systemd's compile-time default)."""

_BOOTED = "run/systemd/system"  # sd_booted(3)
_LOGIND = ("usr/lib/systemd/systemd-logind", "lib/systemd/systemd-logind")
_SHIPPED = ("usr/lib/systemd/logind.conf", "lib/systemd/logind.conf", "etc/systemd/logind.conf")
_DEFAULT_NO = {"rhel", "ol"}
"""Distributions, and those like them, that build systemd-logind with RemoveIPC=no (os-release(5): ID, ID_LIKE)."""
_MOST_BYTES = 1 << 20
_MOST_FILES = 2000

_BLANK = " \t\r\n"
_LINE_ENDS = rb"\r?\n|\r|\0"
_COMMENT = rb"[ \t]*[#;]"
_SHOWN_DEFAULT = rb"(?m)^#[ \t]*RemoveIPC=(\w+)[ \t]*$"
_LOGIN_DEFS = rb"(?m)^SYS_UID_MAX[ \t]+(\d{1,10})$"
_OS_RELEASE = rb"(?m)^ID(?:_LIKE)?=[\"']?([^\"'\n]*)"
_FIELD = r"""((?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')+)"""
_FIELDS = r"(?a)\s*(?!#)%s\s+%s(?:\s|\Z)" % (_FIELD, _FIELD)
_PIECE = r"""\\(x[0-9a-fA-F]{2}|[0-3][0-7]{2}|u[0-9a-fA-F]{4}|U00[01][0-9a-fA-F]{5}|.)|(["'])|([^\\"']+)"""
_LETTERS = dict(zip("abfnrtvs\\\"'", "\a\b\f\n\r\t\v \\\"'"))
_SPECIFIER = r"%([%A-Za-z0-9])"
_FIFO_LINE = r"p[-+!=~^$?]*"


class Setting(NamedTuple):
    """An assignment of a configuration file."""

    section: str
    key: str
    value: str
    line: int


def parse_settings(text: bytes) -> Iterator[Setting]:
    """Yield the assignments of a file in systemd's syntax, in their order.

    Raise ValueError at a broken section header, where systemd gives the file up, too; a line that
    is no assignment is passed over as it does.
    """
    section, whole = "", b""
    lines = re.split(_LINE_ENDS, text[3:] if text.startswith(b"\xef\xbb\xbf") else text)
    for number, raw in enumerate(lines, 1):
        if re.match(_COMMENT, raw):
            continue  # even between a line and its continuation
        whole += raw
        if (len(whole) - len(whole.rstrip(b"\\"))) % 2:
            whole = whole[:-1] + b" "
            if number < len(lines):
                continue
        try:
            line = whole.decode().strip(_BLANK)
        except UnicodeDecodeError:
            line = ""
        whole = b""
        key, equals, value = line.partition("=")
        if line.startswith("["):
            if not line.endswith("]"):
                raise ValueError("line %d, '%s', is no section header" % (number, line))
            section = line[1:-1]
        elif key and equals:
            yield Setting(section, key.strip(_BLANK), value.strip(_BLANK), number)


def parse_boolean(word: str) -> bool:
    """Return the value of a boolean setting (systemd.syntax(7)), in upper or lower case. Raise ValueError."""
    if word.lower() in ("1", "yes", "y", "true", "t", "on"):
        return True
    if word.lower() in ("0", "no", "n", "false", "f", "off"):
        return False
    raise ValueError("'%s' is neither yes nor no" % word)


def parse_shown_default(text: bytes) -> Optional[bool]:
    """Return what the comments of a shipped logind.conf show as the compile-time default of RemoveIPC=."""
    found = re.search(_SHOWN_DEFAULT, text)
    try:
        return parse_boolean(found[1].decode()) if found else None
    except ValueError:
        return None


def parse_system_uid_max(text: bytes) -> int:
    """Return SYS_UID_MAX of /etc/login.defs as systemd reads it, or the default."""
    numbers = [int(number) for number in re.findall(_LOGIN_DEFS, text)]
    return max(1, ([SYSTEM_UID_MAX] + [number for number in numbers if number < (1 << 32) - 1])[-1])


def parse_declared_fifos(unit: str, settings: Iterable[Setting]) -> List[str]:
    """Return the paths of ListenFIFO= of a socket unit, its drop-ins included.

    An empty assignment of any Listen… setting takes back all before it (systemd.socket(5)).
    """
    stem = unit.removesuffix(".socket")
    specifiers = {**SPECIFIERS, "n": unit, "N": stem, "p": stem.partition("@")[0]}
    paths: List[str] = []
    for section, key, value, _ in settings:
        if section != "Socket" or not key.startswith("Listen"):
            continue
        if not value:
            paths.clear()
        path = resolve(value, specifiers) if key == "ListenFIFO" else None
        if path is not None:
            paths.append(path)
    return paths


def parse_tmpfiles(text: bytes) -> List[str]:
    """Return the paths of the FIFOs that a file of tmpfiles.d makes; a broken line is passed over as it does."""
    paths = []
    for line in text.decode("utf-8", "surrogateescape").split("\n"):
        found = re.match(_FIELDS, line)
        try:
            if found and re.fullmatch(_FIFO_LINE, unescape(found[1])):
                paths.append(resolve(unescape(found[2])))
        except ValueError:
            continue
    return [path for path in paths if path is not None]


def unescape(field: str) -> str:
    """Return a text without its quotes and C escapes. Raise ValueError where one is none."""
    plain = []
    quote = ""
    at = 0
    piece = re.compile(_PIECE)
    while at < len(field):
        found = piece.match(field, at)
        if found is None:
            raise ValueError("'%s' ends in a backslash" % field)
        at = found.end()
        escape, mark, text = found.groups()
        if escape is not None:
            plain.append(_escaped(escape))
        elif text is not None:
            plain.append(text)
        elif quote in ("", mark):
            quote = "" if quote else mark
        else:
            plain.append(mark)
    if quote or "\0" in plain:
        raise ValueError("'%s' has an open quote or a NUL" % field)
    # Several escaped bytes may make one character.
    return "".join(plain).encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _escaped(escape: str) -> str:
    """Return what an escape stands for, without its backslash."""
    if escape in _LETTERS:
        return _LETTERS[escape]
    if len(escape) == 1:
        raise ValueError("'\\%s' is no escape" % escape)
    if escape[0] in "uU":
        return chr(int(escape[1:], 16))
    byte = int(escape[1:], 16) if escape[0] == "x" else int(escape, 8)
    return bytes((byte,)).decode("utf-8", "surrogateescape")


def resolve(path: str, specifiers: Mapping[str, str] = SPECIFIERS) -> Optional[str]:
    """Return a path of a setting as the file system has it; ``None`` where it is not to be known, or no path."""
    unknown = False

    def expand(found: re.Match[str]) -> str:
        nonlocal unknown
        unknown |= found[1] not in specifiers
        return specifiers.get(found[1], "")

    path = re.sub(_SPECIFIER, expand, path)
    names = [name for name in path.split("/") if name not in ("", ".")]
    if unknown or not path.startswith("/") or not names or ".." in names:
        return None
    if names[:2] == ["var", "run"] and names[2:]:
        del names[0]  # a link to /run, which systemd itself writes in its place
    return "/" + "/".join(names)


class _Tree:
    """The files below a root; notes what could not be read."""

    def __init__(self, root: Directory, kind: Optional[str] = None) -> None:
        self.root, self.kind = root, kind
        self.found: Dict[Gap, None] = {}
        self.count = 0

    @property
    def gaps(self) -> List[Gap]:
        """What could not be read, each told once."""
        return list(self.found)

    def _gap(self, what: str, why: str) -> None:
        self.found[Gap(Evidence.SETTINGS, what, why, kind=self.kind)] = None

    def has(self, path: str) -> bool:
        """Return whether there is such a file, of any type; a link counts if it leads to one."""
        try:
            self.root.info(path, follow=True)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True  # and reading it tells why it cannot be read
        return True

    def names(self, path: str) -> List[str]:
        """Return the sorted names in a directory; none where there is no such directory."""
        try:
            return sorted(self.root.names(path))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self._gap("/" + path, error.strerror or str(error))
            return []

    def text(self, path: str) -> bytes:
        """Return the content of a regular file; nothing where there is none."""
        self.count += 1
        if self.count > _MOST_FILES:
            self._gap("configuration files of systemd", "there are more than the %d that were read" % _MOST_FILES)
            return b""
        try:
            info = self.root.info(path, follow=True)
            if not info.is_regular:
                return b""
            if info.size > _MOST_BYTES:
                self._gap("/" + path, "it has %d bytes" % info.size)
                return b""
            return self.root.read(path)
        except (FileNotFoundError, NotADirectoryError):
            return b""
        except OSError as error:
            self._gap("/" + path, error.strerror or str(error))
            return b""

    def settings(self, path: str) -> Iterator[Setting]:
        """Yield the assignments of a file."""
        try:
            yield from parse_settings(self.text(path))
        except ValueError as error:
            self._gap("/" + path, str(error))

    def layered(self, directories: Sequence[str], suffix: str) -> Dict[str, str]:
        """Return name to path of the files in any of the directories, sorted by name: the first of a name counts."""
        found: Dict[str, str] = {}
        for directory in directories:
            for name in self.names(directory):
                if name.endswith(suffix):
                    found.setdefault(name, "%s/%s" % (directory, name))
        return dict(sorted(found.items()))


def read_remove_ipc(root: Directory) -> Tuple[Optional[RemoveIpc], List[Gap]]:
    """Return what systemd-logind does to the IPC of users who log out; ``None`` where it is not to be known.

    ``None`` without a gap: systemd does not run here, or has no logind. *root* is the directory
    that paths begin at.
    """
    tree = _Tree(root)
    if not tree.has(_BOOTED) or not any(map(tree.has, _LOGIND)):
        return None, []
    files = [path for path in ("%s/systemd/logind.conf" % prefix for prefix in PREFIXES) if tree.has(path)][:1]
    files += tree.layered(["%s/systemd/logind.conf.d" % prefix for prefix in PREFIXES], ".conf").values()
    on: Optional[bool] = None
    origin = "the default"
    for path in files:
        for section, key, value, line in tree.settings(path):
            if (section, key) == ("Login", "RemoveIPC"):
                try:
                    on = parse_boolean(value)
                    origin = "/%s:%d" % (path, line)
                except ValueError:
                    continue  # as logind does: what was set before stays
    if on is None:
        on = _default(tree)
    system_uid_max = parse_system_uid_max(tree.text("etc/login.defs"))
    lingering = frozenset(_user(name) for name in tree.names("var/lib/systemd/linger"))
    if tree.gaps:
        return None, tree.gaps
    return RemoveIpc(on, origin, system_uid_max, lingering), []


def _default(tree: _Tree) -> bool:
    """Return what this distribution's logind does unless told: comments of the file that it ships show that."""
    for path in _SHIPPED:
        shown = parse_shown_default(tree.text(path))
        if shown is not None:
            return shown
    release = tree.text("etc/os-release") or tree.text("usr/lib/os-release")
    words = b" ".join(re.findall(_OS_RELEASE, release)).decode("ascii", "replace").split()
    return _DEFAULT_NO.isdisjoint(words)


def _user(name: str) -> str:
    """Return the user whom a file in /var/lib/systemd/linger names, in C escapes."""
    try:
        return unescape(name)
    except ValueError:
        return name


def read_declared_fifos(root: Directory) -> Tuple[FrozenSet[str], List[Gap]]:
    """Return the paths of FIFOs that socket units listen on or tmpfiles.d makes.

    Enabled or not: who wrote such a line knows of the FIFO. Paths that depend on more than the
    system's own directories (an instance, a user, the host's name) are left out.
    """
    tree = _Tree(root, "fifo")
    paths: List[str] = []
    dropins: Dict[str, List[str]] = {}
    for directory in UNIT_DIRS:
        for name in tree.names(directory):
            if name.endswith(".socket.d"):
                dropins.setdefault(name.removesuffix(".d"), []).append("%s/%s" % (directory, name))
    for unit, path in tree.layered(UNIT_DIRS, ".socket").items():
        files = [path, *tree.layered(dropins.get(unit, ()), ".conf").values()]
        paths += parse_declared_fifos(unit, [setting for file in files for setting in tree.settings(file)])
    for path in tree.layered(["%s/tmpfiles.d" % prefix for prefix in PREFIXES], ".conf").values():
        paths += parse_tmpfiles(tree.text(path))
    return frozenset(paths), tree.gaps
