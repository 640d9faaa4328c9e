"""The core from a shell: ``python3 -m ipcops.core audit``. Nothing needs to be installed.

The same verbs, options and exit statuses as the command ``ipcops``, plain text or JSON.
"""

from __future__ import annotations

import argparse
import gc
import shutil
import sys
from typing import Any, Dict, List, NoReturn, Optional, Sequence

from . import exits
from .consent import consented
from .deliver import deliver, guarded, text_of
from .errors import InputError
from .options import HELP, default_format
from .policy import parse_duration
from .run import run, status


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are ours: raised, not printed from deep inside."""

    def error(self, message: str) -> NoReturn:
        raise InputError("%s; see --help" % message)


def seconds(text: str) -> float:
    """Return seconds from ``10``, ``10s`` or ``2m``, for argparse."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError("'%s' %s" % (text, error)) from error


def parser() -> argparse.ArgumentParser:
    """Return the parser of the agent's command line."""
    default = " (default: %(default)s)"
    top = _Parser(prog="python3 -m ipcops.core", description=HELP["ipcops"])
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    common = _Parser(add_help=False)
    common.add_argument("--format", choices=("table", "json"), help=HELP["format"] + " (default: table)")
    common.add_argument("--output", metavar="FILE", help=HELP["output"])
    common.add_argument("--debug", action="store_true", help=HELP["debug"])
    looking = _Parser(add_help=False)
    looking.add_argument("--policy", metavar="FILE", help=HELP["policy"])
    looking.add_argument("--deadline", type=seconds, metavar="SECONDS", help=HELP["deadline"])
    looking.add_argument("--all-namespaces", action="store_true", help=HELP["all_namespaces"])
    looking.add_argument("--probe", action="store_true", help=HELP["probe"])

    audit = commands.add_parser("audit", parents=[common, looking], help=HELP["audit"], description=HELP["audit"])
    audit.add_argument("--kind", dest="kinds", action="append", metavar="KIND", help=HELP["kind"])
    audit.add_argument("--rule", dest="rules", action="append", metavar="RULE", help=HELP["rule"])
    audit.add_argument("--min-severity", metavar="SEVERITY", help=HELP["min_severity"])
    audit.add_argument("--fail-on", default="medium", metavar="SEVERITY", help=HELP["fail_on"] + default)
    audit.add_argument("--require-complete", action="store_true", help=HELP["require_complete"])
    audit.add_argument("--profile", dest="profiles", action="append", metavar="PROFILE", help=HELP["profile"])
    audit.add_argument("--samples", type=int, metavar="N", help=HELP["samples"])
    audit.add_argument("--interval", type=seconds, default=1.0, metavar="SECONDS", help=HELP["interval"] + default)

    listing = commands.add_parser("list", parents=[common, looking], help=HELP["list"], description=HELP["list"])
    listing.add_argument("kinds", nargs="*", metavar="KIND", help=HELP["kind"])
    listing.add_argument("--verdict", dest="verdicts", action="append", metavar="VERDICT", help=HELP["verdict"])
    listing.add_argument("--owner", metavar="USER", help=HELP["owner"])
    listing.add_argument("--sort", metavar="ORDER", help=HELP["sort"])

    show = commands.add_parser("show", parents=[common, looking], help=HELP["show"], description=HELP["show"])
    show.add_argument("objects", nargs="+", metavar="KIND:ID", help=HELP["object"])

    rules = commands.add_parser("rules", parents=[common], help=HELP["rules"], description=HELP["rules"])
    rules.add_argument("rules", nargs="*", metavar="RULE", help=HELP["rules_named"])

    explain = commands.add_parser("explain", parents=[common], help=HELP["explain"], description=HELP["explain"])
    explain.add_argument("call", nargs="?", metavar="CALL", help=HELP["call"])
    explain.add_argument("errno", nargs="?", metavar="ERRNO", help=HELP["errno"])
    explain.add_argument("--policy", metavar="FILE", help=HELP["policy"])
    explain.add_argument("--deadline", type=seconds, metavar="SECONDS", help=HELP["deadline"])

    _cleaning(commands, common)
    _limits(commands, common)
    return top


