"""The named sections of a policy: what may go, what never goes, and which objects each is about."""

from __future__ import annotations

from typing import FrozenSet, Mapping, Optional, Tuple

from ..model import OVERFLOW_ID
from ..tuples import NamedTuple
from .settings import MIN_AGE, NAMELESS


class Candidate(NamedTuple):
    """What of an object a ``[protect]`` section can ask for."""

    kind: str
    uid: Optional[int]
    user: Optional[str]
    key: Optional[int] = None
    path: Optional[str] = None
    units: FrozenSet[str] = frozenset()

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

class RemoveSection(NamedTuple):
    """One ``[remove NAME]``: what may go, and on which terms. An object must match every criterion that is given."""

    name: str
    kinds: Tuple[str, ...]
    owners: Tuple[str, ...] = ()
    names: Tuple[str, ...] = ()
    keys: Tuple[Tuple[int, int], ...] = ()
    families: bool = False
    """Whether only files of the known families are meant; of the sections that are built in."""
    min_age: float = MIN_AGE
    """Seconds."""
    owner_gone: str = "uid"
    """``uid``, ``unit`` or ``ignore``."""
    accept: str = "certain"
    """The least confidence: ``certain`` or ``strong``."""
    max_removals: Optional[int] = None
    on_excess: str = "refuse"
    """``refuse`` or ``oldest``."""
    backup: str = "full"
    """``full``, ``metadata`` or ``none``."""
    with_data: bool = False

    def covers(self, candidate: Candidate, members: Mapping[str, FrozenSet[str]]) -> bool:
        """Whether the section names this object. *members* are the users of each named group."""
        return (
            candidate.kind in self.kinds
            and (not self.owners or self.owned(candidate, members))
            and (not self.names or any(_globbed(candidate.path, name) for name in self.names))
            and (not self.keys or any(_in_range(candidate.key, one) for one in self.keys))
            and (not self.families or _of_a_family(candidate.path))
        )

    def owned(self, candidate: Candidate, members: Mapping[str, FrozenSet[str]]) -> bool:
        """Whether the object's owner is one of those named. The uid that unmapped ones read as is nobody's."""
        if candidate.uid is None or candidate.uid == OVERFLOW_ID:
            return False
        if NAMELESS in self.owners and candidate.user is None:
            return True
        return any(_owned(owner, candidate, members) for owner in self.owners if owner != NAMELESS)


BUILT_IN: Tuple[RemoveSection, ...] = (
    RemoveSection("orphans", ("shm",)),
    RemoveSection("families", ("posix-shm",), families=True),
)
"""What may go where the policy has no ``[remove NAME]``."""


def _owned(owner: str, candidate: Candidate, members: Mapping[str, FrozenSet[str]]) -> bool:
    user = candidate.user
    if candidate.uid is not None and owner == str(candidate.uid):
        return True
    if user is None:
        return False
    if owner.startswith("@"):
        return user in members.get(owner[1:], ())
    from fnmatch import fnmatchcase  # loaded where there is an object to match

    return fnmatchcase(user, owner)


def _globbed(path: Optional[str], pattern: str) -> bool:
    from fnmatch import fnmatchcase

    return path is not None and fnmatchcase(path, pattern)


def _of_a_family(path: Optional[str]) -> bool:
    from ..known.families import family_of

    return path is not None and family_of(path) is not None


def _in_range(key: Optional[int], span: Tuple[int, int]) -> bool:
    return key is not None and span[0] <= key <= span[1]


def idiom(kind: str, path: Optional[str]) -> Optional[str]:
    """Return why an object is a known good use, if it is one."""
    if path is None:
        return None
    from fnmatch import fnmatchcase

    from ..known.idioms import IDIOMS

    return next((one.why for one in IDIOMS if one.kind == kind and fnmatchcase(path, one.name)), None)
