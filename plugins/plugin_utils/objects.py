# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Objects of a report in words, for messages and differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def name_of(one: Mapping[str, Any]) -> str:
    """Return an object as the options of a task name it: ``shm:32768`` or ``posix-shm:/psm_1a2b3c4d``."""
    return f"{one['kind']}:{one['id'] if one.get('path') is None else one['path']}"


def why(one: Mapping[str, Any]) -> str:
    """Return why an object was not removed, or not put back, with its name."""
    return f"{name_of(one)}: {one['why']}"


def listed(objects: Iterable[Mapping[str, Any]]) -> str:
    """Return a line for each object, with its key and owner where they are told."""
    return "".join(_line(one) + "\n" for one in objects)


def _line(one: Mapping[str, Any]) -> str:
    words = [name_of(one)]
    if one.get("key") is not None:
        words.append(f"key {one['key']}")
    owner = one.get("owner")
    if owner is not None:
        words.append(f"of {owner['user'] or 'uid %d' % owner['uid']}")
    if one.get("bytes") is not None:
        words.append(f"{one['bytes']} bytes")
    return ", ".join(words)
