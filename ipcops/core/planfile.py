"""A plan as plain values: what a report shows of it, and the way back from a file that was saved.

A saved plan is read as anything a stranger may have written: it can only name objects. Whether these
may go is asked anew, of the host and of the policy.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from .errors import InputError
from .model import REMOVABLE_KINDS, SYSV_KINDS, Action, Plan
from .report import CLEAN_SCHEMA, key_text

CHOICES = ("objects", "kinds", "owner", "min_age", "max_removals", "with_data", "job_ended", "no_backup", "notify")
"""What of a request decides which objects a plan takes; a saved plan carries it."""


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number_or_float(value: Any) -> bool:
    return _number(value) or isinstance(value, float)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _scalar(value: Any) -> bool:
    return value is None or isinstance(value, (int, float, str))


_ACTION: Dict[str, Callable[[Any], bool]] = {
    "kind": lambda value: value in REMOVABLE_KINDS,
    "id": lambda value: value is None or _number(value),
    "key": lambda value: value is None or (_text(value) and _key(value) is not None),
    "path": lambda value: value is None or _text(value),
    "namespace": _number,
    "section": _text,
    "reasons": _texts,
    "confidence": lambda value: value in ("certain", "strong"),
    "backup": lambda value: value in ("full", "metadata", "none"),
    "with_data": lambda value: isinstance(value, bool),
    "expect": lambda value: isinstance(value, dict) and all(map(_scalar, value.values())),
}
_PLAN: Dict[str, Callable[[Any], bool]] = {
    "boot_id": lambda value: value is None or _text(value),
    "namespace": _number,
    "made_at": _number,
    "uptime": _number_or_float,
    "policy_hash": _text,
    "remove": lambda value: isinstance(value, list),
    "asked": lambda value: isinstance(value, dict),
}
_ASKED: Dict[str, Callable[[Any], bool]] = {
    "objects": _texts,
    "kinds": lambda value: _texts(value) and set(value) <= set(REMOVABLE_KINDS),
    "owner": _text,
    "min_age": lambda value: _number_or_float(value) and value >= 0,
    "max_removals": lambda value: _number(value) and value >= 0,
    "with_data": lambda value: isinstance(value, bool),
    "job_ended": _text,
    "no_backup": lambda value: isinstance(value, bool),
    "notify": lambda value: isinstance(value, bool),
}


def _key(text: str) -> Optional[int]:
    try:
        number = int(text, 16)
    except ValueError:
        return None
    return number if 0 <= number < 1 << 32 else None


def asked_of(request: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the choices of a request that were made at all.

    An empty name is one: an unset variable of a script must not turn ``--owner "$USER"`` into everybody.
    """
    chosen = {name: request.get(name) for name in CHOICES}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in chosen.items()
        if value or isinstance(value, str) or _number_or_float(value)  # 0 is a choice
    }


def action_fields(action: Action) -> Dict[str, Any]:
    """Return an action as plain values."""
    return {
        "kind": action.kind,
        "id": action.id,
        "key": None if action.key is None else key_text(action.key),
        "path": action.path,
        "namespace": action.namespace,
        "section": action.section,
        "reasons": list(action.reasons),
        "confidence": action.confidence,
        "backup": action.backup,
        "with_data": action.with_data,
        "expect": dict(action.expect),
    }


def parse_plan(text: str, path: str) -> Dict[str, Any]:
    """Return the plan in a report that ``clean --output`` saved. Raise InputError naming *path* and what is wrong."""
    import json  # a plan is rarely read again

    try:
        report = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _wrong(path, "it is not JSON") from error
    schema = report.get("schema") if isinstance(report, dict) else None
    if schema != CLEAN_SCHEMA:
        raise _wrong(path, "its schema is %s and not %s" % (json.dumps(schema), CLEAN_SCHEMA))
    return checked_plan(report, path)


def checked_plan(report: Mapping[str, Any], path: str) -> Dict[str, Any]:
    """Return the plan in a report, or in what has nothing but a report's plan. Raise InputError as parse_plan()."""
    if report.get("applied"):
        raise InputError("plan '%s' was carried out already; make a new one" % path)
    plan: Any = report.get("plan")
    _check(plan, _PLAN, path, "plan")
    for number, one in enumerate(plan["remove"]):
        _check(one, _ACTION, path, "plan.remove[%d]" % number)
        if (one["id"] is None) == (one["kind"] in SYSV_KINDS) or (one["path"] is None) != (one["kind"] in SYSV_KINDS):
            raise _wrong(path, "plan.remove[%d] names no object" % number)
    unknown = [name for name in plan["asked"] if name not in _ASKED]
    if unknown:
        raise _wrong(path, "plan.asked has an unknown field '%s'" % unknown[0])
    _check(plan["asked"], {name: _ASKED[name] for name in plan["asked"]}, path, "plan.asked")
    return dict(plan)


def _check(value: Any, shape: Mapping[str, Callable[[Any], bool]], path: str, where: str) -> None:
    if not isinstance(value, dict):
        raise _wrong(path, "%s is missing" % where)
    for name, fits in shape.items():
        if name not in value or not fits(value[name]):
            raise _wrong(path, "%s.%s is %s" % (where, name, "missing" if name not in value else "not what it must be"))


def _wrong(path: str, what: str) -> InputError:
    return InputError(
        "'%s' is no plan that 'ipcops clean' made: %s; make one by 'ipcops clean --output FILE'" % (path, what)
    )


Identity = Tuple[str, Any, str]


def _identity(kind: str, number: Any, expect: Mapping[str, Any]) -> Identity:
    import json

    return kind, number, json.dumps(expect, sort_keys=True)


class Agreed:
    """The objects of a plan that was shown: nothing else may go."""

    def __init__(self, removals: Sequence[Mapping[str, Any]]) -> None:
        self.removals = removals
        self._shown = {
            _identity(one["kind"], one["path"] if one["id"] is None else one["id"], one["expect"]) for one in removals
        }

    def has(self, action: Action) -> bool:
        """Whether this object was shown, in this very state."""
        number = action.path if action.id is None else action.id
        return _identity(action.kind, number, action.expect) in self._shown

    def left(self, plan: Plan) -> List[Mapping[str, Any]]:
        """Return the removals that were shown and are no longer in *plan*."""
        now = {_identity(one.kind, one.path if one.id is None else one.id, one.expect) for one in plan.remove}
        return [
            one
            for one in self.removals
            if _identity(one["kind"], one["path"] if one["id"] is None else one["id"], one["expect"]) not in now
        ]