def _cleaning(commands: Any, common: _Parser) -> None:
    """Add the commands that change something, and those that tell of it."""
    policy = _Parser(add_help=False)
    policy.add_argument("--policy", metavar="FILE", help=HELP["policy"])
    looking = _Parser(add_help=False, parents=[policy])
    looking.add_argument("--deadline", type=seconds, metavar="SECONDS", help=HELP["deadline"])

    clean = commands.add_parser("clean", parents=[common, looking], help=HELP["clean"], description=HELP["clean"])
    clean.add_argument("objects", nargs="*", metavar="KIND:ID", help=HELP["named"])
    clean.add_argument("--apply", action="store_true", help=HELP["apply"])
    clean.add_argument("--yes", action="store_true", help=HELP["yes"])
    clean.add_argument("--plan", metavar="FILE", help=HELP["plan"])
    clean.add_argument("--kind", dest="kinds", action="append", metavar="KIND", help=HELP["removable"])
    clean.add_argument("--owner", metavar="USER", help=HELP["owner"])
    clean.add_argument("--min-age", type=seconds, metavar="AGE", help=HELP["min_age"])
    clean.add_argument("--max-removals", type=int, metavar="N", help=HELP["max_removals"])
    clean.add_argument("--with-data", action="store_true", help=HELP["with_data"])
    clean.add_argument("--job-ended", metavar="USER", help=HELP["job_ended"])
    clean.add_argument("--notify", action="store_true", help=HELP["notify"])
    clean.add_argument("--backup", metavar="DIR", help=HELP["backup_dir"])
    clean.add_argument("--no-backup", action="store_true", help=HELP["no_backup"])
    clean.add_argument("--exit-code", action="store_true", help=HELP["exit_code"])

    backup = commands.add_parser("backup", parents=[common, looking], help=HELP["backup"], description=HELP["backup"])
    backup.add_argument("objects", nargs="+", metavar="KIND:ID", help=HELP["object"])
    backup.add_argument("--backup", dest="directory", metavar="DIR", help=HELP["backup_dir"])

    restore = commands.add_parser(
        "restore", parents=[common, policy], help=HELP["restore"], description=HELP["restore"]
    )
    restore.add_argument("backup", metavar="BACKUP", help=HELP["saved"])
    restore.add_argument("objects", nargs="*", metavar="KIND:ID", help=HELP["wanted"])

    journal = commands.add_parser(
        "journal", parents=[common, policy], help=HELP["journal"], description=HELP["journal"]
    )
    journal.add_argument("--since", metavar="WHEN", help=HELP["since"])
    journal.add_argument("--kind", dest="kinds", nargs=1, metavar="KIND", help=HELP["journal_kind"])
    journal.add_argument("--key", metavar="KEY", help=HELP["journal_key"])

    changing = commands.add_parser("set", parents=[common, looking], help=HELP["set"], description=HELP["set"])
    changing.add_argument("objects", nargs=1, metavar="KIND:ID", help=HELP["object"])
    changing.add_argument("changes", nargs="+", metavar="NAME=VALUE", help=HELP["change"])


def _limits(commands: Any, common: _Parser) -> None:
    """Add the commands about kernel limits."""
    group = commands.add_parser("limits", help=HELP["limits"], description=HELP["limits"])
    verbs = group.add_subparsers(dest="verb", metavar="COMMAND", required=True)
    policy = _Parser(add_help=False)
    policy.add_argument("--policy", metavar="FILE", help=HELP["policy"])
    chosen = _Parser(add_help=False)
    chosen.add_argument("--profile", dest="profiles", action="append", metavar="PROFILE", help=HELP["profile"])
    chosen.add_argument("--set", dest="values", action="append", metavar="NAME=VALUE", help=HELP["value"])
    chosen.add_argument("--force-lower", action="store_true", help=HELP["force_lower"])

    def verb(name: str, *parents: _Parser) -> argparse.ArgumentParser:
        about = HELP["limits " + name]
        added: argparse.ArgumentParser = verbs.add_parser(
            name, parents=[common, policy, *parents], help=about, description=about
        )
        return added

    verb("show")
    verb("profiles").add_argument("names", nargs="*", metavar="PROFILE", help=HELP["profile_named"])
    verb("plan", chosen).add_argument("--exit-code", action="store_true", help=HELP["limits_exit_code"])
    for name, parents in (("apply", (chosen,)), ("rollback", ())):
        changing = verb(name, *parents)
        changing.set_defaults(apply=True)
        changing.add_argument("--yes", action="store_true", help=HELP["limits_yes"])
    changing.add_argument("batch", nargs="?", metavar="NAME", help=HELP["applied"])


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run one command and return its exit status."""
    gc.disable()  # one short run that only grows: collecting would cost a tenth and free nothing
    words: List[str] = list(sys.argv[1:] if arguments is None else arguments)

    def work() -> int:
        request: Dict[str, Any] = vars(parser().parse_args(words or ["--help"]))
        request["format"] = request["format"] or default_format(request["command"], request["output"])
        width = shutil.get_terminal_size((80, 24)).columns if sys.stdout and sys.stdout.isatty() else 80
        report = consented(request, run, lambda planned: text_of({**request, "format": "table"}, planned, width))
        if report is None:
            return exits.DONE
        deliver(text_of(request, report, width), request.get("output"))
        return status(request, report)

    return guarded(work, debug="--debug" in words, name="ipcops")
