"""Run the benchmarks: `python -m tests.bench [NAME…] [--rounds N] [--json FILE]`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from . import (
    agent,
    all_findings,
    cleaning,
    everything,
    fleet_health,
    fleet_limits,
    fleet_site,
    growth,
    limits,
    many_objects,
    monitoring,
    processes,
    quiet,
)
from .harness import BenchError, Result, as_json, progress, report, say, summarise

BENCHMARKS = {
    module.NAME: module
    for module in (
        many_objects, all_findings, growth, processes, everything, quiet, agent, monitoring, cleaning, limits,
        fleet_limits, fleet_health, fleet_site,
    )
}


def main() -> int:
    """Run what was asked for; 0 whatever the figures are, 1 if a benchmark could not run."""
    options = _options()
    results: list[Result] = []
    broken = 0
    _say_load()
    for name in options.names or BENCHMARKS:
        module = BENCHMARKS[name]
        try:
            result = module.run(options.rounds or module.ROUNDS)
        except (BenchError, OSError) as error:
            progress("")
            say(f"\n== {name}: could not run: {error}")
            broken += 1
            continue
        report(result)
        results.append(result)
    if results:
        summarise(results)
    _say_load()
    if options.json:
        text = json.dumps(as_json(results), indent=1) + "\n"
        options.json.write_text(text, encoding="utf-8")
    return 1 if broken else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="ipcops beside the common tools, in one run, as ratios. Nothing fails on a clock.",
    )
    # `choices` would refuse the empty list that means "all".
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"of: {', '.join(BENCHMARKS)}")
    parser.add_argument("--rounds", type=_positive, help="runs of every command (default: by benchmark)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single run there")
    options = parser.parse_args()
    for name in options.names:
        if name not in BENCHMARKS:
            parser.error(f"no benchmark {name!r}; there are: {', '.join(BENCHMARKS)}")
    return options


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least one round")
    return number


def _say_load() -> None:
    load, processors = os.getloadavg()[0], os.cpu_count() or 1
    words = f"load {load:.1f} on {processors} processors"
    if load > processors:
        words += ": others are at work, read the ratios with care"
    say(words)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
