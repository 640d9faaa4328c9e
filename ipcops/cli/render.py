"""``ipcops render``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ipcops.cli.common import Debug, Output, end
from ipcops.core.errors import InputError
from ipcops.core.options import HELP

if TYPE_CHECKING:
    from collections.abc import Iterator

Assignments = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help=HELP["set_value"])]
PolicyToo = Annotated[str | None, typer.Option("--policy", metavar="FILE", help=HELP["rendered_policy"])]


def asked_for(words: list[str] | None, policy: str | None) -> dict[str, str]:
    """Return the settings that were asked for; a policy file says where journal and backups lie. Raise InputError."""
    from ipcops.core.run import read_policy  # --help needs none of it
    from ipcops.render.settings import BY_NAME, parse_assignments

    asked = parse_assignments(words or [])
    if policy is None:
        return asked
    state = str(read_policy(policy)["clean", "state"]) or BY_NAME["state"].default
    if asked.get("state", state) != state:
        raise InputError("the policy says that the state directory is '%s'; leave out --set state" % state)
    return {**asked, "state": state}


def listed() -> Iterator[str]:
    """Yield the templates, each with what can be set in it, and then what that means."""
    from ipcops.render.settings import SETTINGS
    from ipcops.render.templates import TEMPLATES, settings_of

    for name, one in TEMPLATES.items():
        used = " ".join(settings_of(name, {}))
        yield "%-22s%s%s\n" % (name, one.about, f"\n{'':22}--set: {used}" if used else "")
    yield "\nWhat --set takes, as KEY=VALUE:\n"
    for setting in SETTINGS:
        default = f" (default: {setting.default})" if setting.default else ""
        yield "  %-14s%s%s\n" % (setting.name, setting.meaning, default)


def render(
    template: Annotated[str | None, typer.Argument(metavar="TEMPLATE", help=HELP["template"])] = None,
    list_all: Annotated[bool, typer.Option("--list", help=HELP["list_templates"])] = False,
    assignments: Assignments = None,
    policy: PolicyToo = None,
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Render one of the templates."""

    def work() -> int:
        from ipcops.core.deliver import deliver
        from ipcops.render.templates import rendered, settings_of

        if list_all:
            deliver(listed(), output)
            return 0
        if template is None:
            raise InputError("no template was named; 'ipcops render --list' lists them")
        asked = asked_for(assignments, policy)
        if policy is not None and "state" not in settings_of(template, asked):
            raise InputError("template '%s' says nothing that a policy decides; leave out --policy" % template)
        deliver(iter([rendered(template, asked)]), output)
        return 0

    end(work, debug=debug)
