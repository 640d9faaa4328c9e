"""Which line of which file sets a kernel setting at boot: both loaders of sysctl files, simulated.

Read in their sources: systemd-sysctl of systemd 247, 252 and 257 (src/sysctl/sysctl.c, sysctl-util.c,
conf-files.c, read_line_full of fileio.c) and ``sysctl --system`` of procps 3.3.17, 4.0.2 and 4.0.4
(sysctl.c). sysctl.d(5), sysctl.conf(5). Where their own messages and manuals are vague the source counts;
tests/kernel/test_loaders.py compares with the programs.

Nothing is read here: a tree of files is a value, which ``collect/sysctld.py`` makes of a host.
"""

from __future__ import annotations

import re
from typing import Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from ..model import NOTHING, Evidence, Gap
from ..tuples import NamedTuple
from .parameters import INT_MAX, OF_KEY, Machine, most_of

DIRECTORIES = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d")
"""A file in an earlier one hides those of its name in later ones. systemd since 255 leaves out the last."""
CONF = "/etc/sysctl.conf"
"""procps reads it after all others; systemd only where a link in a directory leads to it."""
CREDENTIAL = "/run/credentials/@system/sysctl.extra"
"""Read last by systemd-sysctl.service since systemd 252, where the machine was given it (systemd.exec(5))."""

SYSTEMD, PROCPS = "systemd-sysctl", "sysctl --system"
LOADERS = (SYSTEMD, PROCPS)

Bounds = Sequence[Tuple[int, int]]
"""The least and the greatest number that the kernel takes, for each field of a setting."""
Numbers = Tuple[Optional[int], ...]
"""The fields of a setting, ``None`` for one that keeps what the kernel starts with."""
NO_ASSIGNMENT = "it assigns nothing"

_BLANK = " \t\n\r"
_SPACE = _BLANK + "\v\f"
_PATTERN = re.compile(r"[*?[]")
_SEPARATOR = re.compile(r"[/.]")
_SWAP = str.maketrans("./", "/.")
_SYSTEMD_LINES = re.compile(r"\0|\n\r?\0?|\r\n?\0?")
_PIECE = re.compile(r"([*?])|\[([!^]?)(\]?[^]]*)\]")
_EXPANDED = re.compile(r"[*?[{\\]")
_NUMBER = re.compile(r"(-?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)(?=[ \t\n]|\Z)")
_TOO_LONG = 21
"""From so many digits on the kernel takes no number (TMPBUFLEN of kernel/sysctl.c)."""
_ANY_INT = (-INT_MAX - 1, INT_MAX)


# ---------------------------------------------------------------- the files, as a value


class File(NamedTuple):
    """A file as a loader finds it, under a name of its directory.

    ``text`` is empty where there is nothing to read for anybody: a link to /dev/null or to nowhere, a
    directory. ``None`` says that we may not read what the loader, being root, will.
    ``real`` is where its text lies, where a link leads there.
    """

    path: str
    text: Optional[bytes] = b""
    real: str = ""

    @property
    def place(self) -> str:
        """The file to edit."""
        return self.real or self.path


class Tree(NamedTuple):
    """The files that set kernel settings at boot, and which loaders this host has.

    ``directories`` leads from each of DIRECTORIES that is there, in their order, to its files by name.
    ``systemd`` is the version of systemd-sysctl, ``procps`` the major version of procps; ``None`` where
    it is not installed.
    """

    directories: Mapping[str, Mapping[str, File]] = NOTHING
    conf: Optional[File] = None
    """/etc/sysctl.conf, where it is a regular file."""
    credential: Optional[File] = None
    systemd: Optional[int] = 257
    procps: Optional[int] = 4
    gaps: Tuple[Gap, ...] = ()
    """What of them could not be seen."""

    def with_file(self, path: str, text: Optional[bytes]) -> Tree:
        """Return the tree with a file of ours at *path*, or without it. Raise ValueError for a path elsewhere."""
        directory, _, name = path.rpartition("/")
        if directory not in DIRECTORIES or not name:
            raise ValueError("%s is in none of %s" % (path, ", ".join(DIRECTORIES)))
        files = {**self.directories.get(directory, {}), name: File(path, text)}
        if text is None:
            del files[name]
        found = {**self.directories, directory: files}
        return self._replace(directories={one: found[one] for one in DIRECTORIES if one in found})


