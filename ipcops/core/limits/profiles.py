"""Profiles: what a program asks of the kernel's limits, as named and sourced floors in a file that anybody can write.

A section ``[NAME]`` has ``title``, ``source``, perhaps a ``note``, ``term NAME = NUMBER MEANING`` for what only its
user knows, and ``PARAMETER = FORMULA``; ``source PARAMETER`` is where a single figure comes from. Lines that are
indented continue the one before; ``#`` and ``;`` begin comments.
"""

from __future__ import annotations

import re
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

from ..errors import InputError, unknown_word
from ..tuples import NamedTuple
from .formula import FormulaError, names_of, value_of
from .parameters import BY_NAME, NAMES, OF_KEY, Floor, Machine

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*\Z")
_TERM = re.compile(r"[a-z][a-z0-9_]*\Z")
_COUNT = re.compile(r"[0-9]{1,18}\Z")
_WORDS = ("title", "source", "note")


class Term(NamedTuple):
    """What a formula asks of the user: its value unless given, and what it means."""

    default: int
    meaning: str


class Profile(NamedTuple):
    """What one program asks for."""

    name: str
    title: str
    source: str
    note: str
    terms: Mapping[str, Term]
    floors: Mapping[str, str]
    """Parameter to formula."""
    sources: Mapping[str, str]
    """Parameter to source, where it is not the profile's."""
    file: Optional[str] = None
    """Where it was read; ``None``: it is shipped."""


class Wanted(NamedTuple):
    """A profile that was asked for, with the terms that were given."""

    name: str
    terms: Mapping[str, int]


class _Line(NamedTuple):
    section: str
    key: str
    value: str
    number: int


def _lines(text: str, path: str) -> Iterator[_Line]:
    """Yield the assignments of a file, and a line without a key for each section. Raise InputError."""
    section: Optional[str] = None
    held: Optional[_Line] = None
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if raw[0] in " \t" and held is not None and held.key:
            held = held._replace(value="%s %s" % (held.value, line))
            continue
        if held is not None:
            yield held
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip()
            held = _Line(section, "", "", number)
            continue
        key, equals, value = line.partition("=")
        if not equals or not key.strip() or section is None:
            what = "neither a [section] nor KEY = VALUE" if section is not None else "no [section] stands before it"
            raise InputError("profiles %s line %d: %s" % (path, number, what))
        held = _Line(section, " ".join(key.split()), value.strip(), number)
    if held is not None:
        yield held


def parse_profiles(text: str, path: str, file: Optional[str] = None) -> List[Profile]:
    """Return the profiles that a file states. Raise InputError naming file, line and the nearest valid word."""
    found: Dict[str, Dict[str, _Line]] = {}
    for line in _lines(text, path):
        if not line.key:
            if line.section in found:
                raise _wrong(path, line, "[%s] is there already" % line.section)
            if not _NAME.match(line.section):
                raise _wrong(path, line, "[%s] is no name; write small letters, digits, '.', '_', '-'" % line.section)
            found[line.section] = {"": line}
            continue
        if line.key in found[line.section]:
            raise _wrong(path, line, "[%s] %s is there already" % (line.section, line.key))
        found[line.section][line.key] = line
    return [_profile(name, lines, path, file) for name, lines in found.items()]


def _wrong(path: str, line: _Line, what: str) -> InputError:
    return InputError("profiles %s line %d: %s" % (path, line.number, what))


def _profile(name: str, lines: Dict[str, _Line], path: str, file: Optional[str]) -> Profile:
    words = dict.fromkeys(_WORDS, "")
    terms: Dict[str, Term] = {}
    floors: Dict[str, str] = {}
    sources: Dict[str, str] = {}
    for key, line in lines.items():
        first, _, rest = key.partition(" ")
        if key in _WORDS:
            words[key] = line.value
        elif first == "term" and rest:
            terms[rest] = _term(path, line, rest)
        elif first == "source" and rest:
            _check_parameter(path, line, rest)
            sources[rest] = line.value
        elif key:
            _check_parameter(path, line, key)
            floors[key] = line.value
    for word in ("title", "source"):
        if not words[word]:
            raise _wrong(path, lines[""], "[%s] needs a %s" % (name, word))
    if not floors:
        raise _wrong(path, lines[""], "[%s] asks for nothing; write PARAMETER = FORMULA" % name)
    for key in floors:
        _check_formula(path, lines[key], terms)
    for key in sources:
        if key not in floors:
            raise _wrong(path, lines["source " + key], "[%s] has no %s" % (name, key))
    return Profile(name, words["title"], words["source"], words["note"], terms, floors, sources, file)


