"""The templates that ``ipcops render`` knows, and what each is filled with."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ipcops.core import policy
from ipcops.core.errors import InputError, unknown_word
from ipcops.core.known.families import FAMILIES
from ipcops.core.known.protections import SHIPPED
from ipcops.show import alerts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WIDTH = 96
PLACE = Path(__file__).parent.parent / "templates"


class Template(NamedTuple):
    """One template: its file, what it is for, and its variables."""

    file: str
    about: str
    variables: Callable[[], dict[str, Any]]


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


def alert_words(asked: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return what the alert rules are filled with, some settings as asked. Raise InputError."""
    texts = {name: default for name, default, *_ in alerts.SETTINGS}
    for name in asked or {}:
        if name not in texts:
            raise unknown_word("setting", name, texts)
    texts.update(asked or {})
    words: dict[str, Any] = {"settings": alerts.SETTINGS, "limits": alerts.LIMITS}
    for name, _, _, parse, least, most in alerts.SETTINGS:
        try:
            words[name] = parse(texts[name])
        except ValueError as error:
            raise InputError("%s: '%s' %s" % (name, texts[name], error)) from error
        if least is not None and most is not None and not least <= words[name] <= most:
            raise InputError("%s: %s is out of bounds; from %d to %d" % (name, texts[name], least, most))
    return words


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

TEMPLATES = {
    "policy": Template("ipcops.conf.j2", "the policy file, with every setting explained", _policy),
    **{
        f"policy-{name}": Template(
            f"policies/{name}.conf.j2", f"a policy for a {name.replace('-', ' ')}, {about}", _families
        )
        for name, about in EXAMPLES.items()
    },
    "alerts": Template("prometheus/ipcops.rules.yml.j2", "alert rules for Prometheus", alert_words),
}


def rendered(name: str) -> str:
    """Return a template filled. Raise InputError for one that there is not."""
    if name not in TEMPLATES:
        raise unknown_word("template", name, TEMPLATES)
    template = TEMPLATES[name]
    environment = Environment(
        loader=FileSystemLoader(PLACE),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  # configuration files, not HTML
    )
    environment.filters["comment"] = comment
    return environment.get_template(template.file).render(template.variables())