# ---------------------------------------------------------------- what a loader makes of them


class Placed(NamedTuple):
    """A text that a loader writes to a setting, and the line that says so."""

    value: str
    file: str
    """The file to edit: where a link leads, and not the link."""
    line: int
    pattern: str = ""
    """The pattern by which the line means this setting, where it does not name it."""


class Skipped(NamedTuple):
    """A line that sets nothing, and why. ``key`` is as the line has it."""

    key: str
    file: str
    line: int
    why: str


class Loaded(NamedTuple):
    """What one loader does at boot.

    ``writes`` has for each setting what is written to it, in that order: the kernel may refuse any of it
    (:func:`settle`). ``skipped`` are lines that come to nothing. ``order`` are the files as they are read,
    ``gaps`` those of them that we may not read, or whose meaning is in doubt.
    """

    writes: Mapping[str, Tuple[Placed, ...]]
    skipped: Tuple[Skipped, ...]
    order: Tuple[str, ...]
    gaps: Tuple[Gap, ...]

    def after(self, path: str) -> List[Gap]:
        """Return what is in doubt from a file on, or in place of it."""
        later = self.order[self.order.index(path) :] if path in self.order else self.order
        return [gap for gap in self.gaps if gap.what in later]


class Settled(NamedTuple):
    """What a setting has after all writes.

    ``placed`` is the line that decided, ``refused`` are those that the kernel does not take whole.
    """

    numbers: Numbers
    placed: Optional[Placed]
    refused: Tuple[Placed, ...]


class Fate(NamedTuple):
    """What becomes of the line in our file at the next boot, with one loader."""

    loader: str
    wins: bool
    """Whether the setting ends as our line says, be it that another line says the same."""
    settled: Settled
    why: str
    """In words, naming file and line where another decides."""


class Standing(NamedTuple):
    """What becomes of a line of ours with every loader that this host has."""

    key: str
    fates: Tuple[Fate, ...]
    disagree: bool
    """Whether the loaders of this host end at different values."""
    gaps: Tuple[Gap, ...]
    """What could not be seen and may come after our line: then nothing is sure."""

    @property
    def wins(self) -> bool:
        """Whether our line is what counts, whichever loader runs."""
        return all(fate.wins for fate in self.fates)


class Line(NamedTuple):
    """A line of a file as a loader reads it: ``value`` is ``None`` where it excludes the key.

    ``why`` says what is wrong with a line that is none to it.
    """

    number: int
    key: str
    value: Optional[str]
    why: str = ""


# ---------------------------------------------------------------- the loaders


def systemd(tree: Tree, keys: Iterable[str]) -> Loaded:
    """Return what systemd-sysctl writes to the settings *keys* (dotted), which are those there are.

    It keeps one text for each key: the last one counts, whatever the kernel says to it. ``-key``
    takes an earlier text back, and keeps patterns off.
    """
    version = tree.systemd or 0
    run = _Run(keys, parse_systemd)
    options: Dict[str, _Said] = {}
    files = _by_name(tree, hidden=False, without="/lib/sysctl.d" if version >= 255 else "")
    if tree.credential is not None and version >= 252:
        files.append(tree.credential)
    for said in run.said(files):
        path = _simple(_slashed(said.line.key))
        if path not in options or options[path].line.value != said.line.value:
            options.pop(path, None)  # what changes goes to the end
        options[path] = said
    for path, said in options.items():
        if said.line.value is None:
            continue
        if not _PATTERN.search(path):
            run.write(path, said)
            continue
        for _, key in run.matches(path, said, braces=True):
            if dotted(key) not in options:
                run.put(key, said, pattern=path)
    return run.result()


