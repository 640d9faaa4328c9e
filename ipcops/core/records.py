"""Many equal-shaped JSON objects kept as one template and its columns.

A host may have 68,000 findings. As dictionaries they need hundreds of megabytes and
seconds to encode; as columns they need neither. A :class:`Records` behaves as a read-only
sequence of dictionaries (each made when asked for) and encodes itself to JSON by filling
one format string per row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, Dict, Iterable, Iterator, List, Tuple

Template = Any
"""A JSON value whose leaves may be :class:`Column` or :class:`Text`."""


class Column:
    """One value per row: integers, strings, or anything JSON can say."""

    __slots__ = ("values",)

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values


class Text:
    """A sentence per row: *template* with ``{name}`` filled from the columns of that name."""

    __slots__ = ("columns", "template")

    def __init__(self, template: str, columns: Dict[str, Sequence[str]]) -> None:
        self.template = template
        self.columns = columns

    def at(self, row: int) -> str:
        """Return the sentence of one row."""
        names = _names(self.template)
        return self.template.format(**{name: self.columns[name][row] for name in names})


def _names(template: str) -> List[str]:
    from string import Formatter  # compiles patterns, which only sentences are worth

    return [name for _, name, _, _ in Formatter().parse(template) if name is not None]


def formatted(values: Iterable[Any], form: Callable[[Any], str]) -> List[str]:
    """Return ``form(value)`` of each value, working each distinct value out once."""
    known: Dict[Any, str] = {}
    result = []
    for value in values:
        text = known.get(value)
        if text is None:
            text = known[value] = form(value)
        result.append(text)
    return result


def _encoded(values: Sequence[Any]) -> Tuple[str, Sequence[Any]]:
    """Return the ``%`` conversion and the column that fills it with JSON."""
    if isinstance(values, memoryview):
        return "%d", values
    from json import dumps  # text for a person needs none of it

    types = set(map(type, values))
    if types <= {int}:
        return "%d", values
    if len(types & {bool, int, float}) > 1 or float in types:  # equal, and yet other words: 1, 1.0 and true
        return "%s", list(map(dumps, values))
    try:
        return "%s", formatted(values, dumps)
    except TypeError:  # unhashable: dictionaries and lists, often one object many times
        known: Dict[int, str] = {}
        for value in values:
            if id(value) not in known:
                known[id(value)] = dumps(value)
        return "%s", [known[id(value)] for value in values]


def _inside_string(values: Iterable[str]) -> List[str]:
    from json import dumps

    return formatted(values, lambda text: dumps(text)[1:-1])


class Records(Sequence):  # type: ignore[type-arg]  # Sequence[...] is no base class on Python 3.9's mypy view
    """*length* dictionaries of one shape; see the module's text."""

    __slots__ = ("length", "template")

    def __init__(self, template: Template, length: int) -> None:
        self.template = template
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(self.length))]
        row = index + self.length if index < 0 else index
        if not 0 <= row < self.length:
            raise IndexError(index)
        return _resolved(self.template, row)

    def __iter__(self) -> Iterator[Any]:
        return (_resolved(self.template, row) for row in range(self.length))

    def json_lines(self) -> Iterator[str]:
        """Yield the JSON text of one dictionary after the other."""
        parts: List[str] = []
        columns: List[Sequence[Any]] = []
        _compile(self.template, parts, columns)
        form = "".join(parts)
        if not columns:
            text = form % ()
            return (text for _ in range(self.length))
        return map(form.__mod__, zip(*columns))


def _resolved(node: Template, row: int) -> Any:
    if isinstance(node, Column):
        return node.values[row]
    if isinstance(node, Text):
        return node.at(row)
    if isinstance(node, dict):
        return {key: _resolved(value, row) for key, value in node.items()}
    if isinstance(node, list):
        return [_resolved(value, row) for value in node]
    return node


def _compile(node: Template, parts: List[str], columns: List[Sequence[Any]]) -> None:
    from json import dumps
    from string import Formatter

    if isinstance(node, Column):
        conversion, values = _encoded(node.values)
        parts.append(conversion)
        columns.append(values)
    elif isinstance(node, Text):
        parts.append('"')
        for literal, name, _, _ in Formatter().parse(node.template):
            parts.append(dumps(literal)[1:-1].replace("%", "%%"))
            if name is not None:
                parts.append("%s")
                columns.append(_inside_string(node.columns[name]))
        parts.append('"')
    elif isinstance(node, dict):
        parts.append("{")
        for number, (key, value) in enumerate(node.items()):
            parts.append((", " if number else "") + dumps(key).replace("%", "%%") + ": ")
            _compile(value, parts, columns)
        parts.append("}")
    elif isinstance(node, list):
        parts.append("[")
        for number, value in enumerate(node):
            if number:
                parts.append(", ")
            _compile(value, parts, columns)
        parts.append("]")
    else:
        parts.append(dumps(node).replace("%", "%%"))


class Chain(Sequence):  # type: ignore[type-arg]  # as above
    """Several :class:`Records` one after the other, as one sequence."""

    __slots__ = ("parts",)

    def __init__(self, parts: Iterable[Records]) -> None:
        self.parts: Tuple[Records, ...] = tuple(part for part in parts if len(part))

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return list(self)[index]
        row = index + len(self) if index < 0 else index
        for part in self.parts:
            if 0 <= row < len(part):
                return part[row]
            row -= len(part)
        raise IndexError(index)

    def __iter__(self) -> Iterator[Any]:
        for part in self.parts:
            yield from part

    def json_lines(self) -> Iterator[str]:
        """Yield the JSON text of one dictionary after the other."""
        for part in self.parts:
            yield from part.json_lines()


def json_text(report: Dict[str, Any]) -> Iterator[str]:
    """Yield the JSON of *report* in pieces: one line per top-level field and per row."""
    from json import dumps

    yield "{"
    for number, (key, value) in enumerate(report.items()):
        yield ("," if number else "") + "\n" + dumps(key) + ": "
        if isinstance(value, (Records, Chain, list)):
            yield "["
            first = True
            for batch in _batches(map(dumps, value) if isinstance(value, list) else value.json_lines()):
                yield ("\n" if first else ",\n") + ",\n".join(batch)
                first = False
            yield "]"
        else:
            yield dumps(value)
    yield "\n}\n"


def _batches(lines: Iterator[str], size: int = 512) -> Iterator[List[str]]:
    batch: List[str] = []
    for line in lines:
        batch.append(line)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
