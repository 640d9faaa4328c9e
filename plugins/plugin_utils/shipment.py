# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is to lie on a host: rendered or built on the controller by the package, as ``ipcops bundle`` has it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from . import package
from .memo import remembered

PLACES = ("lib", "bin", "policy", "state", "log", "job")
"""The settings that are options of their own, or said by one."""
EXTRAS = {
    "alerts": ("ipcops.rules.yml", 0o644, ("promtool", "check", "rules")),
    "nrpe": ("ipcops-check.cfg", 0o644, ()),
    "zabbix": ("ipcops-check.conf", 0o644, ()),
    "nrpe-sudoers": ("ipcops-nrpe", 0o440, ("visudo", "-c", "-q", "-f")),
    "zabbix-sudoers": ("ipcops-zabbix", 0o440, ("visudo", "-c", "-q", "-f")),
}
"""What the job monitor may bring for others: template, name, mode, and who checks it before."""
SUDOERS = "/etc/sudoers.d"


class Item(NamedTuple):
    """One file."""

    purpose: str
    """``code`` is ours alone; ``policy``, ``config`` and what a schedule reads may be edited on the host."""
    mode: int
    path: str
    content: bytes
    check: tuple[str, ...] = ()
    """What judges it on a host where that is installed; the file is its last argument."""

    @property
    def digest(self) -> str:
        """The checksum."""
        return hashlib.sha256(self.content).hexdigest()


def _pack(items: Iterable[Item]) -> bytes:
    return json.dumps([[*one[:3], base64.b64encode(one.content).decode(), *one[4:]] for one in items]).encode()


def _unpack(packed: bytes) -> list[Item]:
    return [
        Item(purpose, mode, path, base64.b64decode(content), tuple(check))
        for purpose, mode, path, content, check in json.loads(packed)
    ]


def agent_files(asked: Mapping[str, str], policy: str | None) -> list[Item]:
    """Return all but the agent that ipc_agent installs. Raise the package's InputError for a setting."""

    def make() -> bytes:
        package.importable()
        from ipcops.bundle import contents

        wanted = ("policy", "code", "config")
        return _pack(
            Item(one.purpose, int(one.mode, 8), one.target, one.text.encode("utf-8", "surrogateescape"))
            for one in contents.files(asked, policy)
            if one.purpose in wanted and not one.source.startswith(("ipc-", "slurm-"))
        )

    return _unpack(remembered("agent-files", [asked, policy], make))


def job_files(job: str, asked: Mapping[str, str], extras: Mapping[str, str]) -> list[Item]:
    """Return what may belong to a job: its script, both schedules, Slurm's scripts, the *extras* by their paths.

    Raise the package's InputError for a setting, or one that the job has no use for.
    """

    def make() -> bytes:
        package.importable()
        from ipcops.bundle import contents
        from ipcops.render.jobs import JOBS
        from ipcops.render.templates import rendered, settings_of

        _refuse_unused(job, asked, extras)
        script = JOBS[job].script
        found = [
            Item(one.purpose, int(one.mode, 8), one.target, one.text.encode("utf-8", "surrogateescape"))
            for one in contents.files(asked)
            if one.purpose.endswith(f"-{job}")
            or one.source == script
            or (job == "cleanup" and one.source.startswith("slurm-"))
        ]
        for template, path in extras.items():
            used = {name: text for name, text in asked.items() if name in settings_of(template, {})}
            _, mode, check = EXTRAS[template]
            found.append(Item("config", mode, path, rendered(template, used).encode(), check))
        return _pack(found)

    return _unpack(remembered("job-files", [job, asked, extras], make))


def _refuse_unused(job: str, asked: Mapping[str, str], extras: Iterable[str]) -> None:
    """Raise InputError for a setting that no file of a job has."""
    from ipcops.core.errors import InputError, unknown_word
    from ipcops.render.settings import BY_NAME
    from ipcops.render.templates import settings_of

    templates = [job, "cron", "service", "timer", *extras]
    templates += ["slurm-prolog", "slurm-epilog"] if job == "cleanup" else []
    used = {name for template in templates for name in settings_of(template, {"job": job})} - set(PLACES)
    for name in asked:
        if name in PLACES:
            continue
        if name not in BY_NAME:
            raise unknown_word("setting", name, sorted(used))
        if name not in used:
            raise InputError(
                "settings: '%s' is nothing that the job %s has here; it has %s" % (name, job, ", ".join(sorted(used)))
            )


def example(name: str, state: str) -> str:
    """Return the text of a policy that comes with ipcops, with journal and backups in *state*. Raise InputError."""

    def make() -> bytes:
        package.importable()
        from ipcops.core.state import SYSTEM_PATH
        from ipcops.render.quote import FILTERS, text_of
        from ipcops.render.settings import BY_NAME
        from ipcops.render.templates import rendered

        text = rendered(f"policy-{name}")
        place = BY_NAME["state"].value(state)
        if text_of(place) == SYSTEM_PATH:
            return text.encode()
        if "[clean]\n" not in text:
            text += "\n[clean]\n"
        return text.replace("[clean]\n", f"[clean]\nstate = {FILTERS['ini'](place)}\n", 1).encode()

    return remembered("policy-example", [name, state], make).decode()


def python_finder() -> str:
    """Return the shell function that scripts on a host find their Python with."""

    def make() -> bytes:
        return (package.root() / "ipcops/templates/shell/python.sh.j2").read_bytes()

    return remembered("python", [], make).decode()


def agent() -> bytes:
    """Return the agent as one file, ipcops-agent.pyz."""

    def make() -> bytes:
        package.importable()
        from ipcops.bundle.agent import build

        return build()

    return remembered("agent", [], make)


def archive_of(agent_file: bytes) -> str:
    """Return the checksum of the archive in an agent, which it remembers when it is unpacked (bundle/starter.py)."""
    with zipfile.ZipFile(io.BytesIO(agent_file)) as whole:
        (name,) = [one for one in whole.namelist() if one != "__main__.py"]
        return hashlib.sha256(whole.read(name)).hexdigest()


def state_of_policy(text: str, path: str) -> str:
    """Return where journal and backups lie by a policy. Raise InputError where it is wrong."""

    def make() -> bytes:
        package.importable()
        from ipcops.core.policy import parse_policy
        from ipcops.core.rules.catalogue import BY_ID
        from ipcops.core.state import SYSTEM_PATH

        return json.dumps(str(parse_policy(text, path, BY_ID)["clean", "state"]) or SYSTEM_PATH).encode()

    return str(json.loads(remembered("policy", [text, path], make)))


def settings(values: Mapping[str, Any]) -> dict[str, str]:
    """Return settings as one writes them for ``--set``: YAML has truths and numbers."""
    words = {True: "yes", False: "no"}
    return {name: words[value] if isinstance(value, bool) else str(value) for name, value in values.items()}
