"""The policy in force: the settings, what is protected, and what may go."""

from __future__ import annotations

from typing import Any, FrozenSet, Iterable, Iterator, Mapping, Optional, Tuple

from ..known.protections import SHIPPED
from ..model import Protection
from .sections import BUILT_IN, Candidate, ProtectSection, RemoveSection
from .settings import NAMELESS, SETTINGS
from .values import parse_words


class Policy:
    """The settings in force, what is protected, and what may go."""

    def __init__(
        self,
        values: Mapping[Tuple[str, str], Any],
        protect: Tuple[ProtectSection, ...],
        source: str = "the defaults",
        remove: Tuple[RemoveSection, ...] = BUILT_IN,
        written: FrozenSet[Tuple[str, str]] = frozenset(),
    ) -> None:
        self.values = values
        self.protect = protect
        self.source = source
        self.remove = remove
        self.written = written
        """Section and key of the settings that the file itself states."""

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
        }
        owners |= {owner for section in self.remove for owner in section.owners if owner != NAMELESS}
        owners = {owner for owner in owners if not owner.isdigit() and not set(owner) & set("*?[")}
        return frozenset(owners | {word for word in self["scan", "unreadable_ok"] if "." not in word})

    @property
    def groups(self) -> FrozenSet[str]:
        """The groups that sections name."""
        owners = [owner for one in self.protect for owner in one.owners]
        owners += [owner for one in self.remove for owner in one.owners]
        return frozenset(owner[1:] for owner in owners if owner.startswith("@"))

    @property
    def uses_units(self) -> bool:
        """Whether any protect section asks for systemd units."""
        return any(section.units for section in self.protect)

    @property
    def job_kinds(self) -> Tuple[str, ...]:
        """The kinds that the end of a user's job takes."""
        return tuple(self["job", "kinds"])

    @property
    def job_accept(self) -> str:
        """The least confidence at which it takes them: what the file itself names goes at ``strong``."""
        return "strong" if ("job", "kinds") in self.written else "certain"

    @property
    def hash(self) -> str:
        """A checksum of what the policy means, in hexadecimal: comments, order of keys and its place change nothing."""
        from _blake2 import blake2b  # all that hashlib has of it; that loads OpenSSL, for a tenth of a plan's time

        meaning = (sorted(self.values.items()), self.protect, self.remove, self.job_accept)
        return str(blake2b(repr(meaning).encode("utf-8", "surrogateescape"), digest_size=32).hexdigest())

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
        from fnmatch import fnmatchcase

        words = list(names)
        for entry in self.values["audit", "exempt"]:
            wanted, _, rest = entry.partition(":")
            if wanted != rule:
                continue
            if not rest:
                return True
            its_kind, _, pattern = rest.partition(":")
            if its_kind == kind and any(fnmatchcase(word, pattern) for word in words):
                return True
        return False


def defaults() -> Policy:
    """Return the policy without a file."""
    values = {(setting.section, setting.name): setting.value(setting.default) for setting in SETTINGS}
    return Policy(values, tuple(shipped()))


def shipped() -> Iterator[ProtectSection]:
    """Yield the sections that protect what is known to outlive its processes."""
    for name, keys in SHIPPED.items():
        yield ProtectSection(
            name=name,
            reason=keys["reason"],
            owners=parse_words(keys.get("owner", "")),
            kinds=parse_words(keys.get("kind", "")),
            names=parse_words(keys.get("name", "")),
        )
