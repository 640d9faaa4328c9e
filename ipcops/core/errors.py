"""What can go wrong, as one small family of exceptions.

Raised low, where the object is known; translated into a message and an exit status
once, in :func:`ipcops.core.deliver.guarded`.
"""

from __future__ import annotations

from typing import Iterable

from . import exits

FEW = 12
"""No more valid words than this are all named in a message."""


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
    near = max(words, key=lambda one: difflib.SequenceMatcher(None, word.casefold(), one.casefold()).ratio())
    listed = " (known: %s)" % ", ".join(words) if len(words) <= FEW else ""
    return InputError("unknown %s '%s'; did you mean '%s'?%s" % (what, word, near, listed))
