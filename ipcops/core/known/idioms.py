"""Uses of IPC that look like leaks and are none: no leak rule fires on them.

``kind`` and ``name`` (a glob) say which objects; ``why`` is shown to the reader.
"""

from __future__ import annotations

from typing import NamedTuple, Tuple


class Idiom(NamedTuple):
    """One known good use, why it is good, and where that is said."""

    kind: str
    name: str
    why: str
    source: str


IDIOMS: Tuple[Idiom, ...] = (
    Idiom(
        "posix-shm",
        "/libpod_lock",
        "podman's lock table lives without any process that has it open",
        "containers/podman issues 16784 and 17091",
    ),
    Idiom(
        "posix-shm",
        "/libpod_rootless_lock_*",
        "podman's lock table of one user lives without any process that has it open",
        "containers/podman issues 16784 and 17091",
    ),
)
