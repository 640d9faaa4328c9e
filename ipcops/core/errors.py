"""What can go wrong, as one small family of exceptions.

Raised low, where the object is known; translated into a message and an exit status
once, in :mod:`ipcops.core.agent` and in ``ipcops/cli/main.py``.
"""

from __future__ import annotations

from typing import Iterable

from . import exits


class IpcopsError(Exception):
    """Something a user can understand and act on: what happened, to what, what to do.

    ``exit_status`` is the status the process ends with.
    """

    exit_status = exits.PARTLY_FAILED


class InputError(IpcopsError):
    """The command line, a policy or an input file is wrong; nothing was done."""

    exit_status = exits.WRONG_INPUT


class UndeterminedError(IpcopsError):
    """What was asked could not be determined at all."""

    exit_status = exits.UNDETERMINED


class WriteError(IpcopsError):
    """The answer could not be written where it was wanted."""

    exit_status = exits.PARTLY_FAILED


def unknown_word(what: str, word: str, known: Iterable[str]) -> InputError:
    """Return the error for a *word* that is none of *known*, naming the nearest one."""
    import difflib  # slow to load, and most runs are spelled right

    words = list(known)
    folded = {candidate.casefold(): candidate for candidate in words}
    near = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.0)
    hint = "; did you mean '%s'?" % folded[near[0]] if near else ""
    return InputError("unknown %s '%s'%s (known: %s)" % (what, word, hint, ", ".join(words)))
