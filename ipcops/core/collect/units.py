"""When systemd began its units, as the files say that it keeps of those that run."""

from __future__ import annotations

from typing import Dict, Iterable

from ..fs import Directory


def read_unit_starts(root: Directory, units: Iterable[str]) -> Dict[str, float]:
    """Return the epoch second at which systemd began each unit, as far as it tells.

    At every start it makes /run/systemd/units/invocation:UNIT anew, and removes it when the unit ends
    (systemd.exec(5) has the invocation; src/core/unit.c, unit_export_invocation_id). Where that cannot be
    looked at, 0: a unit of which nothing is known was always there.
    """
    starts: Dict[str, float] = {}
    try:
        with root.directory("run/systemd/units") as directory:
            for unit in units:
                try:
                    starts[unit] = float(directory.info("invocation:" + unit).mtime)
                except FileNotFoundError:  # of another systemd, or none that runs here
                    continue
                except OSError:
                    starts[unit] = 0.0
    except FileNotFoundError:
        return {}
    except OSError:
        return dict.fromkeys(units, 0.0)
    return starts
