"""Run commands side by side and say how they compare.

A wall time alone says more about the machine and its neighbours than about the program, so
nothing here asserts on a clock: the commands of a benchmark take turns, round after round,
and what counts is the ratio of one to another within the same run.

The clock starts in the child, right before `execve`, and stops when `wait4` has reaped it:
the fork of this harness and the entering of a namespace are not in the figure.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 120  # seconds after which a command is ended: a hang must not hold the machine
MEGABYTE = 1e6 / 1024  # ru_maxrss counts KiB

CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None, use_errno=True)


class BenchError(Exception):
    """Something the benchmark needs is not to be had here."""


# ---------------------------------------------------------------- what is run


@dataclass(frozen=True)
class Command:
    """A program to be timed, perhaps inside a namespace."""

    name: str
    argv: tuple[str, ...]
    where: Namespace | None = None
    statuses: frozenset[int] = frozenset({0})
    env: tuple[tuple[str, str], ...] = ()


@dataclass
class Timing:
    """The runs of one command."""

    seconds: list[float] = field(default_factory=list)
    peak_kib: int = 0
    failed: str | None = None

    @property
    def least(self) -> float:
        """The shortest run: the least disturbed one."""
        return min(self.seconds)

    @property
    def median(self) -> float:
        """The run in the middle."""
        return median(self.seconds)


@dataclass(frozen=True)
class Figure:
    """One number that has a goal (`value` is None when it could not be measured)."""

    name: str
    value: float | None
    goal: float
    unit: str = ""
    note: str = ""

    @property
    def verdict(self) -> str:
        """Whether the goal is reached."""
        if self.value is None:
            return "not measured"
        return "reached" if self.value <= self.goal else "MISSED"


@dataclass
class Result:
    """What one benchmark found."""

    name: str
    setting: str
    timings: dict[str, Timing]
    base: str
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def ratio(self, name: str, base: str | None = None) -> float | None:
        """How many times as long as `base` the command takes, by the medians."""
        return self._ratio(name, base or self.base, lambda timing: timing.median)

    def least_ratio(self, name: str, base: str | None = None) -> float | None:
        """Compare by the shortest runs: nearer to an undisturbed machine."""
        return self._ratio(name, base or self.base, lambda timing: timing.least)

    def compare(self, name: str, goal: float) -> None:
        """Add the figure "this command against the base"."""
        least = self.least_ratio(name)
        note = "" if least is None else f"by the minima {least:.2f}"
        self.figures.append(Figure(f"{name} / {self.base}", self.ratio(name), goal, note=note))

    def bound_memory(self, name: str, goal: float) -> None:
        """Add the figure "this command's peak memory"."""
        timing = self.timings[name]
        peak = timing.peak_kib / MEGABYTE if timing.seconds else None
        self.figures.append(Figure(f"{name}: peak memory", peak, goal, unit="MB"))

    def _ratio(self, name: str, base: str, of: Callable[[Timing], float]) -> float | None:
        one, other = self.timings[name], self.timings[base]
        if not one.seconds or not other.seconds:
            return None
        return of(one) / of(other)


def median(values: Sequence[float]) -> float:
    """Give the middle value (`statistics` would load decimal, fractions and random)."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


# ---------------------------------------------------------------- ipcops and Python


def ipcops(*arguments: str, name: str = "", **options: Any) -> Command:
    """Give the command that runs ipcops as its users run it: the console script."""
    script = Path(sys.executable).parent / "ipcops"
    module = None if script.exists() else _module()
    name = name or " ".join(("ipcops", *arguments))
    if module is None:
        return Command(name, (str(script), *arguments), **options)
    env = (("PYTHONPATH", str(ROOT)),)
    return Command(name, (sys.executable, "-m", module, *arguments), env=env, **options)


def _module() -> str | None:
    """Find the module that starts the checkout's CLI where nothing is installed."""
    for module in ("ipcops", "ipcops.cli", "ipcops.cli.main"):
        path = ROOT / module.replace(".", "/")
        if (path / "__main__.py").exists() or path.with_suffix(".py").exists():
            return module
    return None


def python(code: str) -> Command:
    """Give the command that runs one line in the same Python."""
    return Command(f'python -c "{code}"', (sys.executable, "-c", code))


# ---------------------------------------------------------------- running


