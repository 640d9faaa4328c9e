"""Removing as many objects as the default limits admit, beside one ipcrm each."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from .harness import ROOT, BenchError, Command, Figure, Namespace, Result, Timing, namespace, progress
from .harness import run as timed
from .objects import QUEUES, SEGMENTS, SETS, count, fill

NAME = "cleaning"
ROUNDS = 1
KINDS = {"msg": ("queues", "-q", QUEUES), "sem": ("sets", "-s", SETS), "shm": ("segments", "-m", SEGMENTS)}
ALL = "all"
GOALS = {"journal": 10.0, "journal and backup": 1000 / 30}
"""Thousandths of the time that the same objects take one ipcrm each: 100 times and 30 times faster."""

OLD_ENOUGH = 3.2
"""Seconds: what was touched in the last two never goes."""

# The apply phase is what is timed: how long a look takes is another benchmark's.
APPLY = """
import sys, time
from ipcops.core import agent, apply
whole = apply.apply_plan
def timed(*arguments):
    began = time.monotonic()
    result = whole(*arguments)
    with open(sys.argv[1], "w") as file:
        file.write(repr(time.monotonic() - began))
    return result
apply.apply_plan = timed
sys.exit(agent.main(sys.argv[2:]))
"""

POLICY = """
[scan]
unreadable_ok = init.scope
[clean]
state = {state}
second_sighting = 0
max_removals = 100000
[remove old]
kind = {kind}
owner = nameless
accept = strong
min_age = 0
max_removals = 100000
backup = {backup}
"""


def run(rounds: int) -> Result:
    """Compare the apply phase with `ipcs | awk | xargs ipcrm`."""
    if os.geteuid():
        message = "only root can leave behind what another user made"
        raise BenchError(message)
    timings: dict[str, Timing] = {}
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        for kind in KINDS:
            _time(kind, rounds, Path(place), timings)
    setting = f"{QUEUES:,} queues, {SETS:,} one-semaphore sets, {SEGMENTS:,} segments, of a uid without a process"
    names = [name for name, _, _ in KINDS.values()]
    for label in (_base, *(partial(_ours, way=way) for way in GOALS)):
        runs = zip(*(timings[label(name)].seconds for name in names), strict=False)
        peak = max(timings[label(name)].peak_kib for name in names)
        failed = next((timings[label(name)].failed for name in names if timings[label(name)].failed), None)
        timings[label(ALL)] = Timing([sum(one) for one in runs], peak, failed)
    result = Result(NAME, setting, timings, base=_base(ALL))
    for way, goal in GOALS.items():
        for name in (ALL, *names):
            ratio = result.ratio(_ours(name, way), _base(name))
            if ratio is not None:
                result.notes.append(f"{_ours(name, way)}: {1 / ratio:.0f} times faster than one ipcrm each")
        ratio = result.ratio(_ours(ALL, way))
        share = None if ratio is None else 1000 * ratio
        result.figures.append(Figure(f"ipcops clean, {way} / one ipcrm each", share, goal, unit="thousandths"))
    result.notes.append("of ipcops the apply phase alone is timed")
    return result


def _time(kind: str, rounds: int, directory: Path, timings: dict[str, Timing]) -> None:
    """Time both ways of removing all objects of a kind, and ipcrm."""
    name, option, _ = KINDS[kind]
    words = f"ipcs {option} | awk 'NR>3 {{print $2}}' | xargs -r -n1 ipcrm {option}"
    base = Command(_base(name), ("sh", "-c", words))
    for command in (base.name, *(_ours(name, way) for way in GOALS)):
        timings[command] = Timing()
    for turn in range(rounds):
        for way in GOALS:
            _removed(kind, timings[_ours(name, way)], partial(_applied, kind, way, directory))
        _removed(kind, timings[base.name], partial(_whole, base))
        progress(f"{name}: round {turn + 1} of {rounds}")
    progress("")


def _base(name: str) -> str:
    return f"{name}: one ipcrm each"


def _ours(name: str, way: str) -> str:
    return f"{name}: ipcops clean, {way}"


def _fill(kind: str) -> None:
    """Fill the namespace with what somebody left behind who has no process."""
    numbers = {"shm": (SEGMENTS, 0, 0), "sem": (0, SETS, 0), "msg": (0, 0, QUEUES)}[kind]
    child = os.fork()
    if child == 0:
        status = 1
        try:
            uid = 700_000_000 + os.getpid()
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            fill(*numbers, 0o600)
            status = 0
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1]:
        raise OSError(0, "the objects could not be made")
    time.sleep(OLD_ENOUGH)


def _removed(kind: str, timing: Timing, how: partial[tuple[int, float, int]]) -> None:
    """Fill a namespace, have all of it removed and see that it is gone."""
    with namespace(partial(_fill, kind)) as space:
        status, seconds, peak_kib = how(space)
        left = _left(space.pid, kind)
        if status or left:
            timing.failed = f"ended with status {status}, and {left} objects were left"
            return
        timing.seconds.append(seconds)
        timing.peak_kib = max(timing.peak_kib, peak_kib)


def _left(pid: int, kind: str) -> int:
    """Count what is left in the namespace of a process, in a child: this process stays where it is."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            Namespace(pid).enter()
            os.write(write_end, b"%d" % count()[kind])
        finally:
            os._exit(0)
    os.close(write_end)
    text = os.read(read_end, 64)
    os.close(read_end)
    os.waitpid(child, 0)
    return int(text or -1)


def _whole(command: Command, space: Namespace) -> tuple[int, float, int]:
    return timed(Command(command.name, command.argv, where=space))


def _applied(kind: str, way: str, directory: Path, space: Namespace) -> tuple[int, float, int]:
    """Run a clean; the seconds are those of its apply phase."""
    clock, policy, state = directory / "seconds", directory / "policy.conf", directory / "state"
    shutil.rmtree(state, ignore_errors=True)
    clock.unlink(missing_ok=True)
    backup = "full" if "backup" in way else "none"
    policy.write_text(POLICY.format(state=state, kind=kind, backup=backup), encoding="utf-8")
    words = ("clean", "--apply", "--yes", "--kind", kind, "--policy", str(policy))
    command = Command(
        way,
        (sys.executable, "-c", APPLY, str(clock), *words),
        where=space,
        env=(("PYTHONPATH", str(ROOT)),),
    )
    status, seconds, peak_kib = timed(command)
    return status, float(clock.read_text(encoding="ascii")) if clock.exists() else seconds, peak_kib
