"""The alert rules, rendered with other settings, for tests."""

from __future__ import annotations

from unittest import mock

from ipcops.show import templates


def rendered(**changes: str) -> str:
    """Return the rules as ``ipcops render alerts`` gives them, with some settings changed."""
    template = templates.TEMPLATES["alerts"]._replace(variables=lambda: templates.alert_words(changes))
    with mock.patch.dict(templates.TEMPLATES, {"alerts": template}):
        return templates.rendered("alerts")
