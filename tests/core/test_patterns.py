"""Patterns that are compiled late are patterns."""

from __future__ import annotations

import importlib
import pkgutil
import re
from typing import Any, Iterator

import pytest

import ipcops.core
from ipcops.core import patterns


def late_ones() -> Iterator[Any]:
    """Yield every late pattern of the core, and where it is."""
    for module in pkgutil.walk_packages(ipcops.core.__path__, "ipcops.core."):
        if not module.name.endswith("__main__"):
            for name, value in vars(importlib.import_module(module.name)).items():
                for one in _inside(value):
                    yield pytest.param(one, id="%s.%s" % (module.name, name))


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, patterns._Late):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _inside(part)


EVERY = list(late_ones())


def test_they_were_found():
    assert len(EVERY) > 30


@pytest.mark.parametrize("one", EVERY)
def test_each_compiles(one):
    assert isinstance(re.compile(*one._made).pattern, (str, bytes))


def test_it_answers_like_the_pattern():
    one = patterns.late(r"(?P<pid>\d+)", re.ASCII)
    found = one.match("12x")
    assert found is not None
    assert (found["pid"], one.groupindex["pid"], one.pattern) == ("12", 1, r"(?P<pid>\d+)")
    assert one.match("x") is None
    with pytest.raises(AttributeError):
        one.no_such_thing  # noqa: B018
