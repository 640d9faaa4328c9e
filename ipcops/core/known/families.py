"""Names that programs give their files in /dev/shm: who makes them, and that nobody comes back.

A file of one of these families belongs to one run of its program. Without a holder and
without its owner it is a leak for certain; a file of any other name may be a cache that
somebody loads again.
"""

from __future__ import annotations

import re
from typing import Match, Optional, Tuple

from ..tuples import NamedTuple


class Family(NamedTuple):
    """A pattern of names (the group ``pid``, if any, is the creator's) and as a glob, who makes them, a source."""

    pattern: str
    glob: str
    maker: str
    source: str


FAMILIES: Tuple[Family, ...] = (
    Family(
        r"/psm_[0-9a-f]{8}\Z",
        "/psm_*",
        "Python's multiprocessing.shared_memory",
        "CPython Lib/multiprocessing/shared_memory.py",
    ),
    Family(
        r"/sem\.mp-[0-9A-Za-z_]{8}\Z",
        "/sem.mp-*",
        "Python's multiprocessing",
        "CPython Lib/multiprocessing/synchronize.py",
    ),
    Family(
        r"/sem\.loky-(?P<pid>\d+)-\w+\Z",
        "/sem.loky-*",
        "joblib's loky",
        "joblib/loky, backend/synchronize.py",
    ),
    Family(
        r"/torch_(?P<pid>\d+)_\d+(_\d+)?\Z",
        "/torch_*",
        "PyTorch",
        "pytorch, aten/src/ATen/MapAllocator.cpp",
    ),
    Family(r"/nccl-[0-9A-Za-z]{6}\Z", "/nccl-*", "NCCL", "NVIDIA/nccl, src/misc/shmutils.cc"),
    Family(r"/vader_segment\.\S+\Z", "/vader_segment.*", "Open MPI", "open-mpi/ompi issues 7220 and 7394"),
    Family(r"/open_mpi\.\d{4}\Z", "/open_mpi.*", "Open MPI", "open-mpi/ompi, opal/mca/shmem/posix"),
)


def family_of(path: str) -> Optional[Family]:
    """Return the family that a path belongs to."""
    return next((family for family in FAMILIES if _matched(family, path)), None)


def named_pid(path: str) -> Optional[int]:
    """Return the process number that a name carries, where its family is known to put one there."""
    for family in FAMILIES:
        found = _matched(family, path)
        if found and "pid" in found.groupdict():
            return int(found["pid"])
    return None


def _matched(family: Family, path: str) -> Optional[Match[str]]:
    """Return how a path is of a family; its pattern is compiled only where the begin of the name fits."""
    return re.match(family.pattern, path) if path.startswith(family.glob[:-1]) else None