def measure(commands: Sequence[Command], rounds: int) -> dict[str, Timing]:
    """Time the commands in turns; one warm-up each, which also shows what cannot run."""
    timings = {command.name: Timing() for command in commands}
    able = []
    for command in commands:
        why = _warm_up(command)
        timings[command.name].failed = why
        if why is None:
            able.append(command)
    for turn in range(rounds):
        start = turn % len(able) if able else 0  # nobody always runs behind the same one
        for command in able[start:] + able[:start]:
            timing = timings[command.name]
            status, seconds, peak_kib = run(command)
            if status not in command.statuses:
                timing.failed = f"ended with status {status} in round {turn + 1}"
                continue
            timing.seconds.append(seconds)
            timing.peak_kib = max(timing.peak_kib, peak_kib)
        progress(f"round {turn + 1} of {rounds}")
    progress("")
    return timings


def run(command: Command, out: int | None = None, err: int | None = None) -> tuple[int, float, int]:
    """Run a command to its end: exit status, wall seconds, peak memory in KiB.

    The kernel carries a process's peak across `execve`, so no peak below that of this
    harness can be seen: it has to stay small.
    """
    read_end, write_end = os.pipe()
    pid = os.fork()
    if not pid:
        _become(command, write_end, out, err)
    os.close(write_end)
    try:
        ended = _wait(pid)
        finish = time.monotonic()
        stamp = os.read(read_end, 64)
    finally:
        os.close(read_end)
    status = os.waitstatus_to_exitcode(ended[0])
    if not stamp:
        return 127, 0.0, 0
    return status, finish - float(stamp), ended[1]


def _become(command: Command, clock: int, out: int | None, err: int | None) -> NoReturn:
    try:
        null = os.open("/dev/null", os.O_RDWR)
        if command.where:
            command.where.enter()
        os.chdir("/")
        os.dup2(null, 0)
        os.dup2(null if out is None else out, 1)
        os.dup2(null if err is None else err, 2)
        path = shutil.which(command.argv[0]) or command.argv[0]
        env = environment() | dict(command.env)
        os.write(clock, repr(time.monotonic()).encode())
        os.execve(path, command.argv, env)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.write(2, f"{error}\n".encode())
    finally:
        os._exit(127)


def _wait(pid: int) -> tuple[int, int]:
    """Reap a process, by force after the limit: wait status, peak KiB."""
    handle = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        if not poll.poll(LIMIT * 1000):
            os.kill(pid, signal.SIGKILL)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.wait4(pid, 0)
        raise
    finally:
        os.close(handle)
    _, status, usage = os.wait4(pid, 0)
    return status, usage.ru_maxrss


def _warm_up(command: Command) -> str | None:
    """Run once: caches and bytecode get warm, and what is missing says so."""
    if not shutil.which(command.argv[0]):
        return f"there is no {command.argv[0]}"
    log = os.memfd_create("stderr")
    try:
        status, _, _ = run(command, err=log)
        if status in command.statuses:
            return None
        words = os.pread(log, 4096, 0).decode(errors="replace").strip().splitlines()
    finally:
        os.close(log)
    return f"status {status}: {words[-1] if words else 'no message'}"


def environment() -> dict[str, str]:
    """Give every command the same environment, without the switches of this Python."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return kept | {"LC_ALL": "C.UTF-8"}


def tally(command: Command, judge: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """Run a command once and have its JSON judged, in a child so that we stay small."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(read_end)
            words = json.dumps(_judged(command, judge))
            with open(write_end, "w", encoding="utf-8") as pipe:
                pipe.write(words)
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end, encoding="utf-8") as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    answer: dict[str, Any] = json.loads(text) if text else {"error": "no answer"}
    return answer


def _judged(command: Command, judge: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    out = os.memfd_create("stdout")
    status, _, _ = run(command, out=out)
    if status not in command.statuses:
        return {"error": f"ended with status {status}"}
    os.lseek(out, 0, os.SEEK_SET)
    with open(out, "rb") as file:
        data = file.read()
    try:
        return judge(json.loads(data)) | {"bytes": len(data)}
    except (ValueError, KeyError, TypeError) as error:
        return {"error": f"unexpected JSON: {error!r}"}


# ---------------------------------------------------------------- namespaces


class Namespace:
    """An IPC namespace of its own, alive as long as the one process in it."""

    def __init__(self, pid: int) -> None:
        """Remember the process that keeps the namespace."""
        self.pid = pid
        self.kinds = ("ipc",) if os.geteuid() == 0 else ("user", "ipc")
        self.files = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for kind in self.kinds]

    def enter(self) -> None:
        """Move the calling process in."""
        for file in self.files:
            if libc.setns(file, 0):
                raise OSError(ctypes.get_errno(), "setns")

    def close(self) -> None:
        """End the keeper, and with it the namespace and everything in it."""
        for file in self.files:
            os.close(file)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@contextlib.contextmanager
