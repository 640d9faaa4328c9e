"""An administrator who cleans by a policy: what the tests of the cases and stories share."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

from ipcops.render.templates import rendered
from tests import world

Name = tuple[str, Any]  # kind, and id or path

HARSHEST = """\
[clean]
second_sighting = 0
max_removals = 100000
[remove segments]
kind = shm
min_age = 0
owner_gone = ignore
[remove sets]
kind = sem msg
owner = nameless mqm appdb averylongname*
min_age = 0
accept = strong
with_data = yes
[remove files]
kind = posix-shm
name = /psm_* /torch_* /vader_* /PostgreSQL.* /results*
min_age = 0
owner_gone = ignore
accept = strong
[remove others]
kind = posix-sem posix-mq
min_age = 0
accept = strong
"""
"""As much as a policy can let go: of everybody, at once, however alive the owner is."""


def stated(text: str, section: str, line: str) -> str:
    """Return a policy with a line more in a section, which need not be there yet."""
    head = re.compile(rf"^\[{re.escape(section)}\]$", re.MULTILINE)
    if not head.search(text):
        return f"{text}\n[{section}]\n{line}\n"
    return head.sub(lambda found: f"{found[0]}\n{line}", text, count=1)


def example(name: str, *edits: tuple[str, str]) -> str:
    """Return a shipped example policy after edits: a line and what it is replaced with; each must be there."""
    text = rendered(f"policy-{name}")
    for before, after in edits:
        found = re.compile(before, re.MULTILINE)
        assert found.search(text), f"policy-{name} has no line {before!r}:\n{text}"
        text = found.sub(lambda _, after=after: after, text)
    return text


class Admin:
    """Root, or the user of a uid, with a state directory and a policy that names it."""

    def __init__(self, text: str = "", uid: int | None = None) -> None:
        self.uid = uid
        self.state = Path(tempfile.mkdtemp(dir=world.here())) / "state"
        if uid is not None:
            os.chown(self.state.parent, uid, uid)
        self.policy = ""
        self.says(text)

    def says(self, text: str) -> None:
        """Write another policy."""
        text = stated(text, "clean", f"state = {self.state}")
        self.policy = world.policy(stated(text, "scan", "unreadable_ok = init.scope"))

    def run(self, *words: str) -> world.Answer:
        """Run a command under the policy."""
        return world.ipcops(*words, "--policy", self.policy, uid=self.uid)

    def ask(self, *words: str, status: int = 0) -> Any:
        """Return the report of a command that must end with a status."""
        answer = self.run(*words, "--format", "json")
        assert answer.status == status, f"{words}: status {answer.status}: {answer.err}{answer.out[-4000:]}"
        return answer.json

    def plan(self, *words: str) -> Plan:
        """Return what would go and what stays."""
        return Plan(self.ask("clean", *words))

    def clean(self, *words: str, status: int = 0) -> Plan:
        """Remove what goes."""
        return Plan(self.ask("clean", "--apply", "--yes", *words, status=status))

    def refused(self, *words: str) -> Plan:
        """Name objects that all stay, which is a failure."""
        plan = self.clean(*words, status=4)
        assert not plan.goes
        assert not plan.removed
        assert plan.failed
        return plan


class Plan:
    """A report of ``ipcops clean``, asked by names."""

    def __init__(self, report: Any) -> None:
        assert report["schema"] == "ipcops.clean/1"
        self.report = report
        plan = report["plan"]
        self.goes = {named(one) for one in plan["remove"]}
        self.stays = {named(one): one["why"] for one in plan["keep"]}
        assert not self.goes & self.stays.keys()
        assert all(self.stays.values())
        self.verdicts = {named(one): one["verdict"] for one in plan["keep"]}
        self.removed = {named(one) for one in report["removed"]}
        self.failed = {named(one): one["why"] for one in report["failed"]}
        assert self.removed <= self.goes
        if report["applied"]:
            assert self.removed | self.failed.keys() >= self.goes

    def of(self, *kinds: str) -> set[Name]:
        """Return all objects of some kinds that it tells of."""
        return {name for name in self.goes | self.stays.keys() if name[0] in kinds}


def named(one: dict[str, Any]) -> Name:
    """Return kind and id or path of an object in a report."""
    return one["kind"], one["path"] if one["id"] is None else one["id"]


def there() -> set[Name]:
    """Return what the kernel itself says there is."""
    found: set[Name] = set()
    for kind, column in (("shm", "shmid"), ("sem", "semid"), ("msg", "msqid")):
        found |= {(kind, row[column]) for row in world.table(kind)}
    for path in Path("/dev/shm").iterdir():
        if path.is_file() and not path.is_symlink():
            found.add(("posix-sem" if path.name.startswith("sem.") else "posix-shm", f"/{path.name}"))
    if os.path.ismount("/dev/mqueue"):
        found |= {("posix-mq", f"/{path.name}") for path in Path("/dev/mqueue").iterdir()}
    return found
