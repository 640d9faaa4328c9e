"""Reading the policy file: what its text states on top of the defaults, or where it is wrong."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Set, Tuple

from ..errors import InputError, unknown_word
from ..known.protections import SHIPPED
from ..model import OVERFLOW_ID, POSIX_KINDS, REMOVABLE_KINDS, SYSV_KINDS
from .policy import Policy, defaults, shipped
from .sections import BUILT_IN, ProtectSection, RemoveSection
from .settings import (
    ACCEPT,
    BACKUPS,
    EXEMPT_KINDS,
    LONGEST,
    METRIC_KINDS,
    MIN_AGE,
    ON_EXCESS,
    OWNER_GONE,
    PROTECT_KEYS,
    REMOVE_KEYS,
    SETTINGS,
)
from .values import parse_count, parse_duration, parse_key_range, parse_words, parse_yes

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z"
_HEADER = re.compile(r"\[(?P<header>[^]]+)\]\s*(?:[#;].*)?\Z")
"""A section's line. By itself configparser drops whatever follows, so a key on that line would say nothing."""
_NAMED_SECTIONS = ("protect NAME", "remove NAME")
_OVERFLOW_NAMES = (str(OVERFLOW_ID), "nobody", "nfsnobody")
"""The uid that unmapped ones read as, and what distributions call it."""

_NEVER_CERTAIN = ("sem", "msg", "posix-sem", "posix-mq")
"""Kinds whose orphans are strong at most: nothing counts who uses them, or no family of names is known."""


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
    parser.SECTCRE = _HEADER
    _check_headers(text, path)
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
        raise _Place(path, text, "\0").unknown("section", "\0", _known_sections())
    values = dict(defaults().values)
    written: Set[Tuple[str, str]] = set()
    own: List[ProtectSection] = []
    remove: List[RemoveSection] = []
    for section in parser.sections():
        where = _Place(path, text, section)
        word, _, name = section.partition(" ")
        if word == "protect":
            own.append(_protect_section(where, name.strip(), dict(parser.items(section))))
        elif word == "remove":
            remove.append(_remove_section(where, name.strip(), dict(parser.items(section))))
        else:
            _settings_section(where, dict(parser.items(section)), values)
            written |= {(section, key) for key in parser.options(section)}
    _check_exempt(values["audit", "exempt"], _Place(path, text, "audit"), rules)
    if values["audit", "near_limit"] > values["audit", "at_limit"]:
        place = _Place(path, text, "audit")
        key = "near_limit" if place.line("near_limit") > 1 else "at_limit"
        raise place.wrong(key, "puts near_limit above at_limit")
    for name, known in (("job", REMOVABLE_KINDS), ("metrics", METRIC_KINDS)):
        _check_kinds(values[name, "kinds"], _Place(path, text, name), "kinds", known, needed=True)
    return Policy(values, (*own, *shipped()), path, tuple(remove) or BUILT_IN, frozenset(written))


def _check_headers(text: str, path: str) -> None:
    for number, line in enumerate(text.split("\n"), 1):
        header, bracket, rest = line.rstrip("\r").partition("]")
        if header.startswith("[") and bracket and not _HEADER.match(header + bracket + rest):
            what = "what stands after %s] would not count; write it on a line of its own" % header
            raise InputError("policy %s line %d: %s" % (path, number, what))


class _Place:
    """Where in the file something stands, for messages."""

    def __init__(self, path: str, text: str, section: str) -> None:
        self.path, self.section, self.lines = path, section, text.split("\n")

    def line(self, key: Optional[str] = None) -> int:
        """Return the line of the section, or of a key in it; 1 when it is the default's."""
        inside = False
        for number, line in enumerate(self.lines, 1):
            stripped = line.strip()
            header = _HEADER.match(stripped)
            if header:
                inside = header["header"] == self.section
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


def _known_sections() -> List[str]:
    return [*dict.fromkeys(setting.section for setting in SETTINGS), *_NAMED_SECTIONS]


