"""Mail to the owners of what would go, through the host's own sendmail."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import List, Optional, Sequence

from .fs import find_program
from .layout import printable
from .tuples import NamedTuple

PLACES = ("/usr/sbin", "/usr/lib")
"""Where sendmail lies besides PATH, which leaves these out for ordinary users (hier(7))."""

PATIENCE = 60.0
"""Seconds that sendmail may take to accept one mail."""

MOST_NAMED = 500
"""As many objects a mail names; a longer command would not fit a terminal's line."""

_ADDRESS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
"""The user names that a header can hold as they are."""


class Notice(NamedTuple):
    """What one owner is told."""

    user: Optional[str]
    """The owner's name; what belongs to a uid without one is told to root."""
    owner: str
    """The owner in words."""
    going: Sequence[str]
    """Objects that a later run removes, each as the command line names it."""
    idle: Sequence[str]
    """Objects that only their owner can give up."""
    size: str
    """How much memory they hold, in words; empty for none that is known."""


def send(notice: Notice, hostname: str) -> Optional[str]:
    """Mail one owner. Return why it failed, ``None`` when sendmail took it."""
    recipient = notice.user or "root"
    if not _ADDRESS.match(recipient):
        return "the name '%s' cannot stand in a mail's header" % recipient
    program = find_program("sendmail", PLACES)
    if program is None:
        return "there is no sendmail on this host"
    try:
        done = subprocess.run(  # noqa: S603  # a fixed program, and no shell
            [program, "-t", "-oi"],
            input=text_of(notice, recipient, hostname).encode("utf-8", "surrogateescape"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
        )
    except OSError as error:
        return "%s cannot be started: %s" % (program, error.strerror)
    except subprocess.TimeoutExpired:
        return "%s did not take the mail in %d s" % (program, PATIENCE)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return "%s ended with status %d%s" % (program, done.returncode, ": " + printable(said[-1]) if said else "")
    return None


def text_of(notice: Notice, recipient: str, hostname: str) -> str:
    """Return the mail: what is unused, what becomes of it, and the command that removes it."""
    count = len(notice.going) + len(notice.idle)
    objects = "1 unused IPC object" if count == 1 else "%d unused IPC objects" % count
    held = ", which hold%s %s of memory" % ("s" if count == 1 else "", notice.size) if notice.size else ""
    lines = [
        "To: %s" % recipient,
        "Subject: %s of %s on %s" % (objects, notice.owner, printable(hostname)),
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "",
        "%s has %s on %s%s." % (notice.owner, objects, printable(hostname), held),
    ]
    for names, told in (
        (notice.going, "A later run of ipcops removes these. Whoever needs one may use it, and it stays:"),
        (notice.idle, "These stay until their owner removes them. If nobody needs them any more, please run:"),
    ):
        if names:
            lines += ["", told, "", *_command(names, apply=names is notice.idle)]
    lines += ["", "'ipcops show KIND:ID' tells what is known of one, and why.", ""]
    return "\n".join(lines)


def _command(names: Sequence[str], *, apply: bool) -> List[str]:
    """Return the command that removes the objects, or only their names; on as many lines as it takes."""
    words = [shell_word(name) for name in names[:MOST_NAMED]]
    lines, line = [], "  ipcops clean --apply" if apply else " "
    for word in words:
        if len(line) + len(word) > 76 and line.strip():
            lines.append(line + (" \\" if apply else ""))
            line = "   "
        line += " " + word
    lines.append(line)
    more = len(names) - len(words)
    if more:
        lines += ["", "  and %d more, which 'ipcops list' shows" % more]
    return lines


def shell_word(text: str) -> str:
    """Return *text* as one word of a shell's command line, whatever it holds (bash(1): QUOTING)."""
    if text.isprintable():
        return shlex.quote(text)
    escaped = "".join("\\x%02x" % byte for byte in text.encode("utf-8", "surrogateescape"))
    return "$'%s'" % escaped