def procps(tree: Tree, keys: Iterable[str]) -> Loaded:
    """Return what ``sysctl --system`` writes to the settings *keys* (dotted), which are those there are.

    It writes line after line, so where the kernel refuses one an earlier one stays. It knows patterns,
    and ``-key`` against them, since procps 4.
    """
    modern = (tree.procps or 0) >= 4
    run = _Run(keys, parse_procps if modern else parse_procps_3)
    files = _by_name(tree, hidden=True)
    for file in files:
        odd = _EXPANDED.search(file.path)
        if odd:
            run.doubt(file.path, "sysctl --system takes the '%s' in its name for a pattern" % odd[0])
    if tree.conf is not None:
        files.append(tree.conf)
    lines = [(_slashed(said.line.key), said) for said in run.said(files)]
    named = {path for path, _ in lines}
    for path, said in lines:
        if said.line.value is None:
            continue
        if not (modern and _PATTERN.search(path)):
            run.write(path, said, exact=True)
            continue
        for found, key in run.matches(path, said):
            if found not in named:
                run.put(key, said, pattern=path)
    return run.result()


def load(tree: Tree, keys: Iterable[str]) -> Dict[str, Loaded]:
    """Return what each loader of this host writes at boot; both where the host shows none."""
    keys = list(keys)
    chosen = {SYSTEMD: systemd, PROCPS: procps}
    if tree.systemd is not None or tree.procps is not None:
        if tree.systemd is None:
            del chosen[SYSTEMD]
        if tree.procps is None:
            del chosen[PROCPS]
    return {name: simulated(tree, keys) for name, simulated in chosen.items()}


# ---------------------------------------------------------------- what the kernel makes of it


def taken(text: str, before: Numbers, bounds: Bounds) -> Tuple[Numbers, bool]:
    """Return the fields of a setting after *text* is written to it, and whether the kernel takes it whole.

    __do_proc_dointvec and proc_get_long of kernel/sysctl.c: the fields before a bad one are set, fewer
    than all leave the rest as it is, what follows the last is ignored; 0x is hexadecimal, 0 octal.
    Of kernel.sem an SEMMNI out of bounds alone is restored (proc_ipc_sem_dointvec of ipc/ipc_sysctl.c).
    """
    after = list(before)
    rest = text
    for at, (low, high) in enumerate(bounds):
        rest = rest.lstrip(_SPACE)
        if not rest:
            return tuple(after), at > 0
        found = _NUMBER.match(rest)
        if not found or len(found[0]) >= _TOO_LONG:
            return tuple(after), False
        digits = found[2].lower()
        number = int(found[1] + digits, 16 if digits[1:2] == "x" else 8 if digits[0] == "0" else 10)
        if not low <= number <= high:
            return tuple(after), False
        after[at] = number
        rest = rest[found.end() :]
    return tuple(after), True


def settle(writes: Iterable[Placed], bounds: Bounds) -> Settled:
    """Return what a setting of so many fields has after the writes."""
    numbers: Numbers = (None,) * len(bounds)
    placed: Optional[Placed] = None
    refused = []
    for write in writes:
        after, whole = taken(write.value, numbers, bounds)
        if whole or after != numbers:
            placed = write
        if not whole:
            refused.append(write)
        numbers = after
    return Settled(numbers, placed, tuple(refused))


def bounds_of(machine: Machine) -> Dict[str, Bounds]:
    """Return what this machine's kernel takes for each setting, be it of use or not."""
    bounds: Dict[str, Bounds] = {}
    for key, parameters in OF_KEY.items():
        bounds[key] = [(one.least, most_of(one, machine)) for one in parameters]
    # ipc/ipc_sysctl.c and mq_sysctl.c check only SEMMNI; fs/pipe.c rounds up (round_pipe_size).
    bounds["kernel.sem"] = [_ANY_INT, _ANY_INT, _ANY_INT, bounds["kernel.sem"][3]]
    bounds["fs.mqueue.queues_max"] = [_ANY_INT]
    bounds["fs.pipe-max-size"] = [(1, bounds["fs.pipe-max-size"][0][1])]
    return bounds


def standings(tree: Tree, path: str, machine: Machine) -> Dict[str, Standing]:
    """Return for each setting that our file at *path* names what becomes of our line at the next boot.

    The tree has that file (:meth:`Tree.with_file`).
    """
    directory, _, name = path.rpartition("/")
    alone = Tree({directory: {name: tree.directories[directory][name]}})
    bounds = bounds_of(machine)
    loaded = load(tree, bounds)
    found = {}
    for key, writes in systemd(alone, bounds).writes.items():
        wanted = settle(writes, bounds[key]).numbers
        fates = tuple(_fate(one, loaded[one], path, key, wanted, bounds[key]) for one in loaded)
        disagree = len({fate.settled.numbers for fate in fates}) > 1
        gaps = {gap: None for one in loaded.values() for gap in one.after(path)}
        found[key] = Standing(key, fates, disagree, (*tree.gaps, *gaps))
    return found


