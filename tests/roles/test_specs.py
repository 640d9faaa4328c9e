"""What a role says it takes is what it takes: defaults, argument specs, README and tags agree, for every role."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.generate import BEGIN, END, variables
from tests.roles.books import ROLES, ROOT

TYPES = {"str": str, "bool": bool, "int": int, "float": (int, float), "list": list, "dict": dict, "path": str}
# The order of sections in a role's README.
HEADINGS = [
    "Requirements", "Supported platforms", "Role variables", "Variables exported by the role", "How it runs",
    "Example playbook", "Tests", "License", "Author",
]  # fmt: skip

each_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def options(role: Path) -> dict[str, Any]:
    return read(role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]


def test_there_are_roles():
    assert ROLES


@each_role
def test_defaults_are_those_of_the_specs(role):
    told = {name: one["default"] for name, one in options(role).items() if "default" in one}
    assert told == (read(role / "defaults/main.yml") or {})


@each_role
def test_defaults_are_of_their_type(role):
    for name, one in options(role).items():
        if "default" in one:
            templated = isinstance(one["default"], str) and "{{" in one["default"]
            assert templated or isinstance(one["default"], TYPES[one["type"]]), name
            assert one["type"] == "bool" or not isinstance(one["default"], bool), name
        if "choices" in one and "default" in one:
            values = one["default"] if one["type"] == "list" else [one["default"]]
            assert set(values) <= set(one["choices"]), name


@each_role
def test_every_variable_bears_the_name_of_the_role_is_told_and_used(role):
    files = [*role.glob("tasks/*.yml"), *role.glob("vars/*.yml"), *role.glob("handlers/*.yml")]
    text = "\n".join(path.read_text("utf-8") for path in files)
    for name, one in options(role).items():
        assert name.startswith(f"{role.name}_"), name
        assert one["description"], name
        assert re.search(rf"\b{name}\b", text), f"no task uses {name}"
    known = {*options(role)}
    made = set(re.findall(r"register: (\w+)", text)) | set(re.findall(r"^(__\w+):", text, re.MULTILINE))
    made |= set(re.findall(r"^ {4}(\w+): ", text, re.MULTILINE))
    used = set(re.findall(rf"\b_*{role.name}_\w+", text))
    tags = {tag for path in role.glob("tasks/*.yml") for task in tasks(read(path)) for tag in tagged(task)}
    assert not used - known - made - tags, "used, and nowhere declared"


def tasks(found: Any) -> list[dict[str, Any]]:
    """Return every task of a file, those within blocks too."""
    inner = [one for task in found for part in ("block", "rescue", "always") for one in tasks(task.get(part, []))]
    return [*found, *inner]


def tagged(task: dict[str, Any]) -> list[str]:
    tags = task.get("tags", [])
    return [tags] if isinstance(tags, str) else tags


@each_role
def test_a_role_is_a_handful_of_tasks_with_tags_by_phase(role):
    found = [task for path in role.glob("tasks/*.yml") for task in tasks(read(path))]
    assert len([task for task in found if "block" not in task]) <= 8
    tags = {tag for task in found for tag in tagged(task)}
    assert role.name in tags
    if "ansible.builtin.assert" in found[0]:
        assert "always" in tagged(found[0]), "what checks the variables runs whatever is asked for"
    for tag in tags - {"always", "never", role.name}:
        assert tag.startswith(f"{role.name}_"), tag


@each_role
def test_its_readme_has_every_section_in_order_and_the_table_of_the_specs(role):
    text = (role / "README.md").read_text("utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert [one for one in headings if one in HEADINGS] == HEADINGS
    assert text.startswith(f"# {role.name}\n")
    table = text.partition(BEGIN)[2].partition(END)[0].strip()
    assert table == variables(read(role / "meta/argument_specs.yml")), "run make docs"


@each_role
def test_its_readme_tells_what_it_exports(role):
    text = (role / "README.md").read_text("utf-8")
    told = text.partition("## Variables exported by the role")[2].partition("\n## ")[0]
    every = "\n".join(path.read_text("utf-8") for path in role.glob("tasks/*.yml"))
    for name in re.findall(rf"register: ({role.name}_\w+)", every):
        assert f"`{name}`" in told, name


@each_role
def test_the_collections_links_reach_it(role):
    assert (ROOT / "ipcops/_collections/ansible_collections/ipcops/linux/roles" / role.name).samefile(role)
