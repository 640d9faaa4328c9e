"""Roles as a user runs them, on containers that are reached by ssh: the examples of the READMEs, and the playbooks."""

from __future__ import annotations

import json
from typing import Any

import yaml

from tests.jobs.hosts import changes
from tests.plugins.reached import Played, Reached
from tests.world import REPO


def example(role: str) -> list[dict[str, Any]]:
    """Return the example playbook of a role's README, for whatever host there is."""
    section = (REPO / "roles" / role / "README.md").read_text("utf-8").partition("\n## Example playbook\n")[2]
    plays = yaml.safe_load(section.partition("```yaml\n")[2].partition("\n```")[0])
    for play in plays:
        play["hosts"] = "target"
    return plays


def asked_for(role: str) -> list[dict[str, Any]]:
    """Return the variables of the section 'What is asked for', each paragraph by itself."""
    section = (REPO / "roles" / role / "README.md").read_text("utf-8").partition("\n## What is asked for\n")[2]
    return list(map(yaml.safe_load, section.partition("```yaml\n")[2].partition("\n```")[0].split("\n\n")))


def run(one: Reached, plays: list[dict[str, Any]], *words: str, check: bool = True) -> Played:
    """Run plays."""
    book = one.place / "book.json"
    book.write_text(json.dumps(plays))
    return one.run(book, *words, check=check)


def role(name: str, **variables: Any) -> list[dict[str, Any]]:
    """Return a play with a role."""
    roles = [{"role": f"ipcops.linux.{name}", "vars": variables}]
    return [{"hosts": "target", "gather_facts": False, "become": False, "roles": roles}]


def playbook(one: Reached, name: str, *words: str, check: bool = True, **variables: Any) -> Played:
    """Run one of the playbooks."""
    return one.run(REPO / f"playbooks/{name}.yml", "--extra-vars", json.dumps(variables), *words, check=check)


def recap(played: Played) -> dict[str, int]:
    """Return the counts of the host: ok, changed, failed and so on."""
    (line,) = [one for one in played.said.splitlines() if one.startswith("target ") and " : ok=" in one]
    return {name: int(number) for name, number in (word.split("=") for word in line.partition(" : ")[2].split())}


def leaves_nothing(one: Reached, played: Played, *but: str) -> None:
    """Assert that a host is as it was before anything was installed."""
    assert recap(played)["changed"] == 1
    left = changes(one.before, one.listing())
    assert {path for path in left if not path.startswith(("/var/lib/systemd/timers", *but))} == set()


def refused(one: Reached, told: str, name: str, **variables: Any) -> None:
    """Assert that a role is refused with a message that says what to write, before the host is touched."""
    before = one.listing(times=True)
    played = run(one, role(name, **variables), check=False)
    assert played.status == 2, played.said
    assert told in " ".join(played.said.replace("\\n", " ").split()), played.said
    assert changes(before, one.listing(times=True)) == {}
