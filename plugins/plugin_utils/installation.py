# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From what is to be and what was seen to what is to be done; nothing here touches a host.

The rules are those of templates/install.sh.j2, but that Ansible enforces what it was told: a file that was edited is
replaced, and a copy of it kept.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .record import Record, parse
from .shipment import EXTRAS, Item, archive_of


class InTheWayError(Exception):
    """What the user has to move away or to install first; nothing was done."""


class Places(NamedTuple):
    """Where things lie on a host."""

    lib: str
    state: str
    log: str

    @property
    def record(self) -> str:
        """What was installed."""
        return f"{self.lib}/installed"

    @property
    def tree(self) -> str:
        """The agent, unpacked."""
        return f"{self.lib}/agent"

    @property
    def sums(self) -> str:
        """The checksums of its files."""
        return f"{self.lib}/unpacked.sha256"

    @property
    def packed(self) -> str:
        """The agent, as it is carried."""
        return f"{self.lib}/ipcops-agent.pyz"

    @property
    def directories(self) -> dict[str, int]:
        """Those that every job needs, with their modes."""
        return {self.lib: 0o755, self.state: 0o700, f"{self.state}/jobs": 0o700, self.log: 0o700}


class Plan(NamedTuple):
    """What is to be done."""

    put: Sequence[Item] = ()
    remove: Sequence[str] = ()
    copy: Sequence[str] = ()
    """Files that somebody edited, of which a copy is kept."""
    lines: Sequence[tuple[str | None, str]] = ()
    """The files of the record; no checksum where only the host can tell it."""
    metrics: Sequence[str] = ()
    agent: bool = False
    """Whether it is unpacked anew."""
    start: Sequence[str] = ()
    renew: Sequence[str] = ()
    """Timers that run, and whose files change."""
    stop: Sequence[str] = ()
    reload: bool = False
    make: Sequence[str] = ()
    chmod: Sequence[str] = ()
    rmdir: Sequence[str] = ()
    noted: bool = False
    """Whether the record says something else than before."""

    @property
    def changes(self) -> bool:
        """Tell whether there is anything to do."""
        return bool(
            self.put or self.remove or self.agent or self.start or self.stop or self.reload or self.make or self.chmod
            or self.noted
        )  # fmt: skip

    @property
    def written(self) -> list[str]:
        """The files that are put there."""
        return [one.path for one in self.put]


def owned(path: str, lib: str, job: str) -> bool:
    """Tell whether a file that was installed belongs to a job."""
    if path in (f"{lib}/ipc-{job}.sh", f"/etc/cron.d/ipcops-{job}"):
        return True
    if re.fullmatch(rf"/etc/systemd/system/ipcops-{re.escape(job)}\.(service|timer)", path):
        return True
    directory, name = os.path.split(path)
    if job == "cleanup":
        return directory == lib and name in ("slurm-prolog.sh", "slurm-epilog.sh")
    return job == "monitor" and name in {one[0] for one in EXTRAS.values()} - {""}


def differs(item: Item, found: Mapping[str, Any] | None) -> bool:
    """Tell whether a file is to be written. Raise InTheWayError where something else is."""
    if found is None:
        return True
    if found["digest"] is None:
        raise InTheWayError(f"{item.path} is there and is no file; move it away. Nothing was done")
    return (found["digest"], found["mode"], found["owner"]) != (item.digest, item.mode, [0, 0])


def edited(path: str, record: Record, seen: Mapping[str, Any]) -> bool:
    """Tell whether somebody changed a file since it was installed, or it was there before."""
    found = seen["files"].get(path)
    return found is not None and not record.shipped(path, found["digest"])


def refuse_foreign(items: Iterable[Item], places: Places, record: Record, seen: Mapping[str, Any]) -> None:
    """Raise InTheWayError where something that is not ours lies where only ours may."""
    for name in seen["foreign"]:
        raise InTheWayError(
            f"{places.lib}/{name} is there and is not ours; move it away, or set lib to another directory."
            " Nothing was done"
        )
    for item in items:
        if item.purpose == "code" and seen["files"].get(item.path) is not None and item.path not in record.paths:
            raise InTheWayError(f"{item.path} is there and is not ours; move it away. Nothing was done")


def files(
    wanted: Iterable[Item], ours: Collection[str], places: Places, seen: Mapping[str, Any], *, keep: str | None = None
) -> Plan:
    """Return what becomes of files: the *wanted* come, what else is *ours* goes, and *keep* stays if it is there.

    Raise InTheWayError.
    """
    wanted = list(wanted)
    record = parse(seen["record"])
    refuse_foreign(wanted, places, record, seen)
    put, copy = [], []
    for item in wanted:
        was_edited = edited(item.path, record, seen)
        there = seen["files"].get(item.path)
        if (item.path == keep and there and there["digest"]) or not differs(item, there):
            continue
        put.append(item)
        if was_edited and item.purpose != "code" and there and there["digest"] != item.digest:
            copy.append(item.path)
    paths = {item.path for item in wanted}
    kept = {path for path in record.paths if path == keep and path not in {item.path for item in put}}
    remove = [path for path in ours if path not in paths and seen["files"].get(path) is not None]
    copy += [path for path in remove if not path.startswith(places.lib + "/") and edited(path, record, seen)]
    lines: list[tuple[str | None, str]] = []
    texts = {item.path: item.digest for item in wanted}
    for was, path in record.lines:
        if path in kept or not (path in paths or path in ours):
            lines.append((was, path))
    lines += [(texts[item.path], item.path) for item in wanted if item.path not in kept]
    make, chmod = directories(places, record, seen)
    touched = [*(item.path for item in put), *remove]
    return Plan(
        put=put,
        remove=remove,
        copy=copy,
        lines=lines,
        metrics=list(record.metrics),
        reload=any(path.startswith("/etc/systemd/") for path in touched),
        make=make,
        chmod=chmod,
    )


def directories(places: Places, record: Record, seen: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return which are to be made, and which of ours have lost their mode or owner."""
    make, chmod = [], []
    for path, mode in places.directories.items():
        found = seen["directories"].get(path)
        if found is None:
            make.append(path)
        elif path in record.directories and found != [mode, 0, 0]:
            chmod.append(path)
    return make, chmod


def noted(plan: Plan, seen: Mapping[str, Any]) -> Plan:
    """Return a plan that knows whether the record will say something else."""
    record = parse(seen["record"])
    now = {(was, path) for was, path in plan.lines if was is not None}
    unknown = {path for was, path in plan.lines if was is None}
    before = {(was, path) for was, path in record.lines if path not in unknown}
    return plan._replace(
        noted=now != before
        or {path for _, path in plan.lines} != record.paths
        or set(plan.metrics) != set(record.metrics)
    )


def with_agent(plan: Plan, places: Places, agent_file: bytes, seen: Mapping[str, Any]) -> Plan:
    """Return a plan that has the agent unpacked, too, if what lies there is another or for another Python."""
    found = seen["agent"]
    stamp = f"{archive_of(agent_file)} {seen['python']['tag']}\n"
    lines = [line for line in plan.lines if line[1] != places.sums]
    return plan._replace(
        agent=found["stamp"] != stamp or not found["whole"],
        lines=[*lines, (None, places.sums)],
    )
