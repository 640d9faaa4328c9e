"""What a bundle holds, and writing it: everything that a host without Ansible needs.

``scripts/`` of the repository is the same with every default and without the agent, which ``install.sh``
builds there.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, NamedTuple

from ipcops.core.errors import InputError, WriteError
from ipcops.core.fs import write_whole
from ipcops.render.jobs import JOBS
from ipcops.render.quote import text_of
from ipcops.render.settings import values
from ipcops.render.templates import rendered, settings_of

from . import agent

if TYPE_CHECKING:
    from collections.abc import Mapping

SUMS = "SHA256SUMS"


class File(NamedTuple):
    """One file of a bundle."""

    purpose: str
    """``code``, ``policy`` or ``config``, or the schedule and the job that it belongs to: ``cron-cleanup``."""
    mode: str
    source: str
    """Its path in the bundle."""
    target: str
    """Where it goes on a host."""
    text: str


def files(asked: Mapping[str, str], policy: str | None = None) -> list[File]:
    """Return the files that are rendered, with the settings that were *asked* for and the text of a *policy*.

    Raise InputError.
    """
    if "job" in asked:
        raise InputError("a bundle has all jobs; leave out --set job")
    known = values(asked)
    places = {name: text_of(known[name]) for name in ("lib", "bin", "policy")}

    def text(template: str, **more: str) -> str:
        used = settings_of(template, more)
        return rendered(template, {**{name: one for name, one in asked.items() if name in used}, **more})

    found = [
        File("policy", "644", "ipcops.conf", places["policy"], text("policy") if policy is None else policy),
        File("code", "755", "ipcops", places["bin"] + "/ipcops", text("command")),
        File("code", "755", "install.sh", places["lib"] + "/install.sh", text("install")),
        File("config", "644", "logrotate.d/ipcops", "/etc/logrotate.d/ipcops", text("logrotate")),
    ]
    for name, job in JOBS.items():
        unit = "ipcops-" + name
        found += [
            File("code", "755", job.script, f"{places['lib']}/{job.script}", text(name)),
            File(f"cron-{name}", "644", f"cron.d/{unit}", f"/etc/cron.d/{unit}", text("cron", job=name)),
        ]
        for kind in ("service", "timer"):
            file = f"{unit}.{kind}"
            found.append(
                File(f"systemd-{name}", "644", f"systemd/{file}", f"/etc/systemd/system/{file}", text(kind, job=name))
            )
    for phase in ("prolog", "epilog"):
        script = f"slurm-{phase}.sh"
        found.append(File("code", "755", script, f"{places['lib']}/{script}", text(f"slurm-{phase}")))
    return found


def manifest(found: list[File]) -> str:
    """Return what install.sh goes by: purpose, mode, source and target of each file, with tabs between."""
    return "".join("\t".join(one[:4]) + "\n" for one in found)


def write(directory: str, asked: Mapping[str, str], policy: str | None = None) -> list[str]:
    """Write a bundle into *directory*, which is made. Return the paths of its files in it.

    Raise InputError for one that holds something else; WriteError.
    """
    found = files(asked, policy)
    texts: dict[str, bytes] = {one.source: one.text.encode("utf-8", "surrogateescape") for one in found}
    texts["MANIFEST"] = manifest(found).encode("utf-8")
    texts[agent.FILE] = agent.build()
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(texts.items())]
    _require_ours(directory, {*texts, SUMS})
    modes = {one.source: int(one.mode, 8) for one in found}
    for name, content in [*texts.items(), (SUMS, "".join(sums).encode("ascii"))]:
        path = os.path.join(directory, name)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_whole(path, [content])
            os.chmod(path, modes.get(name, 0o644))
        except OSError as error:
            raise WriteError("cannot write '%s': %s" % (path, error.strerror)) from error
    return [*texts, SUMS]


def _require_ours(directory: str, names: set[str]) -> None:
    """Raise InputError if *directory* holds anything but an earlier bundle: an old file would go to hosts, too."""
    for parent, _, files_there in os.walk(directory):
        for name in files_there:
            path = os.path.relpath(os.path.join(parent, name), directory)
            if path not in names:
                raise InputError(
                    "'%s' holds '%s', which is not of a bundle; name a directory that is empty or not there yet"
                    % (directory, path)
                )
    if os.path.lexists(directory) and not os.path.isdir(directory):
        raise InputError("'%s' is no directory" % directory)
