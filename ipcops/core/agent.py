"""The core from a shell: ``python3 -m ipcops.core audit``. Nothing needs to be installed.

The same verbs, options and exit statuses as the command ``ipcops``, plain text or JSON.
"""

from __future__ import annotations

import argparse
import gc
import sys
from typing import Any, Callable, Dict, List, NoReturn, Optional, Sequence

from . import __version__, exits
from .consent import consented
from .deliver import deliver, guarded, text_of
from .errors import InputError
from .options import HELP, default_format
from .policy import parse_duration
from .run import run, status

PROG = "python3 -m ipcops.core"


class _Formatter(argparse.HelpFormatter):
    """Knows its width: every option is tried on one, which would ask for the terminal's by a large module."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=80)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are ours: raised, not printed from deep inside."""

    def __init__(self, **about: Any) -> None:
        super().__init__(formatter_class=_Formatter, **about)

    def format_help(self) -> str:
        """Return the help, as wide as the terminal."""
        self.formatter_class = argparse.HelpFormatter
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        raise InputError("%s; see --help" % message)


def seconds(text: str) -> float:
    """Return seconds from ``10``, ``10s`` or ``2m``, for argparse."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError("'%s' %s" % (text, error)) from error


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the parser of the agent's command line, with every command; *prog* is what it is called by."""
    top = _Parser(prog=prog, description=HELP["ipcops"])
    top.add_argument("--version", action="version", version="ipcops %s" % __version__, help=HELP["version"])
    commands = top.add_subparsers(dest="command", metavar="COMMAND", prog=prog)
    for name, add in COMMANDS.items():
        add(commands.add_parser(name, help=HELP[name], description=HELP[name]))
    return top


def parsed(words: Sequence[str], prog: str) -> Dict[str, Any]:
    """Return what the command line says. Only the command that it begins with is built. Raise InputError."""
    name = words[0] if words else "--help"
    if name not in COMMANDS:
        return vars(parser(prog).parse_args([name, *words[1:]]))
    one = _Parser(prog="%s %s" % (prog, name), description=HELP[name])
    COMMANDS[name](one)
    return {"command": name, **vars(one.parse_args(words[1:]))}


# ---------------------------------------------------------------- options of several commands

_DEFAULT = " (default: %(default)s)"


def _common(to: _Parser) -> None:
    to.add_argument("--format", choices=("table", "json"), help=HELP["format"] + " (default: table)")
    to.add_argument("--output", metavar="FILE", help=HELP["output"])
    to.add_argument("--debug", action="store_true", help=HELP["debug"])


def _policy(to: _Parser) -> None:
    to.add_argument("--policy", metavar="FILE", help=HELP["policy"])


def _looking(to: _Parser) -> None:
    _common(to)
    _policy(to)
    to.add_argument("--deadline", type=seconds, metavar="SECONDS", help=HELP["deadline"])


def _everywhere(to: _Parser) -> None:
    _looking(to)
    to.add_argument("--all-namespaces", action="store_true", help=HELP["all_namespaces"])
    to.add_argument("--probe", action="store_true", help=HELP["probe"])


# ---------------------------------------------------------------- commands that look


def _audit(to: _Parser) -> None:
    _everywhere(to)
    to.add_argument("--kind", dest="kinds", action="append", metavar="KIND", help=HELP["kind"])
    to.add_argument("--rule", dest="rules", action="append", metavar="RULE", help=HELP["rule"])
    to.add_argument("--min-severity", metavar="SEVERITY", help=HELP["min_severity"])
    to.add_argument("--fail-on", default="medium", metavar="SEVERITY", help=HELP["fail_on"] + _DEFAULT)
    to.add_argument("--require-complete", action="store_true", help=HELP["require_complete"])
    to.add_argument("--profile", dest="profiles", action="append", metavar="PROFILE", help=HELP["profile"])
    to.add_argument("--samples", type=int, metavar="N", help=HELP["samples"])
    to.add_argument("--interval", type=seconds, default=1.0, metavar="SECONDS", help=HELP["interval"] + _DEFAULT)


def _list(to: _Parser) -> None:
    _everywhere(to)
    to.add_argument("kinds", nargs="*", metavar="KIND", help=HELP["kind"])
    to.add_argument("--verdict", dest="verdicts", action="append", metavar="VERDICT", help=HELP["verdict"])
    to.add_argument("--owner", metavar="USER", help=HELP["owner"])
    to.add_argument("--sort", metavar="ORDER", help=HELP["sort"])


def _show(to: _Parser) -> None:
    _everywhere(to)
    to.add_argument("objects", nargs="+", metavar="KIND:ID", help=HELP["object"])


def _rules(to: _Parser) -> None:
    _common(to)
    to.add_argument("rules", nargs="*", metavar="RULE", help=HELP["rules_named"])
    to.add_argument("--policy", metavar="FILE", help=HELP["rules_policy"])


def _explain(to: _Parser) -> None:
    _common(to)
    to.add_argument("call", nargs="?", metavar="CALL", help=HELP["call"])
    to.add_argument("errno", nargs="?", metavar="ERRNO", help=HELP["errno"])
    to.add_argument("--policy", metavar="FILE", help=HELP["policy"])
    to.add_argument("--deadline", type=seconds, metavar="SECONDS", help=HELP["deadline"])


def _metrics(to: _Parser) -> None:
    _looking(to)
    to.add_argument("--textfile", metavar="PATH", help=HELP["textfile"])


