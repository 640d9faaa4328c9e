"""Before anything is removed or set: the plan is shown, a person is asked, and that very plan is carried out."""

from __future__ import annotations

import sys
from typing import Callable, Iterable, Optional

from .errors import InputError
from .model import Report, Request

YES = frozenset(("y", "yes"))


def consented(
    request: Request, run: Callable[[Request], Report], show: Callable[[Report], Iterable[str]]
) -> Optional[Report]:
    """Return the report of a request; where it removes or sets limits, after asking. ``None``: the answer was no.

    *show* gives the text of the plan for the terminal. Raise InputError where there is nobody to ask.
    """
    if not request.get("apply") or request.get("yes"):
        return run(request)
    limits = request["command"] == "limits"
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty()):
        raise InputError(
            "%s asks before it changes anything, and there is no terminal to ask on; add --yes, or %s to see the plan"
            % (("'limits %s'" % request["verb"], "run 'limits plan'") if limits else ("--apply", "leave --apply out"))
        )
    planned = run({**request, "apply": False, "preview": True})
    pending = planned["changes"] if limits else planned["plan"]["remove"]
    count = len(pending)
    agreed = {**request, "planned": pending if limits else planned["plan"]}
    if not count:
        return run(agreed)
    sys.stderr.writelines(show(planned))
    verb, noun = ("Change", "setting") if limits else ("Remove", "object")
    sys.stderr.write("\n%s %s? [y/N] " % (verb, "this " + noun if count == 1 else "these %d %ss" % (count, noun)))
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in YES:
        sys.stderr.write("Nothing was %s.\n" % ("changed" if limits else "removed"))
        return None
    return run(agreed)
