"""Families of metrics from the text that ``exposition`` made of them: what the job monitor wrote, read again."""

from __future__ import annotations

import re
from typing import Any, Dict, List

_PAIR = r'[a-z_]+="(?:[^"\\]|\\[\\"n])*"'
_SAMPLE = re.compile(r"([a-z_]+)(?:\{(%s(?:,%s)*)\})? (-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)" % (_PAIR, _PAIR))
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')
_UNESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


def parse_exposition(text: str) -> Dict[str, List[Dict[str, Any]]]:
    """Return the families of a page, samples in their order, numbers as they were.

    Raise ValueError, with the number of the line, for what ``exposition`` cannot have printed.
    """
    families: Dict[str, List[Dict[str, Any]]] = {}
    seen = set()
    for number, line in enumerate(text.split("\n"), 1):
        if not line or line.startswith("#"):
            continue
        found = _SAMPLE.fullmatch(line)
        if not found:
            raise ValueError("line %d is no sample of a metric" % number)
        name, pairs, value = found.groups()
        if (name, pairs) in seen:
            raise ValueError("line %d tells a metric a second time" % number)
        seen.add((name, pairs))
        labels = {label: _unescaped(word) for label, word in _LABEL.findall(pairs or "")}
        families.setdefault(name, []).append({"labels": labels, "value": _number(value)})
    return families


def _unescaped(text: str) -> str:
    return re.sub(r"\\.", lambda found: _UNESCAPED[found.group()], text) if "\\" in text else text


def _number(text: str) -> Any:
    return int(text) if text.lstrip("-").isdigit() else float(text)
