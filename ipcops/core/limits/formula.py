"""The formulas of profiles: whole numbers alone, exact however large; parsed by ``ast``, never run by Python."""

from __future__ import annotations

import ast
from typing import Any, Callable, Dict, Iterable, List, Mapping

LONGEST = 400
"""Characters of a formula."""
LARGEST = 1 << 128
"""What no step may exceed: far above any limit, and too small to take time."""


class FormulaError(ValueError):
    """A formula is none, or has no value here; the message says what of it."""


def _ceil_div(one: int, other: int) -> int:
    return -(-one // other)


_FUNCTIONS: Dict[str, Callable[..., int]] = {"max": max, "min": min, "ceil_div": _ceil_div}
_OPERATORS: Dict[type, Callable[[int, int], int]] = {
    ast.Add: lambda one, other: one + other,
    ast.Sub: lambda one, other: one - other,
    ast.Mult: lambda one, other: one * other,
    ast.FloorDiv: lambda one, other: one // other,
}
_GRAMMAR = "write whole numbers, names, + - * // ( ), max(), min() and ceil_div()"


def names_of(text: str) -> List[str]:
    """Return the names that a formula asks for, each once. Raise FormulaError where it is no formula."""
    found: Dict[str, None] = {}
    _visit(_parsed(text), found)
    return list(found)


def value_of(text: str, names: Mapping[str, int]) -> int:
    """Return the value of a formula, a whole number from 0 on. Raise FormulaError."""
    result = _evaluated(_parsed(text), names)
    if result < 0:
        raise FormulaError("is %d here, which is below 0" % result)
    return result


def _parsed(text: str) -> ast.expr:
    if len(text) > LONGEST:
        raise FormulaError("is longer than %d characters" % LONGEST)
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise FormulaError("is no formula; %s" % _GRAMMAR) from None
    return tree


def _visit(node: ast.expr, found: Dict[str, None]) -> None:
    """Note the names below a node. Raise FormulaError at what no formula may have."""
    if isinstance(node, ast.Name):
        found[node.id] = None
    elif isinstance(node, ast.Constant):
        _number(node.value)
    else:
        for one in _parts(node):
            _visit(one, found)


def _parts(node: ast.expr) -> Iterable[ast.expr]:
    """Return what a node is made of. Raise FormulaError where it is no operation or call that a formula may have."""
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return (node.left, node.right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
        wanted = 2 if node.func.id == "ceil_div" else max(2, len(node.args))
        if not node.keywords and len(node.args) == wanted:
            return node.args
        raise FormulaError("gives %s() another number of values than it takes" % node.func.id)
    raise FormulaError("has a part that is neither number, name, operation nor function; %s" % _GRAMMAR)


def _number(value: Any) -> int:
    if type(value) is not int:  # True is one, too
        raise FormulaError("has '%s', which is no whole number; %s" % (value, _GRAMMAR))
    return value


def _evaluated(node: ast.expr, names: Mapping[str, int]) -> int:
    if isinstance(node, ast.Constant):
        result = _number(node.value)
    elif isinstance(node, ast.Name):
        if node.id not in names:
            raise FormulaError("asks for '%s', which is not known here" % node.id)
        result = names[node.id]
    else:
        values = [_evaluated(one, names) for one in _parts(node)]
        try:
            if isinstance(node, ast.BinOp):
                result = _OPERATORS[type(node.op)](*values)
            else:
                result = _FUNCTIONS[node.func.id](*values)  # type: ignore[attr-defined]  # _parts saw to it
        except ZeroDivisionError:
            raise FormulaError("divides by zero here") from None
    if abs(result) > LARGEST:
        raise FormulaError("gets larger than any limit here")
    return result
