"""Sockets that are in no list: of a network namespace that nothing but a descriptor keeps alive.

A process may leave the namespace that its socket is of (setns(2)), and no link and no mount leads
there any more. Such a socket could be what a file is bound to.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, List, Mapping, Sequence, Tuple

from ..fs import Directory
from ..kernel import Kernel
from ..model import Process
from .pipes import held

_AF_UNIX = 1


def unix_strays(
    proc: Directory, kernel: Kernel, unlisted: Mapping[int, Sequence[Process]]
) -> Tuple[List[int], List[int]]:
    """Return which of some held sockets are Unix sockets, and of which that could not be told.

    *unlisted* is the inode of each and who has it open. Netlink, packet and connected network
    sockets are among them; a copy of the descriptor tells (SO_DOMAIN, socket(7)).
    """
    strays: List[int] = []
    unknown: List[int] = []
    by_process: Dict[int, List[int]] = {}
    for inode, holders in unlisted.items():
        by_process.setdefault(holders[0].pid, []).append(inode)
    for pid, inodes in by_process.items():
        try:
            found = _domains(proc, kernel, pid, frozenset(inodes))
        except OSError:
            unknown += inodes
            continue
        strays += [inode for inode in inodes if found.get(inode) == _AF_UNIX]
    return strays, unknown


def _domains(proc: Directory, kernel: Kernel, pid: int, inodes: FrozenSet[int]) -> Dict[int, int]:
    domains: Dict[int, int] = {}
    with proc.directory("%d/fd" % pid) as descriptors, held(kernel, pid) as pidfd:
        for number in descriptors.names():
            try:
                target = descriptors.link(number)
            except FileNotFoundError:
                continue
            inode = int(target[8:-1]) if target.startswith("socket:[") else 0
            if inode in inodes and inode not in domains:
                domains[inode] = kernel.socket_domain(pidfd, int(number))
    return domains
