"""Named tuples that cost little to make; a start makes sixty of them (docs/adr/0001-named-tuples.md).

``typing.NamedTuple`` compiles the annotation of every field. Nobody here asks a class for the types of its fields.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any, Dict, Tuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:

    class _Making(type):
        def __new__(cls, name: str, _: Tuple[type, ...], body: Dict[str, Any]) -> type:
            """Return a named tuple with the annotated fields of *body*; its methods and texts stay."""
            fields = body["__annotations__"]
            defaults = [body.pop(field) for field in fields if field in body]
            made = namedtuple(  # noqa: PYI024  # this is what makes the other one
                name, fields, defaults=defaults, module=body.pop("__module__")
            )
            for word, value in body.items():
                setattr(made, word, value)
            return made

    NamedTuple = type.__new__(_Making, "NamedTuple", (), {})

__all__ = ["NamedTuple"]
