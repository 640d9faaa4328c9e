"""The last steps of every run: the report as text, its way out, and failures translated, once."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, Iterator, Optional

from . import exits
from .errors import IpcopsError, WriteError
from .fs import write_whole
from .model import Report, Request

DEFECT_ADDRESS = "please report it with this line and the output of --debug"


def text_of(request: Request, report: Report, width: int = 80) -> Iterator[str]:
    """Yield a report in the format that was asked for, in pieces."""
    if request.get("format") == "json":
        from .records import json_text

        return json_text(report)
    if request["command"] == "metrics":
        from .exposition import exposition

        return iter(()) if "textfile" in report else exposition(report)
    if request["command"] == "check":
        from .check import line

        return line(report)
    from .layout import plain  # JSON needs none of it
    from .text import laid_out

    return plain(laid_out(request["command"], report), width)


def deliver(pieces: Iterator[str], output: Optional[str]) -> None:
    """Write a report to standard output or, whole or not at all, to a file. Raise WriteError."""
    if output is not None:
        write_whole(output, pieces)
        return
    if sys.stdout is None:  # started with it closed, as in "ipcops list >&-"
        raise WriteError("cannot write to standard output: it is closed")
    try:
        write = sys.stdout.buffer.write
        for piece in pieces:
            write(piece.encode("utf-8", "surrogateescape"))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        import signal

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)  # as any other program in a pipe that was closed
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise WriteError("cannot write to standard output: %s" % error.strerror) from error


def guarded(work: Any, *, debug: bool, name: str, plugin: bool = False) -> int:
    """Return the exit status of *work*, with every failure translated: the one place for that.

    A *plugin* of a monitoring system says what is wrong as it says everything, and then its state is UNKNOWN.
    """
    try:
        return int(work())
    except IpcopsError as error:
        return _ended(name, str(error), error.exit_status, plugin)
    except KeyboardInterrupt:
        return _ended(name, "interrupted", exits.INTERRUPTED, plugin)
    except Exception as error:  # noqa: BLE001  # a defect of ours, told in one line
        if debug:
            import traceback

            traceback.print_exc()
        words = "a defect in ipcops itself (%s: %s); %s" % (type(error).__name__, error, DEFECT_ADDRESS)
        return _ended(name, words, exits.DEFECT, plugin)


def _ended(name: str, message: str, status: int, plugin: bool) -> int:  # noqa: FBT001  # passed on
    if not plugin:
        _say(name, message)
        return status
    from .check import UNKNOWN, headline

    with contextlib.suppress(WriteError):  # then the status alone tells
        deliver(iter([headline("UNKNOWN", message) + "\n"]), None)
    return UNKNOWN


def _say(name: str, message: str) -> None:
    """Write one line to standard error; names of objects may hold anything, so they are escaped."""
    from .layout import printable

    with contextlib.suppress(OSError, AttributeError):  # a closed standard error must not hide the exit status
        sys.stderr.write("%s: %s\n" % (name, printable(message)))
