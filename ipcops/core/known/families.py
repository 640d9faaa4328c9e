"""Names that programs give their files in /dev/shm: who makes them, and that nobody comes back.

A file of one of these families belongs to one run of its program. Without a holder and
without its owner it is a leak for certain; a file of any other name may be a cache that
somebody loads again.
"""

from __future__ import annotations

from typing import Optional, Pattern, Tuple

from ..patterns import late
from ..tuples import NamedTuple


class Family(NamedTuple):
    """A pattern of names (the group ``pid``, if any, is the creator's) and as a glob, who makes them, a source."""

    pattern: Pattern[str]
    glob: str
    maker: str
    source: str


FAMILIES: Tuple[Family, ...] = (
    Family(
        late(r"/psm_[0-9a-f]{8}\Z"),
        "/psm_*",
        "Python's multiprocessing.shared_memory",
        "CPython Lib/multiprocessing/shared_memory.py",
    ),
    Family(
        late(r"/sem\.mp-[0-9A-Za-z_]{8}\Z"),
        "/sem.mp-*",
        "Python's multiprocessing",
        "CPython Lib/multiprocessing/synchronize.py",
    ),
    Family(
        late(r"/sem\.loky-(?P<pid>\d+)-\w+\Z"),
        "/sem.loky-*",
        "joblib's loky",
        "joblib/loky, backend/synchronize.py",
    ),
    Family(
        late(r"/torch_(?P<pid>\d+)_\d+(_\d+)?\Z"),
        "/torch_*",
        "PyTorch",
        "pytorch, aten/src/ATen/MapAllocator.cpp",
    ),
    Family(late(r"/nccl-[0-9A-Za-z]{6}\Z"), "/nccl-*", "NCCL", "NVIDIA/nccl, src/misc/shmutils.cc"),
    Family(late(r"/vader_segment\.\S+\Z"), "/vader_segment.*", "Open MPI", "open-mpi/ompi issues 7220 and 7394"),
    Family(late(r"/open_mpi\.\d{4}\Z"), "/open_mpi.*", "Open MPI", "open-mpi/ompi, opal/mca/shmem/posix"),
)


def family_of(path: str) -> Optional[Family]:
    """Return the family that a path belongs to."""
    return next((family for family in FAMILIES if family.pattern.match(path)), None)


def named_pid(path: str) -> Optional[int]:
    """Return the process number that a name carries, where its family is known to put one there."""
    for family in FAMILIES:
        found = family.pattern.match(path)
        if found and "pid" in family.pattern.groupindex:
            return int(found.group("pid"))
    return None
