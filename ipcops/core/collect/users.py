"""Names of users and groups, each asked for once; a host's directory service may be slow."""

from __future__ import annotations

import grp
import pwd
from typing import Dict, FrozenSet, Iterable, Optional, Tuple


def read_users(uids: Iterable[int]) -> Dict[int, Optional[str]]:
    """Return the name of each uid, ``None`` for one without a passwd entry."""
    names: Dict[int, Optional[str]] = {}
    for uid in uids:
        try:
            names[uid] = pwd.getpwuid(uid).pw_name
        except (KeyError, OverflowError):
            names[uid] = None
    return names


def read_groups(gids: Iterable[int]) -> Dict[int, Optional[str]]:
    """Return the name of each gid, ``None`` for one without a group entry."""
    names: Dict[int, Optional[str]] = {}
    for gid in gids:
        try:
            names[gid] = grp.getgrgid(gid).gr_name
        except (KeyError, OverflowError):
            names[gid] = None
    return names


def read_members(groups: Iterable[str]) -> Dict[str, FrozenSet[str]]:
    """Return the users of each named group, those whose primary group it is included."""
    members: Dict[str, FrozenSet[str]] = {}
    for name in groups:
        try:
            entry = grp.getgrnam(name)
        except KeyError:
            members[name] = frozenset()
            continue
        primary = {user.pw_name for user in pwd.getpwall() if user.pw_gid == entry.gr_gid}
        members[name] = frozenset(entry.gr_mem) | primary
    return members


def read_uids(names: Iterable[str]) -> FrozenSet[str]:
    """Return ``uid N`` for each of *names* that is a user of this host; others match nothing."""
    found = set()
    for name in names:
        try:
            found.add("uid %d" % pwd.getpwnam(name).pw_uid)
        except KeyError:
            continue
    return frozenset(found)


def read_strangers(names: Iterable[str]) -> Tuple[str, ...]:
    """Return those users and @groups that this host does not have."""
    strangers = []
    for name in sorted(names):
        try:
            if name.startswith("@"):
                grp.getgrnam(name[1:])
            else:
                pwd.getpwnam(name)
        except KeyError:
            strangers.append(name)
    return tuple(strangers)
