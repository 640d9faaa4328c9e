"""What a cleaning run says: the plan with every object in it, and what became of it."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from .model import Action, Kept, Outcome, Plan, Report, Table
from .planfile import action_fields
from .report import CLEAN_SCHEMA, head, key_text, mode_text, sysv_mode_text
from .rules.base import ages
from .verdicts import Case

Rows = Dict[Tuple[str, Any], int]

GONE = "it is gone already"
NOT_NAMED = "it was not named"
"""Why an object stays that the command line did not ask for."""


def clean_report(
    case: Case,
    plan: Plan,
    *,
    asked: Mapping[str, Any],
    missing: Sequence[Mapping[str, Any]] = (),
    notes: Sequence[str] = (),
) -> Report:
    """Return the report of a plan that nothing was done about yet.

    *missing* are removals of a plan that was shown before and that are not in this one.
    """
    words = _Words(case)
    remove = [words.removal(action) for action in plan.remove]
    keep = [words.kept(kept) for kept in plan.keep]
    return {
        "schema": CLEAN_SCHEMA,
        **head(case.snapshot, notes=notes),
        "policy": case.policy.source,
        "applied": False,
        "plan": {
            "made_at": int(plan.made_at),
            "uptime": plan.uptime,
            "boot_id": plan.boot_id,
            "namespace": plan.namespace,
            "policy_hash": plan.policy_hash,
            "asked": dict(asked),
            "remove": remove,
            "keep": keep,
            "counts": _counts(remove, keep),
        },
        "removed": [],
        "failed": [_failure(one, _left(one, keep)) for one in missing],
        "notified": [],
        "interrupted": False,
        "journal": None,
        "backup": None,
    }


def with_outcomes(
    report: Report,
    outcomes: Iterable[Outcome],
    *,
    journal: str,
    backup: Optional[Mapping[str, Any]],
    interrupted: bool = False,
) -> Report:
    """Return the report of a plan that was carried out. *backup* says where backups lie, and how they are called."""
    by_name = {_name(one): one for one in report["plan"]["remove"]}
    removed: List[Dict[str, Any]] = []
    failed: List[Dict[str, Any]] = [*report["failed"], *named_and_kept(report)]
    for outcome in outcomes:
        action = outcome.action
        one = by_name[action.kind, action.path if action.id is None else action.id]
        if outcome.done:
            removed.append({**one, "saved": outcome.backup})
        else:
            failed.append(_failure(one, outcome.why))
    done = {"applied": True, "interrupted": interrupted, "removed": removed, "failed": failed}
    return {**report, **done, "journal": journal, "backup": backup}


def named_and_kept(report: Report) -> List[Dict[str, Any]]:
    """Return what was to go by its name, and stays."""
    plan = report["plan"]
    if not plan["asked"].get("objects"):
        return []
    return [_failure(one, one["why"]) for one in plan["keep"] if one["why"] != NOT_NAMED]


def _failure(one: Mapping[str, Any], why: str) -> Dict[str, Any]:
    """Return what was not removed. Whoever only wants that it is not there any more asks whether it is gone."""
    return {**one, "why": why, "gone": why == GONE}


def _name(one: Mapping[str, Any]) -> Tuple[str, Any]:
    return one["kind"], one["path"] if one["id"] is None else one["id"]


def _left(one: Mapping[str, Any], keep: Sequence[Mapping[str, Any]]) -> str:
    name = _name(one)
    return next((kept["why"] for kept in keep if _name(kept) == name), GONE)


def _counts(remove: Sequence[Mapping[str, Any]], keep: Sequence[Mapping[str, Any]]) -> Dict[str, Any]:
    verdicts: Dict[str, int] = {}
    for one in keep:
        verdicts[one["verdict"]] = verdicts.get(one["verdict"], 0) + 1
    held = [one["bytes"] for one in remove if one["bytes"] is not None]
    return {"remove": len(remove), "bytes": sum(held), "keep": len(keep), "verdicts": verdicts}


class _Words:
    """What is known of the objects of a plan."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.rows: Dict[str, Dict[Any, int]] = {}

    def _row(self, kind: str, number: Optional[int], path: Optional[str]) -> Tuple[Table, int]:
        table = self.case.snapshot.tables[kind]
        if kind not in self.rows:
            names = table["path"] if number is None else table["id"]
            self.rows[kind] = {name: row for row, name in enumerate(names)}
        return table, self.rows[kind][path if number is None else number]

    def removal(self, action: Action) -> Dict[str, Any]:
        table, row = self._row(action.kind, action.id, action.path)
        return {
            **action_fields(action),
            "owner": self._owner(table, row),
            "mode": (mode_text if action.id is None else sysv_mode_text)(table["mode"][row]),
            "age": ages(self.case, table, [row])[0],
            "bytes": held_bytes(table, row),
        }

    def kept(self, kept: Kept) -> Dict[str, Any]:
        table, row = self._row(kept.kind, kept.id, kept.path)
        return {
            "kind": kept.kind,
            "id": kept.id,
            "key": None if kept.key is None else key_text(kept.key),
            "path": kept.path,
            "namespace": self.case.snapshot.namespace,
            "owner": self._owner(table, row),
            "verdict": kept.verdict,
            "why": kept.why,
        }

    def _owner(self, table: Table, row: int) -> Dict[str, Any]:
        snapshot, uid, gid = self.case.snapshot, table["uid"][row], table["gid"][row]
        return {"uid": uid, "user": snapshot.users.get(uid), "gid": gid, "group": snapshot.groups.get(gid)}


def held_bytes(table: Table, row: int) -> Optional[int]:
    """Return the memory that comes back with an object, in bytes; ``None`` for kinds that hold next to none."""
    if table.kind == "shm":
        if "rss" not in table or table["rss"][row] is None:
            return int(table["size"][row])
        return int(table["rss"][row] + (table["swap"][row] or 0))
    for name in ("blocks", "cbytes"):
        if name in table:
            return table[name][row]  # type: ignore[no-any-return]
    return None
