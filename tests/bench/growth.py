"""How the time of an audit grows with the number of objects."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from functools import partial

from .harness import Command, Figure, Result, Timing, ipcops, measure, namespace
from .many_objects import AUDIT
from .objects import fill

NAME = "growth"
ROUNDS = 9
SIZES = (1_000, 4_000, 16_000, 64_000)
NOISE = 0.03
"""Share of the empty audit's time under which a difference says more about the neighbours than about us."""


def run(rounds: int) -> Result:
    """Fit time over size, after taking off what an empty namespace costs."""
    with contextlib.ExitStack() as stack:
        spaces = {0: stack.enter_context(namespace())}
        for size in SIZES:
            half = size // 2
            spaces[size] = stack.enter_context(namespace(partial(fill, 0, half, half, 0o600)))
        commands = []
        for size, space in spaces.items():
            commands.append(ipcops(*AUDIT, where=space, name=_audit(size)))
            commands.append(Command(_ipcs(size), ("ipcs", "-a"), where=space))
        timings = measure(commands, rounds)
    setting = f"{SIZES[0]:,} to {SIZES[-1]:,} objects, half of them sets, half queues, mode 0600"
    result = Result(NAME, setting, timings, base=_ipcs(SIZES[-1]))
    ours, why = exponent({size: timings[_audit(size)] for size in spaces})
    theirs, _ = exponent({size: timings[_ipcs(size)] for size in spaces})
    note = "; ".join(part for part in (why, "" if theirs is None else f"ipcs -a: {theirs:.2f}") if part)
    result.figures.append(Figure("exponent of t over n (linear: 1)", ours, 1.1, note=note))
    if theirs is not None:
        result.notes.append(f"ipcs -a grows with n to the power of {theirs:.2f}")
    return result


def exponent(timings: Mapping[int, Timing]) -> tuple[float | None, str]:
    """Fit log t over log n by least squares, on the shortest runs; or say why not.

    Medians would not do: at the small sizes the neighbours' noise exceeds the difference. A size
    whose cost drowns in it even so is left out, and said to be.
    """
    if not all(timing.seconds for timing in timings.values()):
        return None, ""
    points, drowned = [], []
    for size, timing in timings.items():
        if size:
            more = timing.least - timings[0].least
            if more <= NOISE * timings[0].least:
                drowned.append(size)
            else:
                points.append((math.log(size), math.log(more)))
    if len(points) < 2:
        return None, "the objects cost no more than noise: more rounds needed"
    why = f"left out, within noise: {', '.join(f'{size:,}' for size in drowned)}" if drowned else ""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points)
    return slope / sum((x - mean_x) ** 2 for x, _ in points), why


def _audit(size: int) -> str:
    return f"ipcops audit, {size:,} objects"


def _ipcs(size: int) -> str:
    return f"ipcs -a, {size:,} objects"
