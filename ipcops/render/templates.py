"""The templates that ``ipcops render`` knows, and what each is filled with."""

from __future__ import annotations

import functools
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, meta

from ipcops.core import policy
from ipcops.core.errors import InputError, unknown_word
from ipcops.core.known.families import FAMILIES
from ipcops.core.known.protections import SHIPPED

from . import alerts
from .jobs import JOBS
from .quote import FILTERS
from .settings import BY_NAME, values

if TYPE_CHECKING:
    from collections.abc import Mapping

WIDTH = 96
PLACE = Path(__file__).parent.parent / "templates"


class Template(NamedTuple):
    """One template: its file, what it is for, and what is said in it besides the settings."""

    file: str
    about: str
    words: Mapping[str, Any] = {}


def _policy() -> dict[str, Any]:
    sections: dict[str, list[policy.Setting]] = {}
    for setting in policy.SETTINGS:
        sections.setdefault(setting.section, []).append(setting)
    return {
        "path": policy.DEFAULT_PATH,
        "sections": sections,
        "protect_keys": policy.PROTECT_KEYS,
        "remove_keys": policy.REMOVE_KEYS,
        "shipped": SHIPPED,
        "examples": [f"policy-{name}" for name in EXAMPLES],
        **_families(),
    }


def _families() -> dict[str, Any]:
    """Return the names that an example policy asks for: those of files, as the named semaphores are another kind."""
    return {"families": [family.glob for family in FAMILIES if not family.glob.startswith("/sem.")]}


def comment(text: str, hang: int = 0) -> str:
    """Return *text* as comment lines; further lines hang in by *hang*, as INI continuation wants."""
    lines = textwrap.wrap(text, WIDTH - 2, subsequent_indent=" " * hang, break_on_hyphens=False)
    return "\n".join("# " + line for line in lines)


EXAMPLES = {
    "web-server": "whose semaphore sets are left behind when it is killed",
    "batch-node": "where jobs of many users come and go",
    "gpu-node": "where killed jobs leave files while others of the same user run",
    "database-host": "where hardly anything goes",
}
"""What the example policies are for."""

# Below the ten seconds that check_nrpe waits, and the three that Zabbix's agent does.
_NRPE = {"deadline": 8, "json": False}
_ZABBIX = {"deadline": 2, "json": True}

TEMPLATES = {
    "policy": Template("ipcops.conf.j2", "the policy file, with every setting explained", _policy()),
    **{
        f"policy-{name}": Template(
            f"policies/{name}.conf.j2", f"a policy for a {name.replace('-', ' ')}, {about}", _families()
        )
        for name, about in EXAMPLES.items()
    },
    "cleanup": Template("ipc-cleanup.sh.j2", "the script that cron or a timer cleans with"),
    "monitor": Template("ipc-monitor.sh.j2", "the script that writes metrics for node_exporter"),
    "health": Template("ipc-health.sh.j2", "the script that tells on one page what is wrong, and fails"),
    "cron": Template("job.cron.j2", "a file for /etc/cron.d that starts a job"),
    "service": Template("ipc-{job}.service.j2", "a systemd service that runs a job, and may do nothing else"),
    "timer": Template("job.timer.j2", "the systemd timer that starts it"),
    "logrotate": Template("logrotate.j2", "a file for /etc/logrotate.d that bounds the logs of the jobs"),
    "slurm-prolog": Template(
        "slurm/job-ended.sh.j2", "a Prolog for Slurm that removes what a user's earlier jobs left", {"phase": "prolog"}
    ),
    "slurm-epilog": Template(
        "slurm/job-ended.sh.j2", "an Epilog for Slurm that removes what a job left", {"phase": "epilog"}
    ),
    "command": Template("ipcops.sh.j2", "the command ipcops on a host without packages"),
    "install": Template("install.sh.j2", "what installs, verifies and removes a bundle", {"jobs": tuple(JOBS)}),
    "nrpe": Template("agents/nrpe.cfg.j2", "a command for NRPE that tells the state of IPC", _NRPE),
    "nrpe-sudoers": Template("agents/nrpe-sudoers.j2", "what lets NRPE run it as root", _NRPE),
    "zabbix": Template("agents/zabbix.conf.j2", "an item for Zabbix's agent with the state of IPC", _ZABBIX),
    "zabbix-sudoers": Template("agents/zabbix-sudoers.j2", "what lets Zabbix's agent run it as root", _ZABBIX),
    "alerts": Template(
        "prometheus/ipcops.rules.yml.j2",
        "alert rules for Prometheus",
        {"settings": alerts.SETTINGS, "limits": alerts.LIMITS},
    ),
}


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(PLACE),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  # scripts and configuration files, not HTML; see quote.Value
    )
    environment.filters["comment"] = comment
    environment.filters.update(FILTERS)
    return environment


def _file(template: Template, job: str) -> str:
    return template.file.replace("{job}", job)


def settings_of(name: str, asked: Mapping[str, str]) -> list[str]:
    """Return the settings that a template, or what it includes, asks for. Raise InputError for an unknown one."""
    if name not in TEMPLATES:
        raise unknown_word("template", name, TEMPLATES)
    found = _variables(_file(TEMPLATES[name], BY_NAME["job"].value(asked.get("job", BY_NAME["job"].default))))
    if found & {"script", "about"} or "{job}" in TEMPLATES[name].file:
        found |= {"job"}
    return [one for one in BY_NAME if one in found]


@functools.cache
def _variables(file: str) -> frozenset[str]:
    """Return what a template, and what it includes, is filled with."""
    tree = _environment().parse((PLACE / file).read_text("utf-8"))
    found = frozenset(meta.find_undeclared_variables(tree))
    return found.union(*(_variables(one) for one in meta.find_referenced_templates(tree) if one))


def rendered(name: str, asked: Mapping[str, str] | None = None) -> str:
    """Return a template filled, with the settings that were *asked* for. Raise InputError.

    A setting that the template has no use for is refused, too: whoever gave it expected something else.
    """
    asked = asked or {}
    used = settings_of(name, asked)
    for one in asked:
        if one not in used:
            has = "it has " + ", ".join(used) if used else "it has none"
            raise InputError("template '%s' has no setting '%s'; %s" % (name, one, has))
    template = TEMPLATES[name]
    words = values(asked)
    return _environment().get_template(_file(template, words["job"])).render({**words, **template.words})
