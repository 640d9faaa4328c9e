"""The one statement of every setting, and the policy file that sets them.

``/etc/ipcops/ipcops.conf`` is an INI file. A setting is declared here once: the file's
documentation (``ipcops render policy``), its parser and the defaults are made from it.
"""

from __future__ import annotations

import fnmatch
import re
from typing import Any, Callable, Dict, FrozenSet, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from .errors import InputError, unknown_word
from .known.idioms import IDIOMS
from .known.protections import SHIPPED
from .model import KINDS, REMOVABLE_KINDS, Protection

DEFAULT_PATH = "/etc/ipcops/ipcops.conf"

_NUMBER = r"([0-9]{1,15}(?:\.[0-9]+)?)"
_DURATION = re.compile(_NUMBER + r"\s*(s|m|h|d|w)?\Z")
_SECONDS = {None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_PERCENT = re.compile(_NUMBER + r"\s*%?\Z")
_SIZE = re.compile(_NUMBER + r"\s*(?:([KMGT])(?:iB|B)?|B)?\Z", re.IGNORECASE)
_BYTES = {None: 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")


# ---------------------------------------------------------------- kinds of values


def parse_duration(text: str) -> float:
    """Return seconds from ``90``, ``90s``, ``10m``, ``24h``, ``7d`` or ``2w``. Raise ValueError."""
    found = _DURATION.match(text.strip())
    if not found:
        raise ValueError("is no duration; write a number with s, m, h, d or w, such as 24h")
    return float(found.group(1)) * _SECONDS[found.group(2)]


def parse_size(text: str) -> int:
    """Return bytes from ``4096``, ``64M`` or ``1.5 GiB`` (powers of 1024). Raise ValueError."""
    found = _SIZE.match(text.strip())
    if not found:
        raise ValueError("is no size; write a number with K, M, G or T, such as 64M")
    unit = found.group(2)
    return int(float(found.group(1)) * _BYTES[unit.upper() if unit else None])


def parse_percent(text: str) -> float:
    """Return a share from ``90`` or ``90 %``. Raise ValueError."""
    found = _PERCENT.match(text.strip())
    if not found:
        raise ValueError("is no percentage; write a number such as 90")
    return float(found.group(1)) / 100


def parse_yes(text: str) -> bool:
    """Return whether the word is yes. Raise ValueError for anything but yes and no."""
    word = text.strip().lower()
    if word in ("yes", "true", "on", "1"):
        return True
    if word in ("no", "false", "off", "0"):
        return False
    raise ValueError("is neither yes nor no")


def parse_words(text: str) -> Tuple[str, ...]:
    """Return the words of a list; blanks, commas and line ends part them."""
    return tuple(word for word in re.split(r"[\s,]+", text.strip()) if word)


def parse_directories(text: str) -> Tuple[str, ...]:
    """Return the paths of a list, as parse_words does. Raise ValueError at one that is not absolute."""
    paths = parse_words(text)
    for path in paths:
        if not path.startswith("/") or "\0" in path:
            raise ValueError("names '%s', which is no absolute path; write it from / on, such as /run" % path)
    return paths


def parse_key_range(text: str) -> Tuple[int, int]:
    """Return the first and last key of ``0x1234`` or ``0x4d2-0xcee``. Raise ValueError."""
    first, dash, last = text.strip().partition("-")
    try:
        low = int(first, 0)
        high = int(last, 0) if dash else low
    except ValueError:
        raise ValueError("is no key; write 0x1234 or a range such as 0x4d2-0xcee") from None
    if not 0 <= low <= high <= 0xFFFFFFFF:
        raise ValueError("is no key between 0x0 and 0xffffffff")
    return low, high


# ---------------------------------------------------------------- settings


class Setting(NamedTuple):
    """One key of the policy file: its default as a user writes it, unit, bounds and meaning."""

    section: str
    name: str
    default: str
    unit: str
    meaning: str
    parse: Callable[[str], Any]
    least: Optional[float] = None
    most: Optional[float] = None

    def value(self, text: str) -> Any:
        """Return the value of *text*. Raise ValueError, with the bounds when it is outside them."""
        value = self.parse(text)
        if (self.least is not None and value < self.least) or (self.most is not None and value > self.most):
            raise ValueError("is out of bounds; from %s to %s" % (self.bounds()))
        return value

    def bounds(self) -> Tuple[str, str]:
        """Return the least and the greatest value as a user writes them."""
        return _bound(self.parse, self.least, "nothing"), _bound(self.parse, self.most, "any")


def _bound(parse: Callable[[str], Any], value: Optional[float], none: str) -> str:
    if value is None:
        return none
    if parse is parse_percent:
        return "%g" % (value * 100)
    if parse is parse_duration:
        return "%gd" % (value / 86400) if value >= 86400 else "%gs" % value
    return "%g" % value


EXEMPT_KINDS = (*KINDS, "container")
"""What ``exempt`` can name besides a rule: objects, and containers as a whole."""

_YEAR = 366 * 86400.0

SETTINGS: Tuple[Setting, ...] = (
    Setting(
        "scan", "deadline", "10s", "duration",
        "How long looking may take. What was not reached by then is reported as not seen, and whatever"
        " depends on it is unknown.",
        parse_duration, 0.01, 3600,
    ),
    Setting(
        "scan", "fifo_dirs", "/tmp /run /var/tmp /var/spool", "directories",
        "Where to look for FIFOs and socket files: in these directories and up to three levels below, but not"
        " in what is mounted there, for 20,000 entries or 50 ms in all.",
        parse_directories,
    ),
    Setting(
        "scan", "unreadable_ok", "", "users or systemd units",
        "Processes whose maps, descriptors, namespaces and system calls may stay unseen, by user or unit. Pid 1 always"
        " counts as unit init.scope: some machines refuse its maps even to root.",
        parse_words,
    ),
    Setting(
        "scan", "mq_notify", "no", "yes or no",
        "Whether to read which process a POSIX queue notifies. The kernel changes the queue's ctime when"
        " this is read; nothing else that ipcops reads leaves a trace.",
        parse_yes,
    ),
    Setting(
        "audit", "orphan_age", "24h", "duration",
        "An unused object younger than this is idle; only an older one can be an orphan. Age runs on the"
        " boot clock, so a clock that jumps makes nothing old.",
        parse_duration, 0, _YEAR,
    ),
    Setting(
        "audit", "idle_age", "7d", "duration",
        "An idle object must be unused for this long before its size makes it a finding, or a FIFO before it"
        " is one by itself.",
        parse_duration, 0, _YEAR,
    ),
    Setting(
        "audit", "idle_size", "64M", "size",
        "An idle object at least this large and unused for idle_age is a finding.",
        parse_size, 0,
    ),
    Setting(
        "audit", "near_limit", "75", "% of a limit",
        "From this share of a limit on, its rule reports medium.",
        parse_percent, 0.01, 1,
    ),
    Setting(
        "audit", "at_limit", "90", "% of a limit",
        "From this share of a limit on, its rule reports high.",
        parse_percent, 0.01, 1,
    ),
    Setting(
        "audit", "orphans_of_memory", "10", "% of memory",
        "Orphaned segments that together exceed this share of memory are high instead of medium.",
        parse_percent, 0, 1,
    ),
    Setting(
        "audit", "leaks_of_shm", "25", "% of /dev/shm",
        "Leaked files that together exceed this share of /dev/shm are high instead of medium.",
        parse_percent, 0, 1,
    ),
    Setting(
        "audit", "shm_full_high", "85", "% of /dev/shm",
        "From this use of its bytes or inodes on, /dev/shm is reported high.",
        parse_percent, 0.01, 1,
    ),
    Setting(
        "audit", "shm_full_critical", "95", "% of /dev/shm",
        "From this use of its bytes or inodes on, /dev/shm is reported critical.",
        parse_percent, 0.01, 1,
    ),
    Setting(
        "audit", "exempt", "", "RULE or RULE:KIND:OBJECT",
        "Findings that are accepted here: a whole rule (MSG-007), or a rule for one object by id, key or"
        " path, globs allowed (SHM-001:shm:0x0052e2c1, PSHM-001:posix-shm:/cache-*), or for one container by"
        " its id (HOST-003:container:1f2e3d*).",
        parse_words,
    ),
)  # fmt: skip

PROTECT_KEYS: Dict[str, str] = {
    "owner": "users (names, globs of names, or uids) or @groups that own the object",
    "kind": "kinds: " + " ".join(REMOVABLE_KINDS),
    "name": "globs of POSIX names, such as /cache-*",
    "key": "System V keys or ranges, such as 0x1234 or 0x4d2-0xcee",
    "unit": "systemd units: the object has a holder in one of them, or its owner runs one",
    "reason": "why (required)",
    "lift": "the shipped section that this one lifts, for what the other keys match",
}


class ProtectSection(NamedTuple):
    """One ``[protect NAME]``: an object must match every criterion that is given."""

    name: str
    reason: str
    owners: Tuple[str, ...] = ()
    kinds: Tuple[str, ...] = ()
    names: Tuple[str, ...] = ()
    keys: Tuple[Tuple[int, int], ...] = ()
    units: Tuple[str, ...] = ()
    lift: Optional[str] = None

    def covers(self, candidate: Candidate, members: Mapping[str, FrozenSet[str]]) -> bool:
        """Whether the section is about this object. *members* are the users of each named group."""
        return (
            (not self.kinds or candidate.kind in self.kinds)
            and (not self.owners or any(_owned(owner, candidate, members) for owner in self.owners))
            and (not self.names or any(_globbed(candidate.path, name) for name in self.names))
            and (not self.keys or any(_in_range(candidate.key, one) for one in self.keys))
            and (not self.units or not candidate.units.isdisjoint(self.units))
        )


class Candidate(NamedTuple):
    """What of an object a ``[protect]`` section can ask for."""

    kind: str
    uid: Optional[int]
    user: Optional[str]
    key: Optional[int] = None
    path: Optional[str] = None
    units: FrozenSet[str] = frozenset()


def _owned(owner: str, candidate: Candidate, members: Mapping[str, FrozenSet[str]]) -> bool:
    user = candidate.user
    if candidate.uid is not None and owner == str(candidate.uid):
        return True
    if user is None:
        return False
    if owner.startswith("@"):
        return user in members.get(owner[1:], ())
    return fnmatch.fnmatchcase(user, owner)


def _globbed(path: Optional[str], pattern: str) -> bool:
    return path is not None and fnmatch.fnmatchcase(path, pattern)


def _in_range(key: Optional[int], span: Tuple[int, int]) -> bool:
    return key is not None and span[0] <= key <= span[1]


class Policy:
    """The settings in force, and what is protected."""

    def __init__(
        self,
        values: Mapping[Tuple[str, str], Any],
        protect: Tuple[ProtectSection, ...],
        source: str = "the defaults",
    ) -> None:
        self.values = values
        self.protect = protect
        self.source = source

    def __getitem__(self, where: Tuple[str, str]) -> Any:
        return self.values[where]

    @property
    def people(self) -> FrozenSet[str]:
        """The users and @groups that the file itself names, globs and numbers aside."""
        owners = {
            owner
            for section in self.protect
            if section.lift or section.name not in SHIPPED
            for owner in section.owners
            if not owner.isdigit() and not set(owner) & set("*?[")
        }
        return frozenset(owners | {word for word in self["scan", "unreadable_ok"] if "." not in word})

    @property
    def groups(self) -> FrozenSet[str]:
        """The groups that protect sections name."""
        return frozenset(
            owner[1:] for section in self.protect for owner in section.owners if owner.startswith("@")
        )

    @property
    def uses_units(self) -> bool:
        """Whether any section asks for systemd units."""
        return any(section.units for section in self.protect)

    def protection(self, candidate: Candidate, members: Mapping[str, FrozenSet[str]]) -> Optional[Protection]:
        """Return what protects the object; own sections first, then those shipped and not lifted."""
        covering = [section for section in self.protect if section.covers(candidate, members)]
        lifted = {section.lift for section in covering if section.lift}
        for section in covering:
            if section.lift is None and section.name not in lifted:
                return Protection(section.name, section.reason)
        return None

    def exempts(self, rule: str, kind: Optional[str], names: Iterable[str]) -> bool:
        """Whether ``exempt`` accepts this rule for an object that goes by any of *names*."""
        words = list(names)
        for entry in self.values["audit", "exempt"]:
            wanted, _, rest = entry.partition(":")
            if wanted != rule:
                continue
            if not rest:
                return True
            its_kind, _, pattern = rest.partition(":")
            if its_kind == kind and any(fnmatch.fnmatchcase(word, pattern) for word in words):
                return True
        return False


# ---------------------------------------------------------------- the file


def defaults() -> Policy:
    """Return the policy without a file."""
    values = {(setting.section, setting.name): setting.value(setting.default) for setting in SETTINGS}
    return Policy(values, tuple(_shipped()))


def _shipped() -> Iterator[ProtectSection]:
    for name, keys in SHIPPED.items():
        yield ProtectSection(
            name=name,
            reason=keys["reason"],
            owners=parse_words(keys.get("owner", "")),
            kinds=parse_words(keys.get("kind", "")),
            names=parse_words(keys.get("name", "")),
        )


def parse_policy(text: str, path: str, rules: Iterable[str] = ()) -> Policy:
    """Return the policy that *text* states on top of the defaults.

    Raise InputError naming file, line and the nearest valid word for anything unknown or out
    of bounds. *rules* are the rule ids that ``exempt`` may name; empty checks none.
    """
    import configparser  # most hosts have no policy file

    parser = configparser.ConfigParser(
        interpolation=None, strict=True, default_section="\0", empty_lines_in_values=False
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys are case-sensitive
    try:
        parser.read_string(text, source=path)
    except configparser.DuplicateSectionError as error:
        what = "[%s] is there already; write its keys together" % error.section
        raise InputError("policy %s line %s: %s" % (path, error.lineno, what)) from error
    except configparser.DuplicateOptionError as error:
        what = "[%s] %s is there already" % (error.section, error.option)
        raise InputError("policy %s line %s: %s" % (path, error.lineno, what)) from error
    except configparser.MissingSectionHeaderError as error:
        what = "this is no [section], and none stands before it"
        raise InputError("policy %s line %s: %s" % (path, error.lineno, what)) from error
    except configparser.ParsingError as error:
        line = error.errors[0][0]
        raise InputError("policy %s line %d: neither a [section] nor KEY = VALUE" % (path, line)) from error
    if parser.defaults():
        raise _Place(path, text, "\0").unknown("section", "\0", ["scan", "audit", "protect NAME"])
    values = dict(defaults().values)
    own: List[ProtectSection] = []
    for section in parser.sections():
        where = _Place(path, text, section)
        word, _, name = section.partition(" ")
        if word == "protect":
            own.append(_protect_section(where, name.strip(), dict(parser.items(section))))
        else:
            _settings_section(where, dict(parser.items(section)), values)
    _check_exempt(values["audit", "exempt"], _Place(path, text, "audit"), list(rules))
    if values["audit", "near_limit"] > values["audit", "at_limit"]:
        place = _Place(path, text, "audit")
        key = "near_limit" if place.line("near_limit") > 1 else "at_limit"
        raise place.wrong(key, "puts near_limit above at_limit")
    return Policy(values, (*own, *_shipped()), source=path)


class _Place:
    """Where in the file something stands, for messages."""

    def __init__(self, path: str, text: str, section: str) -> None:
        self.path, self.section, self.lines = path, section, text.split("\n")

    def line(self, key: Optional[str] = None) -> int:
        """Return the line of the section, or of a key in it; 1 when it is the default's."""
        inside = False
        for number, line in enumerate(self.lines, 1):
            stripped = line.strip()
            if stripped.startswith("["):
                inside = stripped[1:].split("]")[0] == self.section
                if inside and key is None:
                    return number
            elif inside and key is not None and re.match(re.escape(key) + r"\s*[=:]", stripped):
                return number
        return 1

    def wrong(self, key: Optional[str], what: str) -> InputError:
        subject = "[%s]" % self.section + (" %s" % key if key else "")
        return InputError("policy %s line %d: %s %s" % (self.path, self.line(key), subject, what))

    def unknown(self, what: str, word: str, known: Iterable[str], key: Optional[str] = None) -> InputError:
        return InputError("policy %s line %d: %s" % (self.path, self.line(key), unknown_word(what, word, known)))


def _settings_section(where: _Place, items: Dict[str, str], values: Dict[Tuple[str, str], Any]) -> None:
    sections = list(dict.fromkeys(setting.section for setting in SETTINGS))
    if where.section not in sections:
        raise where.unknown("section", where.section, [*sections, "protect NAME"])
    known = {setting.name: setting for setting in SETTINGS if setting.section == where.section}
    for key, text in items.items():
        if key not in known:
            raise where.unknown("key", key, known, key)
        try:
            values[where.section, key] = known[key].value(text)
        except ValueError as error:
            raise where.wrong(key, "'%s' %s" % (text, error)) from error


def _protect_section(where: _Place, name: str, items: Dict[str, str]) -> ProtectSection:
    if not _NAME.match(name):
        raise where.wrong(None, "needs a name of letters, digits, '.', '_' and '-', such as [protect cache]")
    for key in items:
        if key not in PROTECT_KEYS:
            raise where.unknown("key", key, PROTECT_KEYS, key)
    if not items.get("reason", "").strip():
        raise where.wrong(None, "needs a reason")
    lift = items.get("lift")
    if lift is not None and lift not in SHIPPED:
        raise where.unknown("shipped section", lift, SHIPPED, "lift")
    if lift is None and name in SHIPPED:
        raise where.wrong(None, "has the name of a shipped section; choose another, or lift it with 'lift = %s'" % name)
    if lift is None and not any(items[key].strip() for key in items if key != "reason"):
        raise where.wrong(None, "protects nothing; give owner, kind, name, key or unit")
    _check_empty(items, where)
    kinds = parse_words(items.get("kind", ""))
    for kind in kinds:
        if kind not in REMOVABLE_KINDS:
            raise where.unknown("kind", kind, REMOVABLE_KINDS, "kind")
    try:
        keys = tuple(parse_key_range(word) for word in parse_words(items.get("key", "")))
    except ValueError as error:
        raise where.wrong("key", "'%s' %s" % (items["key"], error)) from error
    return ProtectSection(
        name=name,
        reason=" ".join(items["reason"].split()),
        owners=parse_words(items.get("owner", "")),
        kinds=kinds,
        names=parse_words(items.get("name", "")),
        keys=keys,
        units=parse_words(items.get("unit", "")),
        lift=lift,
    )


def _check_empty(items: Mapping[str, str], where: _Place) -> None:
    for key, text in items.items():
        if not parse_words(text):
            raise where.wrong(key, "is empty, which would mean any; leave it out, or say which")


def _check_exempt(entries: Iterable[str], where: _Place, rules: List[str]) -> None:
    for entry in entries:
        rule, _, rest = entry.partition(":")
        if rules and rule not in rules:
            raise where.unknown("rule", rule, rules, "exempt")
        kind, _, pattern = rest.partition(":")
        if rest and kind not in EXEMPT_KINDS:
            raise where.unknown("kind", kind, EXEMPT_KINDS, "exempt")
        if rest and not pattern:
            raise where.wrong("exempt", "'%s' names no object; write RULE:KIND:OBJECT" % entry)


def idiom(kind: str, path: Optional[str]) -> Optional[str]:
    """Return why an object is a known good use, if it is one."""
    if path is None:
        return None
    return next(
        (one.why for one in IDIOMS if one.kind == kind and fnmatch.fnmatchcase(path, one.name)), None
    )
