"""Values in templates, each quoted for where it lands, or refused.

A setting reaches a template as a :class:`Value`, which has no text of its own: a template that forgets to say
where the value lands fails, whatever the value is. The filters here give it its text.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ipcops.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable


class Value:
    """A text from outside. It may be joined to a path by ``/``, and given to a filter; nothing else."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __truediv__(self, name: str) -> Value:
        return Value(self.text.rstrip("/") + "/" + name)

    def __str__(self) -> str:
        raise TypeError("the value '%s' lands unquoted; a template says where it lands: {{ value | sh }}" % self.text)

    __format__ = __repr__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        return bool(self.text)


def text_of(value: Value | str) -> str:
    """Return the text itself. Raise InputError for control characters, which no place can hold."""
    text = value.text if isinstance(value, Value) else value
    for letter in text:
        if not letter.isprintable():
            raise InputError("the value %r holds %r, which no rendered file can hold safely" % (text, letter))
    return text


def _without(letters: str, place: str) -> Callable[[Value | str], str]:
    def check(value: Value | str) -> str:
        text = text_of(value)
        for letter in text:
            if letter in letters:
                raise InputError("the value '%s' holds %s, which cannot stand in %s" % (text, letter, place))
        return text

    return check


_cron = _without("\\", "a crontab's command")
_crontab_value = _without("\"'\\$", "a crontab's variable")
_logrotate = _without("\"'\\*?[]{}~", "a path for logrotate")


def sh(value: Value | str) -> str:
    """Return one word of a POSIX shell (XCU 2.2)."""
    return shlex.quote(text_of(value))


def cron(value: Value | str) -> str:
    r"""Return one word of a crontab's command: the shell's, with ``\%``, as cron makes ends of lines of others.

    Crons differ in whether they also take away other backslashes (crontab(5)), so there is none.
    """
    return shlex.quote(_cron(value)).replace("%", "\\%")


def cron_value(value: Value | str) -> str:
    """Return what a variable of a crontab is set to (crontab(5)): in double quotes, which nothing in it can end."""
    return '"%s"' % _crontab_value(value)


def unit_word(value: Value | str) -> str:
    """Return one word of a list in a systemd unit, such as a path (systemd.syntax(7), systemd.unit(5): specifiers)."""
    return '"%s"' % text_of(value).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")


def unit_optional(value: Value | str) -> str:
    """Return a path in a list that may name what is not there (systemd.exec(5): ReadWritePaths)."""
    return unit_word("-" + text_of(value))


def unit_command(value: Value | str) -> str:
    """Return one word of a systemd command line, where ``$`` is special, too (systemd.service(5): COMMAND LINES)."""
    return unit_word(value).replace("$", "$$")


def logrotate(value: Value | str) -> str:
    """Return a path in a file of /etc/logrotate.d, where globs are expanded."""
    return '"%s"' % _logrotate(value)


def ini(value: Value | str) -> str:
    """Return the value of a key in the policy, where blanks at the ends are lost and ``#`` begins a comment."""
    text = text_of(value)
    if text != text.strip() or " #" in text or " ;" in text:
        raise InputError("the value '%s' cannot stand in a policy: blanks at its ends and ' #' are lost there" % text)
    return text


def bare(value: Value | str) -> str:
    """Return a path of letters that are special to no reader of a command (sudoers(5), nrpe.cfg)."""
    text = text_of(value)
    for letter in text:
        if not (letter.isascii() and (letter.isalnum() or letter in "/._+-")):
            raise InputError("the value '%s' holds %r, which cannot stand in a command for sudo" % (text, letter))
    return text


def plain(value: Value | str) -> str:
    """Return a text as it is: for a comment, or where the own check of its setting leaves nothing special in it."""
    return text_of(value)


FILTERS = {
    function.__name__: function
    for function in (sh, cron, cron_value, unit_word, unit_optional, unit_command, logrotate, ini, bare, plain)
}
"""What templates call them."""
