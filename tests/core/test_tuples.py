"""Our named tuples are as typing's, but for what a start need not pay for."""

from __future__ import annotations

import inspect
import pickle
import typing
from typing import Optional

import pytest

from ipcops.core import model
from ipcops.core.tuples import NamedTuple


class Ours(NamedTuple):
    """A thing."""

    id: int
    name: str = "x"
    """What it is called."""
    more: Optional[int] = None

    @property
    def double(self) -> int:
        """Twice the id."""
        return 2 * self.id

    @classmethod
    def one(cls) -> Ours:
        return cls(1)

    def plus(self, other: int) -> Ours:
        return self._replace(id=self.id + other)


class Theirs(typing.NamedTuple):
    """A thing."""

    id: int
    name: str = "x"
    more: Optional[int] = None


def test_they_are_made_alike():
    assert Ours(1) == Theirs(1) == (1, "x", None)
    assert Ours(1, more=3) == Theirs(1, more=3)
    assert repr(Ours(1)) == repr(Theirs(1)).replace("Theirs", "Ours")
    assert inspect.signature(Ours).parameters.keys() == inspect.signature(Theirs).parameters.keys()
    assert (Ours._fields, Ours._field_defaults, Ours.__doc__) == (Theirs._fields, Theirs._field_defaults, "A thing.")
    for wrong in ((), (1, 2, 3, 4)):
        with pytest.raises(TypeError):
            Ours(*wrong)


def test_they_have_methods_and_are_fixed():
    assert Ours.one().plus(2).double == 6
    assert Ours(1) != Ours(2)
    with pytest.raises(AttributeError):
        Ours(1).id = 2


def test_they_travel():
    assert pickle.loads(pickle.dumps(Ours(1))) == Ours(1)
    gap = model.Gap("table", "what", "why")
    assert pickle.loads(pickle.dumps(gap)) == gap
    assert type(pickle.loads(pickle.dumps(gap))) is model.Gap