def _fate(loader: str, loaded: Loaded, path: str, key: str, wanted: Numbers, bounds: Bounds) -> Fate:
    settled = settle(loaded.writes.get(key, ()), bounds)
    decides = settled.placed or (settled.refused[-1] if settled.refused else None)
    wins = settled.numbers == wanted
    if path not in loaded.order:
        hides = next((one for one in loaded.order if one.rpartition("/")[2] == path.rpartition("/")[2]), "nothing")
        why = "%s is read in its place" % hides
    elif decides is None:
        why = "a later line excludes it"
    elif decides.file == path and wins:
        why = "line %d decides" % decides.line
    else:
        why = "%s:%d sets '%s'" % (decides.file, decides.line, decides.value)
        if decides.pattern:
            why += " for '%s'" % decides.pattern
        if settled.placed is None:
            why += ", which the kernel refuses: it keeps what it starts with"
    return Fate(loader, wins, settled, why)


# ---------------------------------------------------------------- lines, each as its loader reads them


def parse_systemd(text: bytes) -> Iterator[Line]:
    """Yield the lines of a file as systemd-sysctl reads them; a NUL and a lone CR end one, too."""
    for number, raw in enumerate(_SYSTEMD_LINES.split(_decoded(text)), 1):
        line = raw.strip(_BLANK)
        if not line or line[0] in "#;":
            continue
        key, equals, value = line.partition("=")
        marked = key.startswith("-")
        key = key[marked:].strip(_BLANK)
        if equals:
            yield Line(number, key, value.strip(_BLANK))
        else:
            yield Line(number, key, None, "" if marked else NO_ASSIGNMENT)


def parse_procps(text: bytes) -> Iterator[Line]:
    """Yield the lines of a file as procps 4 reads them; a NUL hides the rest of its line.

    A second ``-`` goes, too, and a blank after it stays: then the key is none.
    """
    for number, raw in enumerate(_decoded(text).split("\n"), 1):
        line = raw.partition("\0")[0].strip(_SPACE)
        if not line or line[0] in "#;":
            continue
        key, equals, value = line.partition("=")
        marked = key.startswith("-")
        key = key[marked:].rstrip(_SPACE)
        key = key[key.startswith("-") :]
        if equals:
            yield Line(number, key, value.strip(_SPACE))
        else:
            yield Line(number, key, None, "" if marked else NO_ASSIGNMENT)


def parse_procps_3(text: bytes) -> Iterator[Line]:
    """Yield the lines of a file as procps 3.3 reads them: with strtok(3), and nothing is excluded."""
    for number, raw in enumerate(_decoded(text).split("\n"), 1):
        line = raw.partition("\0")[0].rstrip(_BLANK).lstrip(" \t")
        if len(line) < 2 or line[0] in "#;":
            continue
        key, _, rest = line.lstrip("=").partition("=")
        value = rest.lstrip("\r").partition("\r")[0]
        key = key.rstrip(_BLANK)
        yield Line(number, key[key.startswith("-") :], value.lstrip(" \t"), "" if value else NO_ASSIGNMENT)


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


# ---------------------------------------------------------------- names of settings


def dotted(path: str) -> str:
    """Return a path below /proc/sys as sysctl(8) names it: a dot in a name is told as a slash."""
    return path.translate(_SWAP)


def _slashed(key: str) -> str:
    """Return what a key of a file means below /proc/sys: if its first separator is a dot, they change places."""
    first = _SEPARATOR.search(key)
    return key.translate(_SWAP) if first and first[0] == "." else key


def _simple(path: str) -> str:
    return "/".join(name for name in path.split("/") if name not in ("", "."))