def _check(to: _Parser) -> None:
    _looking(to)
    for name in ("warning", "critical"):
        to.add_argument("--" + name, action="append", metavar="METRIC=RANGE", help=HELP[name])


# ---------------------------------------------------------------- commands that change something, or tell of it


def _clean(to: _Parser) -> None:
    _looking(to)
    to.add_argument("objects", nargs="*", metavar="KIND:ID", help=HELP["named"])
    to.add_argument("--apply", action="store_true", help=HELP["apply"])
    to.add_argument("--yes", action="store_true", help=HELP["yes"])
    to.add_argument("--plan", metavar="FILE", help=HELP["plan"])
    to.add_argument("--kind", dest="kinds", action="append", metavar="KIND", help=HELP["removable"])
    to.add_argument("--owner", metavar="USER", help=HELP["owner"])
    to.add_argument("--min-age", type=seconds, metavar="AGE", help=HELP["min_age"])
    to.add_argument("--max-removals", type=int, metavar="N", help=HELP["max_removals"])
    to.add_argument("--with-data", action="store_true", help=HELP["with_data"])
    to.add_argument("--job-ended", metavar="USER", help=HELP["job_ended"])
    to.add_argument("--notify", action="store_true", help=HELP["notify"])
    to.add_argument("--backup", metavar="DIR", help=HELP["backup_dir"])
    to.add_argument("--no-backup", action="store_true", help=HELP["no_backup"])
    to.add_argument("--exit-code", action="store_true", help=HELP["exit_code"])


def _backup(to: _Parser) -> None:
    _looking(to)
    to.add_argument("objects", nargs="+", metavar="KIND:ID", help=HELP["object"])
    to.add_argument("--backup", dest="directory", metavar="DIR", help=HELP["backup_dir"])


def _restore(to: _Parser) -> None:
    _common(to)
    _policy(to)
    to.add_argument("backup", metavar="BACKUP", help=HELP["saved"])
    to.add_argument("objects", nargs="*", metavar="KIND:ID", help=HELP["wanted"])


def _journal(to: _Parser) -> None:
    _common(to)
    _policy(to)
    to.add_argument("--since", metavar="WHEN", help=HELP["since"])
    to.add_argument("--kind", dest="kinds", nargs=1, metavar="KIND", help=HELP["journal_kind"])
    to.add_argument("--key", metavar="KEY", help=HELP["journal_key"])


def _set(to: _Parser) -> None:
    _looking(to)
    to.add_argument("objects", nargs=1, metavar="KIND:ID", help=HELP["object"])
    to.add_argument("changes", nargs="+", metavar="NAME=VALUE", help=HELP["change"])


# ---------------------------------------------------------------- kernel limits


def _limits(to: _Parser) -> None:
    verbs = to.add_subparsers(dest="verb", metavar="COMMAND", required=True)

    def verb(name: str, *, chooses: bool = False) -> argparse.ArgumentParser:
        about = HELP["limits " + name]
        added = verbs.add_parser(name, help=about, description=about)
        _common(added)
        _policy(added)
        if chooses:
            added.add_argument("--profile", dest="profiles", action="append", metavar="PROFILE", help=HELP["profile"])
            added.add_argument("--set", dest="values", action="append", metavar="NAME=VALUE", help=HELP["value"])
            added.add_argument("--force-lower", action="store_true", help=HELP["force_lower"])
        return added

    verb("show")
    verb("profiles").add_argument("names", nargs="*", metavar="PROFILE", help=HELP["profile_named"])
    verb("plan", chooses=True).add_argument("--exit-code", action="store_true", help=HELP["limits_exit_code"])
    for name, chooses in (("apply", True), ("rollback", False)):
        changing = verb(name, chooses=chooses)
        changing.set_defaults(apply=True)
        changing.add_argument("--yes", action="store_true", help=HELP["limits_yes"])
    changing.add_argument("batch", nargs="?", metavar="NAME", help=HELP["applied"])


COMMANDS: Dict[str, Callable[[_Parser], None]] = {
    "audit": _audit,
    "list": _list,
    "show": _show,
    "rules": _rules,
    "explain": _explain,
    "metrics": _metrics,
    "check": _check,
    "clean": _clean,
    "backup": _backup,
    "restore": _restore,
    "journal": _journal,
    "set": _set,
    "limits": _limits,
}
"""Name to what adds its options."""


def main(arguments: Optional[Sequence[str]] = None, *, name: str = PROG) -> int:
    """Run one command and return its exit status."""
    gc.disable()  # one short run that only grows: collecting would cost a tenth and free nothing
    words: List[str] = list(sys.argv[1:] if arguments is None else arguments)

    def work() -> int:
        request: Dict[str, Any] = parsed(words, name)
        request["format"] = request["format"] or default_format(request["command"], request["output"])
        width = _width()
        report = consented(request, run, lambda planned: text_of({**request, "format": "table"}, planned, width))
        if report is None:
            return exits.DONE
        deliver(text_of(request, report, width), request.get("output"))
        return status(request, report)

    return guarded(work, debug="--debug" in words, name="ipcops", plugin=words[:1] == ["check"])


def _width() -> int:
    """Return how wide the terminal is; 80 where there is none."""
    if not (sys.stdout and sys.stdout.isatty()):
        return 80
    import shutil  # with its compressors it takes longer to load than a terminal is missed

    return shutil.get_terminal_size((80, 24)).columns