def namespace(fill: Callable[[], None] = lambda: None) -> Iterator[Namespace]:
    """Make a private IPC namespace, as root or in a user namespace, and let `fill` fill it."""
    read_end, write_end = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if not pid:
        _keep(parent, write_end, fill)
    os.close(write_end)
    with open(read_end, encoding="utf-8") as pipe:
        word = pipe.readline()
    if word != "ready":
        os.waitpid(pid, 0)
        message = f"no private IPC namespace: {word or 'its process died'}"
        raise BenchError(message)
    space = Namespace(pid)
    try:
        yield space
    finally:
        space.close()


def _keep(parent: int, pipe: int, fill: Callable[[], None]) -> NoReturn:
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the harness ends us, by our id
        _unshare()
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        fill()
        os.write(pipe, b"ready")
        os.close(pipe)
        while os.getppid() == parent:
            signal.pause()
    except OSError as error:
        os.write(pipe, str(error).encode())
    finally:
        os._exit(0)


def _unshare() -> None:
    uid, gid = os.geteuid(), os.getegid()
    flags = CLONE_NEWIPC if uid == 0 else CLONE_NEWIPC | CLONE_NEWUSER
    if libc.unshare(flags):
        raise OSError(ctypes.get_errno(), "unshare")
    if flags & CLONE_NEWUSER:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1", encoding="ascii")


# ---------------------------------------------------------------- words


def report(result: Result) -> None:
    """Print one benchmark: every command, then its figures."""
    say(f"\n== {result.name}: {result.setting}")
    width = max(len(name) for name in result.timings)
    # What `true` seems to need is what the fork of this harness brought along.
    hidden = 1.1 * run(Command("true", ("true",)))[2]
    say(f"   {'':{width}}  min ms  median  ratio  (of minima)  peak MB")
    for name, timing in result.timings.items():
        if not timing.seconds:
            say(f"   {name:{width}}  not measured: {timing.failed}")
            continue
        bound = "<=" if timing.peak_kib <= hidden else "  "
        say(
            f"   {name:{width}} {timing.least * 1e3:7.1f} {timing.median * 1e3:7.1f}"
            f"  {_number(result.ratio(name)):>5}  {_number(result.least_ratio(name)):>11}"
            f"  {bound}{timing.peak_kib / MEGABYTE:6.1f}"
        )
        if timing.failed:
            say(f"   {'':{width}} {timing.failed}")
    say(f"   ratios to: {result.base}; <= marks peaks that hide behind the harness's own")
    for note in result.notes:
        say(f"   {note}")


def summarise(results: Sequence[Result]) -> None:
    """Print the table of all figures that have a goal."""
    rows = [("benchmark", "figure", "value", "goal", "verdict")]
    for result in results:
        for figure in result.figures:
            verdict = f"{figure.verdict} ({figure.note})" if figure.note else figure.verdict
            value = f"{_number(figure.value)} {figure.unit}".rstrip()
            goal = f"<= {figure.goal:g} {figure.unit}".rstrip()
            rows.append((result.name, figure.name, value, goal, verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    say("\n== summary")
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        say("   " + "  ".join([*cells, row[4]]))


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """Give everything measured as plain data, every single run included."""
    system = os.uname()
    return {
        "schema": "ipcops.benchmarks/1",
        "machine": {
            "kernel": system.release,
            "arch": system.machine,
            "processors": os.cpu_count(),
            "python": sys.version.split()[0],
            "load": os.getloadavg(),
        },
        "benchmarks": [
            {
                "name": result.name,
                "setting": result.setting,
                "base": result.base,
                "commands": {
                    name: {
                        "seconds": [round(second, 6) for second in timing.seconds],
                        "min": timing.least if timing.seconds else None,
                        "median": timing.median if timing.seconds else None,
                        "peak_kib": timing.peak_kib or None,
                        "ratio": result.ratio(name),
                        "ratio_of_minima": result.least_ratio(name),
                        "failed": timing.failed,
                    }
                    for name, timing in result.timings.items()
                },
                "figures": [
                    {
                        "name": figure.name,
                        "value": figure.value,
                        "unit": figure.unit,
                        "goal": figure.goal,
                        "verdict": figure.verdict,
                        "note": figure.note,
                    }
                    for figure in result.figures
                ],
                "notes": result.notes,
            }
            for result in results
        ],
    }


def say(line: str) -> None:
    """Print a line at once: a run takes minutes."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def progress(line: str) -> None:
    """Show where a run is, on a terminal only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
