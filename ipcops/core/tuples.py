"""``NamedTuple`` for half of what ``typing``'s costs a start: docs/adr/0001-named-tuples.md.

That one compiles every annotation to a ForwardRef, for some 70 classes with 400 fields. Nobody asks for these here;
what type checkers see is typing's own.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any, Dict, Tuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple  # noqa: PLC0414  # so that it can be imported from here
else:

    class _Maker(type):
        """Makes a named tuple out of the body of a class."""

        def __new__(cls, name: str, _: Tuple[type, ...], body: Dict[str, Any]) -> type:
            fields = tuple(body["__annotations__"])
            defaults = [body[field] for field in fields if field in body]
            made = namedtuple(name, fields, defaults=defaults, module=body["__module__"])  # noqa: PYI024
            for key, value in body.items():
                if key not in fields and key not in ("__module__", "__annotations__"):
                    setattr(made, key, value)
            return made

    class _NamedTuple:
        """Stands in a list of bases, as typing's does (PEP 560)."""

        def __mro_entries__(self, _: Tuple[Any, ...]) -> Tuple[type, ...]:
            return (_BASE,)

    _BASE = type.__new__(_Maker, "NamedTuple", (), {})
    NamedTuple = _NamedTuple()
