"""Uses of IPC that look like leaks and are none: no leak rule fires on them.

``kind`` and ``name`` (a glob) say which objects; ``why`` is shown to the reader.
"""

from __future__ import annotations

from typing import Tuple

from ..tuples import NamedTuple


class Idiom(NamedTuple):
    """One known good use, why it is good, and where that is said."""

    kind: str
    name: str
    why: str
    source: str


_INACCESSIBLE = "systemd mounts it over files that a service must not reach; nobody ever opens it"
_MADE_BY = "systemd, src/shared/dev-setup.c (make_inaccessible_nodes), InaccessiblePaths= of systemd.exec(5)"

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
    Idiom("fifo", "*/systemd/inaccessible/fifo", _INACCESSIBLE, _MADE_BY),
    Idiom("fifo", "/run/host/inaccessible/fifo", _INACCESSIBLE, _MADE_BY),
    Idiom("unix", "*/systemd/inaccessible/sock", _INACCESSIBLE, _MADE_BY),
    Idiom("unix", "/run/host/inaccessible/sock", _INACCESSIBLE, _MADE_BY),
)
