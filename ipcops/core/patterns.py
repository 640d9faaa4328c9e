"""Regular expressions that are compiled when they are first used: a start needs few of those that it loads."""

from __future__ import annotations

import re
from typing import Any, AnyStr, Pattern, cast


class _Late:
    """Answers like the pattern, once it is asked something."""

    def __init__(self, text: Any, flags: int) -> None:
        self._made = (text, flags)

    def __getattr__(self, name: str) -> Any:
        found = getattr(re.compile(*self._made), name)
        setattr(self, name, found)
        return found


def late(text: AnyStr, flags: int = 0) -> Pattern[AnyStr]:
    """Return the pattern of *text*; that it is none shows only when it is used (tests/core/test_patterns.py)."""
    return cast("Pattern[AnyStr]", _Late(text, flags))