def _settings_section(where: _Place, items: Dict[str, str], values: Dict[Tuple[str, str], Any]) -> None:
    sections = _known_sections()
    if where.section not in sections:
        raise where.unknown("section", where.section, sections)
    known = {setting.name: setting for setting in SETTINGS if setting.section == where.section}
    for key, text in items.items():
        if key not in known:
            raise where.unknown("key", key, known, key)
        try:
            values[where.section, key] = known[key].value(text)
        except ValueError as error:
            raise where.wrong(key, "'%s' %s" % (text, error)) from error


def _protect_section(where: _Place, name: str, items: Dict[str, str]) -> ProtectSection:
    _check_names(where, name, items, PROTECT_KEYS, "[protect cache]")
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
    _check_kinds(kinds, where, "kind")
    return ProtectSection(
        name=name,
        reason=" ".join(items["reason"].split()),
        owners=parse_words(items.get("owner", "")),
        kinds=kinds,
        names=parse_words(items.get("name", "")),
        keys=_keys(where, items),
        units=parse_words(items.get("unit", "")),
        lift=lift,
    )


def _remove_section(where: _Place, name: str, items: Dict[str, str]) -> RemoveSection:
    _check_names(where, name, items, REMOVE_KEYS, "[remove leaked]")
    _check_empty(items, where)
    section = RemoveSection(
        name=name,
        kinds=parse_words(items.get("kind", "")),
        owners=parse_words(items.get("owner", "")),
        names=parse_words(items.get("name", "")),
        keys=_keys(where, items),
        min_age=_value(where, items, "min_age", parse_duration, MIN_AGE),
        owner_gone=_choice(where, items, "owner_gone", OWNER_GONE),
        accept=_choice(where, items, "accept", ACCEPT),
        max_removals=_value(where, items, "max_removals", parse_count, None),
        on_excess=_choice(where, items, "on_excess", ON_EXCESS),
        backup=_choice(where, items, "backup", BACKUPS),
        with_data=_value(where, items, "with_data", parse_yes, False),  # noqa: FBT003  # the default
    )
    if not section.kinds:
        raise where.wrong(None, "names no kind; write for instance kind = shm")
    _check_kinds(section.kinds, where, "kind")
    if section.min_age > LONGEST:
        raise where.wrong("min_age", "'%s' is out of bounds; at most %gd" % (items["min_age"], LONGEST / 86400))
    _check_criteria(where, section)
    _check_owners(where, section)
    _check_terms(where, section)
    return section


def _check_criteria(where: _Place, section: RemoveSection) -> None:
    """Refuse criteria that an object of one of the kinds can never match."""
    for key, given, kinds, instead in (
        ("name", section.names, SYSV_KINDS, "write key or owner"),
        ("key", section.keys, POSIX_KINDS, "write name or owner"),
    ):
        wrong = [kind for kind in section.kinds if kind in kinds]
        if given and wrong:
            what = "never matches kind %s, which has no %s; %s, or give it a section of its own"
            raise where.wrong(key, what % (wrong[0], key, instead))
    for word in section.names:
        if not word.startswith(("/", "*", "?", "[")):
            raise where.wrong("name", "'%s' matches nothing, names begin with /; write /%s" % (word, word))


def _check_owners(where: _Place, section: RemoveSection) -> None:
    uncounted = [kind for kind in section.kinds if kind in ("sem", "msg")]
    if uncounted and not section.owners:
        what = "needs an owner for kind %s, which nothing counts the users of; write owner = USER"
        raise where.wrong(None, what % uncounted[0])
    for owner in section.owners:
        if owner in _OVERFLOW_NAMES:
            what = "'%s' is what every uid reads as that is not mapped here, so it may be anybody; name another owner"
            raise where.wrong("owner", what % owner)
        if _means_any(owner):
            raise where.wrong("owner", "'%s' means anybody; write which users, @groups, or nameless" % owner)
        if owner.isdigit() and str(int(owner)) != owner:
            raise where.wrong("owner", "'%s' is no uid; write %d" % (owner, int(owner)))


