# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The record of what is installed on a host, LIB/installed, as templates/install.sh.j2 keeps it."""

from __future__ import annotations

import re
from typing import NamedTuple


class Record(NamedTuple):
    """What was installed; a line each in the file."""

    lines: tuple[tuple[str, str], ...] = ()
    """The checksum as shipped, or ``-`` for what a run was about to write, and the path."""
    directories: frozenset[str] = frozenset()
    """Those that were made, and not there before."""
    metrics: tuple[str, ...] = ()
    """What the job monitor writes."""

    @property
    def paths(self) -> frozenset[str]:
        """The files."""
        return frozenset(path for _, path in self.lines)

    def shipped(self, path: str, digest: str | None) -> bool:
        """Tell whether a file is as it was installed, and not edited since or there before."""
        return (digest, path) in self.lines

    def schedule(self, job: str | None = None) -> str | None:
        """Return what starts a job, or any: ``systemd``, ``cron`` or ``None``."""
        name = "[a-z]+" if job is None else re.escape(job)
        for kind, pattern in (
            ("systemd", rf"/etc/systemd/system/ipcops-{name}\.timer"),
            ("cron", rf"/etc/cron\.d/ipcops-{name}"),
        ):
            if any(re.fullmatch(pattern, path) for path in self.paths):
                return kind
        return None


def parse(text: str | None) -> Record:
    """Return what a record says; of none, nothing."""
    pairs = [tuple(line.split("\t", 1)) for line in (text or "").splitlines() if "\t" in line]
    return Record(
        tuple((was, path) for was, path in pairs if was not in ("directory", "metrics")),
        frozenset(path for was, path in pairs if was == "directory"),
        tuple(path for was, path in pairs if was == "metrics"),
    )
