"""Before anything is removed: the plan is shown, a person is asked, and that very plan is carried out."""

from __future__ import annotations

import sys
from typing import Callable, Iterable, Optional

from .errors import InputError
from .model import Report, Request

YES = frozenset(("y", "yes"))


def consented(
    request: Request, run: Callable[[Request], Report], show: Callable[[Report], Iterable[str]]
) -> Optional[Report]:
    """Return the report of a request; where it removes, after asking. ``None``: the answer was no.

    *show* gives the text of the plan for the terminal. Raise InputError where there is nobody to ask.
    """
    if not request.get("apply") or request.get("yes"):
        return run(request)
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty()):
        raise InputError(
            "--apply asks before it removes anything, and there is no terminal to ask on;"
            " add --yes, or leave --apply out to see the plan"
        )
    planned = run({**request, "apply": False, "preview": True})
    count = len(planned["plan"]["remove"])
    agreed = {**request, "planned": planned["plan"]}
    if not count:
        return run(agreed)
    sys.stderr.writelines(show(planned))
    sys.stderr.write("\nRemove %s? [y/N] " % ("this object" if count == 1 else "these %d objects" % count))
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in YES:
        sys.stderr.write("Nothing was removed.\n")
        return None
    return run(agreed)
