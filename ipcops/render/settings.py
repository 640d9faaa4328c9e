"""What can be set in the rendered scripts: each setting declared once, with its default and what it may be."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ipcops.core.errors import InputError, unknown_word
from ipcops.core.policy import parse_count, parse_yes
from ipcops.core.run import FAIL_ON

from . import alerts
from .jobs import JOBS
from .quote import Value, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_MACROS = "@(?:hourly|daily|midnight|weekly|monthly|yearly|annually)"
_FIELD = r"[0-9A-Za-z*,/-]+"
_SCHEDULE = re.compile(rf"(?:{_MACROS}|{_FIELD}(?: +{_FIELD}){{4}})\Z")
_CALENDAR = re.compile(r"[A-Za-z0-9*,./~:+_ -]+\Z")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
_ADDRESS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*\Z")


def _path(text: str) -> Value:
    if not text.startswith("/") or "/../" in text + "/":
        raise ValueError("is no absolute path; write it from / on, such as /var/lib/ipcops")
    if len(text.rstrip("/")) == 0:
        raise ValueError("is the root directory; name one below it")
    return Value(text_of(text).rstrip("/"))


def _word(pattern: re.Pattern[str], what: str) -> Callable[[str], Value]:
    def parse(text: str) -> Value:
        if not pattern.match(text):
            raise ValueError(f"is no {what}")
        return Value(text)

    return parse


def _mail(text: str) -> Value:
    return _word(_ADDRESS, "user or address to mail to, such as root")(text) if text else Value("")


def _job(text: str) -> str:
    if text not in JOBS:
        raise unknown_word("job", text, JOBS)
    return text


def _severity(text: str) -> str:
    if text not in FAIL_ON:
        raise unknown_word("severity", text, FAIL_ON)
    return text


class Setting(NamedTuple):
    """One setting of the rendered scripts."""

    name: str
    default: str
    """As one writes it; empty where the job says."""
    meaning: str
    parse: Callable[[str], Any]
    """From text to what a template gets. Raises ValueError."""
    least: int | None = None
    most: int | None = None

    def value(self, text: str) -> Any:
        """Return what a template gets. Raise InputError."""
        try:
            found = self.parse(text)
        except ValueError as error:
            raise InputError("%s: '%s' %s" % (self.name, text, error)) from error
        if self.least is not None and self.most is not None and not self.least <= found <= self.most:
            raise InputError("%s: %s is out of bounds; from %d to %d" % (self.name, text, self.least, self.most))
        return found


SETTINGS = (
    Setting("job", "cleanup", "Which job a cron file, service or timer is for: " + ", ".join(JOBS) + ".", _job),
    Setting("lib", "/usr/local/lib/ipcops", "Where the agent and the scripts lie.", _path),
    Setting("bin", "/usr/local/sbin", "Where the command ipcops lies.", _path),
    Setting("policy", "/etc/ipcops/ipcops.conf", "The policy file on the host.", _path),
    Setting(
        "state",
        "/var/lib/ipcops",
        "Where journal and backups lie; with --policy, where that policy puts them.",
        _path,
    ),
    Setting("log", "/var/log/ipcops", "Where the jobs write what they did.", _path),
    Setting("apply", "yes", "Whether the cleanup removes anything; no only tells what would go.", parse_yes),
    Setting("notify", "no", "Whether owners are mailed first; only what was announced is removed then.", parse_yes),
    Setting(
        "textfiles",
        "/var/lib/prometheus/node-exporter",
        "The directory that node_exporter's textfile collector reads; the metrics become ipcops.prom there.",
        _path,
    ),
    Setting(
        "fail_on", "medium", "The severity from which on the health check fails: " + ", ".join(FAIL_ON) + ".", _severity
    ),
    Setting("complete", "no", "Whether the health check fails when anything could not be seen.", parse_yes),
    Setting(
        "schedule",
        "",
        "When cron starts the job, as crontab(5) has it. The default is the job's: "
        + ", ".join(f"{name} '{job.cron}'" for name, job in JOBS.items())
        + ".",
        _word(_SCHEDULE, "time of crontab(5); write five fields, such as '17 3 * * *', or @daily"),
    ),
    Setting(
        "calendar",
        "",
        "When a timer starts the job, as systemd.time(7) has it. The default is the job's: "
        + ", ".join(f"{name} '{job.calendar}'" for name, job in JOBS.items())
        + ".",
        _word(_CALENDAR, "calendar event of systemd.time(7), such as '*-*-* 03:17:00'"),
    ),
    Setting(
        "spread",
        "",
        "Seconds that the start is put off by at most, each host by its own time. The default is the job's: "
        + ", ".join(f"{name} {job.spread}" for name, job in JOBS.items())
        + ".",
        parse_count,
        0,
        86_400,
    ),
    Setting("nice", "19", "The priority that the job gives way with, from 0 to 19 (nice(1)).", parse_count, 0, 19),
    Setting("mail", "root", "Whom cron mails what a job that failed said; nobody if empty.", _mail),
    Setting("keep", "12", "How many weeks of logs logrotate keeps.", parse_count, 1, 1000),
    Setting(
        "settle", "4", "Seconds that a Slurm script waits for what the job used last to be old enough to go.",
        parse_count, 0, 60,
    ),
    Setting("nrpe_user", "nagios", "Who NRPE runs as; nrpe on the RHEL family.", _word(_USER, "name of a user")),
    Setting("zabbix_user", "zabbix", "Who Zabbix's agent runs as.", _word(_USER, "name of a user")),
    *(Setting(*row) for row in alerts.SETTINGS),
)  # fmt: skip
BY_NAME = {setting.name: setting for setting in SETTINGS}
BY_JOB = {"schedule": "cron", "calendar": "calendar", "spread": "spread"}
"""The settings whose default is the job's, and what the job calls it."""


def parse_assignments(words: Sequence[str]) -> dict[str, str]:
    """Return what ``--set KEY=VALUE`` asked for. Raise InputError, naming the nearest key for an unknown one."""
    asked: dict[str, str] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise InputError("--set takes KEY=VALUE, such as spread=600; '%s' has no =" % word)
        if name not in BY_NAME:
            raise unknown_word("setting", name, BY_NAME)
        if name in asked:
            raise InputError("--set %s is given twice" % name)
        asked[name] = text
    return asked


def values(asked: Mapping[str, str]) -> dict[str, Any]:
    """Return every setting as templates get it. Raise InputError."""
    job = JOBS[BY_NAME["job"].value(asked.get("job", BY_NAME["job"].default))]
    defaults = {one.name: one.default for one in SETTINGS}
    defaults |= {name: str(getattr(job, field)) for name, field in BY_JOB.items()}
    found = {one.name: one.value(asked.get(one.name, defaults[one.name])) for one in SETTINGS}
    return {**found, "script": job.script, "about": job.about}
