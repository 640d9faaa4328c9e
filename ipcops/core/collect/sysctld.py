"""The files that set kernel settings at boot, and which loaders this host has to read them.

sysctl.d(5), sysctl.conf(5). No program is asked: the versions of the loaders stand in the names of
the libraries that they come with.
"""

from __future__ import annotations

import posixpath
import re
import stat
from typing import Dict, Iterable, Iterator, List, Optional

from ..fs import Directory
from ..limits.loaders import CONF, CREDENTIAL, DIRECTORIES, File, Tree
from ..model import Evidence, Gap

_LIBRARIES = ("lib/systemd", "usr/lib/systemd", "lib64", "usr/lib64", "lib", "usr/lib")
_TRIPLET = re.compile(r"[a-z0-9_]+-linux-[a-z0-9]+")
_SHARED = re.compile(r"libsystemd-shared-(\d{1,4})\b.*\.so")
_PROCPS = re.compile(r"lib(proc2|procps|proc-3\.[0-9.]+)\.so\b.*")
_SYSCTLS = ("sbin/sysctl", "usr/sbin/sysctl", "usr/bin/sysctl", "bin/sysctl")
_SYSTEMD_SYSCTLS = ("usr/lib/systemd/systemd-sysctl", "lib/systemd/systemd-sysctl")
_NEWEST = 257
_MOST_BYTES = 1 << 20
_MOST_LINKS = 8


def parse_systemd_version(names: Iterable[str]) -> Optional[int]:
    """Return the version of systemd that libraries of these names come with."""
    return max((int(found[1]) for found in map(_SHARED.fullmatch, names) if found), default=None)


def parse_procps_version(names: Iterable[str]) -> Optional[int]:
    """Return the major version of procps that libraries of these names come with: libproc2 came with 4."""
    found = [one[1] for one in map(_PROCPS.fullmatch, names) if one]
    return None if not found else 4 if "proc2" in found else 3


def read_tree(root: Directory) -> Tree:
    """Return the files of both loaders. *root* is the directory that paths begin at."""
    directories: Dict[str, Dict[str, File]] = {}
    gaps: List[Gap] = []
    seen = set()
    for path in DIRECTORIES:
        try:
            info = root.info(path[1:], follow=True)
            if (info.dev, info.ino) in seen:
                continue  # /lib is a link to /usr/lib
            seen.add((info.dev, info.ino))
            names = [name for name in root.names(path[1:]) if name.endswith(".conf")]
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            gaps.append(Gap(Evidence.SETTINGS, path, error.strerror or str(error)))
            continue
        directories[path] = {name: _file(root, "%s/%s" % (path, name)) for name in names}
    names = list(_library_names(root))
    by_systemd = any(_has(root, path) for path in _SYSTEMD_SYSCTLS)
    by_sysctl = any(_has(root, path) for path in _SYSCTLS)
    return Tree(
        directories,
        conf=_regular(root, CONF),
        credential=_regular(root, CREDENTIAL),
        systemd=parse_systemd_version(names) or _NEWEST if by_systemd else None,
        procps=parse_procps_version(names) if by_sysctl else None,  # without its library sysctl is another's
        gaps=tuple(gaps),
    )


def _file(root: Directory, path: str) -> File:
    real = _real(root, path)
    text: Optional[bytes] = b""
    try:
        info = root.info(path[1:], follow=True)
        if info.is_regular:
            text = root.read(path[1:]) if info.size <= _MOST_BYTES else None
        elif not (stat.S_ISDIR(info.mode) or stat.S_ISCHR(info.mode)):
            text = None  # a FIFO or the like, which a loader waits for
    except (FileNotFoundError, NotADirectoryError):
        pass  # a link to nowhere
    except OSError:
        text = None
    return File(path, text, real if real != path else "")


def _regular(root: Directory, path: str) -> Optional[File]:
    """Return a file that is only read if it is a regular one, or a link to one."""
    try:
        return _file(root, path) if root.info(path[1:], follow=True).is_regular else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return File(path, None)


def _real(root: Directory, path: str) -> str:
    """Return where the links at a path lead."""
    for _ in range(_MOST_LINKS):
        try:
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), root.link(path[1:])))
        except OSError:  # no link
            break
    return path


def _library_names(root: Directory) -> Iterator[str]:
    """Yield the names in the directories where the loaders' libraries may be."""
    for directory in _LIBRARIES:
        names = _names(root, directory)
        yield from names
        for name in names:
            if _TRIPLET.fullmatch(name):
                yield from _names(root, "%s/%s" % (directory, name))
                yield from _names(root, "%s/%s/systemd" % (directory, name))


def _names(root: Directory, path: str) -> List[str]:
    try:
        return root.names(path)
    except OSError:
        return []


def _has(root: Directory, path: str) -> bool:
    try:
        root.info(path, follow=True)
    except OSError:
        return False
    return True