def _expression(pattern: str) -> str:
    """Return a pattern for one name (glob(7)) as a regular expression."""
    parts, at = [], 0
    for found in _PIECE.finditer(pattern):
        wild, no, members = found.groups()
        parts.append(re.escape(pattern[at : found.start()]))
        at = found.end()
        if wild:
            parts.append("[^/]*" if wild == "*" else "[^/]")
        else:
            escaped = re.sub(r"[\[\]^&~|]", r"\\\g<0>", members)
            parts.append("[^%s/]" % escaped if no else "[%s]" % escaped)
    return "".join([*parts, re.escape(pattern[at:])])


# ---------------------------------------------------------------- a loader at work


class _Said(NamedTuple):
    """A line, and the file that it is in: as the loader names it, and where its text lies."""

    line: Line
    file: File


def _by_name(tree: Tree, *, hidden: bool, without: str = "") -> List[File]:
    """Return the files that count, in byte order of their names: of each name the one in the earliest directory."""
    found: Dict[str, File] = {}
    for directory in DIRECTORIES:
        if directory != without:
            for name, file in tree.directories.get(directory, {}).items():
                if name.endswith(".conf") and (hidden or not name.startswith(".")):
                    found.setdefault(name, file)
    return [found[name] for name in sorted(found, key=lambda name: name.encode("utf-8", "surrogateescape"))]


class _Run:
    """What one loader writes, leaves and cannot be told."""

    def __init__(self, keys: Iterable[str], parse: Callable[[bytes], Iterator[Line]]) -> None:
        self.parse = parse
        self.keys = {dotted(key): key for key in keys}
        self.writes: Dict[str, List[Placed]] = {}
        self.skipped: List[Skipped] = []
        self.order: List[str] = []
        self.gaps: List[Gap] = []

    def result(self) -> Loaded:
        writes = {key: tuple(placed) for key, placed in self.writes.items()}
        return Loaded(writes, tuple(self.skipped), tuple(self.order), tuple(self.gaps))

    def said(self, files: Iterable[File]) -> Iterator[_Said]:
        """Yield what all files say, in their order."""
        for file in files:
            self.order.append(file.path)
            if file.text is None:
                self.doubt(file.path, "it cannot be read")
                continue
            for line in self.parse(file.text):
                if line.why:
                    self.skip(_Said(line, file), line.why)
                else:
                    yield _Said(line, file)

    def put(self, key: str, said: _Said, pattern: str = "") -> None:
        line, file = said
        placed = Placed(line.value or "", file.place, line.number, pattern and dotted(pattern))
        self.writes.setdefault(key, []).append(placed)

    def write(self, path: str, said: _Said, *, exact: bool = False) -> None:
        """Write to what a path below /proc/sys leads to, be it to no setting. *exact*: no slash may follow it."""
        key = self.keys.get(_simple(path))
        if key is not None and not (exact and path.endswith(("/", "/."))):
            self.put(key, said)
        elif _simple(path.strip("-" + _SPACE)) in self.keys:
            self.skip(said, "to this loader '%s' is no setting" % said.line.key)
        elif "/.." in path:
            self.doubt(said.file.path, "line %d: what '..' leads to is not followed" % said.line.number)

    def matches(self, pattern: str, said: _Said, *, braces: bool = False) -> Iterator[Tuple[str, str]]:
        """Yield path and key of the settings that a pattern means, the path with the pattern's own slashes."""
        names = pattern.split("/")
        real = [at for at, name in enumerate(names) if name not in ("", ".")]
        try:
            expression = re.compile("/".join(_expression(names[at]) for at in real) + r"\Z")
        except re.error:  # a range that ends before it begins
            expression = None
        odd = [one for one in ("[[", "\\", "/..", *("{" * braces)) if one in pattern]
        if expression is None or odd or pattern.endswith(("/", "/.")):
            self.doubt(said.file.path, "line %d: the pattern '%s' is not followed" % (said.line.number, said.line.key))
            return
        for path, key in self.keys.items():
            if expression.match(path):
                for at, name in zip(real, path.split("/")):
                    names[at] = name
                yield "/".join(names), key

    def skip(self, said: _Said, why: str) -> None:
        line, file = said
        self.skipped.append(Skipped(line.key, file.place, line.number, why))

    def doubt(self, path: str, why: str) -> None:
        self.gaps.append(Gap(Evidence.SETTINGS, path, why))