def _term(path: str, line: _Line, name: str) -> Term:
    number, _, meaning = line.value.partition(" ")
    if not _TERM.match(name) or name in NAMES:
        raise _wrong(path, line, "'%s' is no name of a term, or taken; write small letters, digits and '_'" % name)
    if not _COUNT.match(number) or not meaning.strip():
        raise _wrong(path, line, "term %s needs a whole number and then its meaning" % name)
    return Term(int(number), meaning.strip())


def _check_parameter(path: str, line: _Line, name: str) -> None:
    """Refuse what is no parameter, or none that a profile may ask for."""
    if name in BY_NAME and BY_NAME[name].floor:
        return
    if name in BY_NAME:
        raise _wrong(path, line, "no profile may ask for %s: %s" % (name, NEVER[name]))
    if name in OF_KEY:
        names = ", ".join(one.name for one in OF_KEY[name])
        raise _wrong(path, line, "%s is several numbers; write them as %s" % (name, names))
    known = [one.name for one in BY_NAME.values() if one.floor]
    raise _wrong(path, line, str(unknown_word("parameter", name, known)))


NEVER = {
    "kernel.shm_rmid_forced": "setting it destroys every segment that nobody has attached, at once",
    "vm.hugetlb_shm_group": "it is a group of this host, not a limit",
}
"""Parameters that come from no profile and no command line, and why."""


def _check_formula(path: str, line: _Line, terms: Mapping[str, Term]) -> None:
    try:
        for word in names_of(line.value):
            if word not in NAMES and word not in terms:
                raise _wrong(path, line, "%s: %s" % (line.key, unknown_word("name", word, [*NAMES, *terms])))
    except FormulaError as error:
        raise _wrong(path, line, "%s '%s' %s" % (line.key, line.value, error)) from error


# ---------------------------------------------------------------- what is asked for


def parse_wanted(word: str, known: Mapping[str, Profile]) -> Wanted:
    """Return the profile and the terms of ``NAME`` or ``NAME:TERM=NUMBER:TERM=NUMBER``. Raise InputError."""
    name, *rest = word.split(":")
    if name not in known:
        raise unknown_word("profile", name, known)
    terms: Dict[str, int] = {}
    for one in rest:
        term, equals, value = (part.strip() for part in one.partition("="))
        if not known[name].terms:
            raise InputError("profile '%s' has no terms to set" % name)
        if term not in known[name].terms:
            raise unknown_word("term of profile '%s':" % name, term, known[name].terms)
        if not equals or not _COUNT.match(value):
            raise InputError("'%s' sets no term of profile '%s'; write %s=%d" % (
                one, name, term, known[name].terms[term].default))  # fmt: skip
        terms[term] = int(value)
    return Wanted(name, terms)


def floors_of(profile: Profile, terms: Mapping[str, int], machine: Machine) -> List[Floor]:
    """Return what a profile asks of this host. Raise FormulaError where a formula has no value here."""
    names = {**machine.names(), **{name: one.default for name, one in profile.terms.items()}, **terms}
    found = []
    for name, formula in profile.floors.items():
        try:
            value = value_of(formula, names)
        except FormulaError as error:
            raise FormulaError("profile '%s': %s = %s %s" % (profile.name, name, formula, error)) from error
        found.append(Floor(profile.name, name, value, formula, profile.sources.get(name, profile.source)))
    return found


def merged(profiles: Sequence[Profile]) -> Dict[str, Profile]:
    """Return profiles by name; a later one of the same name takes an earlier one's place."""
    return {one.name: one for one in profiles}


def told(profile: Profile, terms: Mapping[str, int], machine: Machine) -> Dict[str, Any]:
    """Return a profile as reports tell it; a floor that has no value here is ``None``."""
    names = {**machine.names(), **{name: one.default for name, one in profile.terms.items()}, **terms}
    rows = []
    for name, formula in profile.floors.items():
        try:
            value: Optional[int] = value_of(formula, names)
        except FormulaError:
            value = None
        source = profile.sources.get(name, profile.source)
        merge = BY_NAME[name].merge
        rows.append({"name": name, "floor": value, "formula": formula, "merge": merge, "source": source})
    return {
        "name": profile.name,
        "title": profile.title,
        "source": profile.source,
        "note": profile.note or None,
        "file": profile.file,
        "terms": [
            {"name": name, "value": terms.get(name, one.default), "default": one.default, "meaning": one.meaning}
            for name, one in profile.terms.items()
        ],
        "parameters": rows,
    }