def _check_terms(where: _Place, section: RemoveSection) -> None:
    """Refuse terms that do not suit the kinds."""
    kinds = section.kinds
    if section.owner_gone == "ignore":
        held = [kind for kind in kinds if kind not in ("shm", "posix-shm")]
        if held:
            what = "'ignore' would take %s that are in use, for nothing counts their users; write uid%s"
            raise where.wrong("owner_gone", what % (held[0], " or unit" if held[0] in SYSV_KINDS else ""))
        if "posix-shm" in kinds and not section.names:
            what = "'ignore' needs the names of files that nobody opens again; write for instance name = /psm_*"
            raise where.wrong("owner_gone", what)
        wide = [name for name in section.names if _means_any(name)]
        if wide:
            what = "'%s' is every file; with owner_gone = ignore write which, such as /psm_*"
            raise where.wrong("name", what % wide[0])
    named = [kind for kind in kinds if kind in POSIX_KINDS]
    if section.owner_gone == "unit" and named:
        what = "'unit' is for sets, and for segments and queues with a private key; write uid for kind %s"
        raise where.wrong("owner_gone", what % named[0])
    if section.owner_gone == "unit" and "sem" not in kinds and section.keys and (0, 0) not in section.keys:
        what = "'unit' takes only private keys of kind %s; write key = 0x0, or owner_gone = uid"
        raise where.wrong("owner_gone", what % kinds[0])
    if section.accept == "certain" and all(kind in _NEVER_CERTAIN for kind in kinds):
        what = "takes only what is certain, which kind %s never is; write accept = strong"
        raise where.wrong("accept" if where.line("accept") > 1 else None, what % kinds[0])
    if section.with_data and "msg" not in kinds:
        raise where.wrong("with_data", "is about queues; add kind = msg, or leave it out")


def _means_any(glob: str) -> bool:
    """Whether a glob states no letter that a name must have."""
    return not re.sub(r"\[[^]]*\]", "", glob).strip("/*?")


def _check_names(where: _Place, name: str, items: Iterable[str], known: Iterable[str], example: str) -> None:
    if not re.match(_NAME, name):
        raise where.wrong(None, "needs a name of letters, digits, '.', '_' and '-', such as %s" % example)
    for key in items:
        if key not in known:
            raise where.unknown("key", key, known, key)


def _check_kinds(
    kinds: Tuple[str, ...],
    where: _Place,
    key: str,
    known: Tuple[str, ...] = REMOVABLE_KINDS,
    *,
    needed: bool = False,
) -> None:
    if needed and not kinds:
        raise where.wrong(key, "is empty; write which kinds, or leave it out")
    for kind in kinds:
        if kind not in known:
            raise where.unknown("kind", kind, known, key)


def _keys(where: _Place, items: Mapping[str, str]) -> Tuple[Tuple[int, int], ...]:
    try:
        return tuple(parse_key_range(word) for word in parse_words(items.get("key", "")))
    except ValueError as error:
        raise where.wrong("key", "'%s' %s" % (items["key"], error)) from error


def _value(where: _Place, items: Mapping[str, str], key: str, parse: Callable[[str], Any], default: Any) -> Any:
    if key not in items:
        return default
    try:
        return parse(items[key])
    except ValueError as error:
        raise where.wrong(key, "'%s' %s" % (items[key], error)) from error


def _choice(where: _Place, items: Mapping[str, str], key: str, choices: Tuple[str, ...]) -> str:
    """Return one of the *choices*; without the key the first, the default."""
    word = items.get(key, choices[0]).strip()
    if word not in choices:
        raise where.unknown(key, word, choices, key)
    return word


def _check_empty(items: Mapping[str, str], where: _Place) -> None:
    for key, text in items.items():
        if not parse_words(text):
            raise where.wrong(key, "is empty, which would mean any; leave it out, or say which")


def _check_exempt(entries: Iterable[str], where: _Place, some: Iterable[str]) -> None:
    rules = list(some) if entries else ()
    for entry in entries:
        rule, _, rest = entry.partition(":")
        if rules and rule not in rules:
            raise where.unknown("rule", rule, rules, "exempt")
        kind, _, pattern = rest.partition(":")
        if rest and kind not in EXEMPT_KINDS:
            raise where.unknown("kind", kind, EXEMPT_KINDS, "exempt")
        if rest and not pattern:
            raise where.wrong("exempt", "'%s' names no object; write RULE:KIND:OBJECT" % entry)
