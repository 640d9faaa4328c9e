"""Kernel limits set, with all put back where anything fails: running values and the file for the next boot.

The kernel has no "all or nothing", not even for the four numbers of kernel.sem (ipc/ipc_sysctl.c): what was
written is read back, and what was there before is written again at the first difference.
"""

from __future__ import annotations

from typing import Any, Container, Dict, List, Mapping, Optional, Sequence, Tuple

from .collect.tuning import parse_numbers, path_of
from .errors import InputError
from .fs import Roots
from .journal import Event, Journal
from .limits.parameters import OF_KEY
from .tuples import NamedTuple

VERB = "limit"
APPLY, ROLLBACK = "limits apply", "limits rollback"
EVERYTHING = "all"
"""In the place of a batch's name: back to before the first one that still stands."""

Numbers = Tuple[int, ...]
Text = Optional[bytes]


class Change(NamedTuple):
    """What is to be changed: sysctl to its numbers before and after, and file to its text, ``None`` for no file."""

    values: Mapping[str, Tuple[Numbers, Numbers]]
    files: Mapping[str, Tuple[Text, Text]]

    def __bool__(self) -> bool:
        return bool(self.values or self.files)


class Failure(NamedTuple):
    """Why nothing was changed; ``left`` is what could not be put back."""

    why: str
    left: Tuple[str, ...]


class Hands:
    """What reads and writes settings and files. Every method raises OSError; ValueError where a setting is none."""

    def __init__(self, roots: Roots) -> None:
        self.roots = roots

    def read(self, key: str) -> Numbers:
        """Return the numbers of a sysctl."""
        return parse_numbers(key, self.roots.proc.read_record(path_of(key)))

    def write(self, key: str, numbers: Numbers) -> None:
        """Set a sysctl."""
        self.roots.proc.write_record(path_of(key), (" ".join(map(str, numbers)) + "\n").encode())

    def text(self, path: str) -> Text:
        """Return what a file says; ``None`` where there is none. A link is no file of ours."""
        with self.roots.files() as root:
            try:
                if not root.info(path[1:]).is_regular:
                    raise OSError(21, "it is no plain file")
                return root.read(path[1:])
            except (FileNotFoundError, NotADirectoryError):
                return None

    def put(self, path: str, text: Text) -> None:
        """Give a file new content, readable for all, or remove it."""
        above, _, name = path.rpartition("/")
        with self.roots.files() as root:
            if text is not None:
                root.make(above[1:], 0o755)
            with root.directory(above[1:]) as directory:
                if text is not None:
                    directory.replace_whole(name, text, 0o644)
                else:
                    directory.unlink(name)
                    directory.sync()


class _DiffersError(Exception):
    """The kernel took something else than was written, or a file is not what it was."""


def carry_out(
    change: Change, hands: Hands, journal: Journal, namespace: int, **more: Any
) -> Tuple[str, Optional[Failure]]:
    """Make a change, written down before and after; *more* is written along. Return the batch, and why it failed.

    Where it fails, or is interrupted, everything that was touched is put back. Raise WriteError where it
    cannot be written down: then nothing was changed, or all was put back.
    """
    batch = journal.begin()
    things = [(_described("file", path, None), _texts(*texts)) for path, texts in change.files.items()]
    things += [
        (_described("sysctl", key, namespace), {"before": list(before), "after": list(after)})
        for key, (before, after) in change.values.items()
    ]
    journal.changes(batch, VERB, things, **more)
    touched: List[str] = []
    try:
        _make(change, hands, touched)
    except (OSError, ValueError, _DiffersError) as error:
        failure = Failure(_why(touched, error), tuple(_put_back(change, hands, touched)))
    except BaseException:
        _tell(journal, batch, change, Failure("interrupted", tuple(_put_back(change, hands, touched))))
        raise
    else:
        try:
            _tell(journal, batch, change, None)
        except BaseException:
            _put_back(change, hands, touched)
            raise
        return batch, None
    _tell(journal, batch, change, failure)
    return batch, failure


def _described(kind: str, name: str, namespace: Optional[int]) -> Dict[str, Any]:
    return {"kind": kind, "id": None, "key": None, "path": name, "namespace": namespace, "uid": None}


def _texts(before: Text, after: Text) -> Event:
    return {name: None if text is None else text.decode("utf-8", "surrogateescape")
            for name, text in (("before", before), ("after", after))}  # fmt: skip


def _why(touched: Sequence[str], error: Exception) -> str:
    what = touched[-1] if touched else "what is there"
    return "%s: %s" % (what, getattr(error, "strerror", None) or str(error))


def _make(change: Change, hands: Hands, touched: List[str]) -> None:
    """Write and read back; *touched* tells what may be other than before."""
    for path, (old, _) in change.files.items():
        if hands.text(path) != old:
            raise _DiffersError("%s changed meanwhile" % path)
    for key, (before, _) in change.values.items():
        if hands.read(key) != before:
            raise _DiffersError("%s changed meanwhile" % key)
    for path, (old, text) in change.files.items():
        if text != old:
            touched.append(path)
            hands.put(path, text)
    for key, (_, after) in change.values.items():
        touched.append(key)
        hands.write(key, after)
    for key, (_, after) in change.values.items():
        found = hands.read(key)
        if found != after:
            raise _DiffersError("%s reads %s after %s was written" % (key, _words(found), _words(after)))
    for path, (_, text) in change.files.items():
        if hands.text(path) != text:
            raise _DiffersError("%s is not what was written" % path)


def _words(numbers: Numbers) -> str:
    return " ".join(map(str, numbers))


def _put_back(change: Change, hands: Hands, touched: Sequence[str]) -> List[str]:
    """Put back what was touched, last first. Return what could not be."""
    left = []
    for name in reversed(touched):
        try:
            if name in change.files:
                old = change.files[name][0]
                if hands.text(name) != old:
                    hands.put(name, old)
                whole = hands.text(name) == old
            else:
                before = change.values[name][0]
                if hands.read(name) != before:
                    hands.write(name, before)
                whole = hands.read(name) == before
        except (OSError, ValueError):
            whole = False
        if not whole:
            left.append(name)
    return left


def _tell(journal: Journal, batch: str, change: Change, failure: Optional[Failure]) -> None:
    """Write down what became of it."""
    results = []
    for number, name in enumerate([*change.files, *change.values]):
        kind = "file" if name in change.files else "sysctl"
        if failure is None:
            event, words = "changed", _noted(change, name)
        elif name in failure.left:
            event, words = "in-doubt", "%s; it could not be put back" % failure.why
        else:
            event, words = "failed", "%s; it is as before" % failure.why
        results.append((number, event, "%s:%s" % (kind, name), words))
    journal.outcomes(batch, results)
    journal.end()


def _noted(change: Change, name: str) -> str:
    if name in change.values:
        return "%s to %s" % tuple(map(_words, change.values[name]))
    before, after = change.files[name]
    return "made" if before is None else "removed" if after is None else "written anew"


# ---------------------------------------------------------------- the way back


class Applied(NamedTuple):
    """What was applied and is to be taken back: the batches, newest first, and as in Change, but now and then."""

    batches: Tuple[str, ...]
    values: Mapping[str, Tuple[Numbers, Numbers]]
    """Sysctl to what it was set to, and what it was before."""
    files: Mapping[str, Tuple[Text, Text]]


def applied_since(entries: Sequence[Event], name: Optional[str]) -> Applied:
    """Return what was applied and not taken back: last, or since (and with) the batch of that *name*.

    ``all`` is everything, be it nothing. *entries* are the journal's, newest first. Raise InputError where
    there is no such.
    """
    undone = {one for entry in entries if entry.get("event") == "changed" for one in entry.get("undoes") or ()}
    batches: Dict[str, List[Event]] = {}
    newest: Dict[str, Optional[str]] = {}
    for entry in entries:
        if entry.get("verb") != VERB or entry["event"] == "failed":
            continue
        if entry["object"]["kind"] == "file":  # a rollback that could not do all leaves a file of its own
            newest.setdefault(entry["object"]["path"], entry.get("after"))
        if entry["command"] == APPLY:
            batches.setdefault(entry["batch"], []).append(entry)
    chosen = _chosen([batch for batch in batches if batch not in undone], name, undone)
    values: Dict[str, Tuple[Numbers, Numbers]] = {}
    files: Dict[str, Tuple[Text, Text]] = {}
    for batch in chosen:
        for entry in batches[batch]:
            path, before, after = entry["object"]["path"], entry.get("before"), entry.get("after")
            if entry["object"]["kind"] == "file":
                files[path] = (_bytes(newest[path]), _bytes(before))
            elif path in OF_KEY:
                values[path] = (values[path][0] if path in values else _numbers(after), _numbers(before))
    return Applied(tuple(chosen), values, files)


def _chosen(names: Sequence[str], name: Optional[str], undone: Container[str]) -> Sequence[str]:
    if name == EVERYTHING:
        return names
    if name is not None and name in undone:
        raise InputError("'%s' was rolled back already" % name)
    if name is not None and name not in names:
        raise InputError("the journal knows no 'limits apply' of the name '%s'; %s" % (name, _known(names)))
    if not names:
        raise InputError("nothing is to be rolled back: the journal knows no 'limits apply' that still stands")
    return names[: names.index(name) + 1] if name is not None else names[:1]


def _numbers(words: Any) -> Numbers:
    return tuple(map(int, words))


def _known(names: Sequence[str]) -> str:
    return "there are: %s" % ", ".join(names) if names else "none stands"


def _bytes(text: Optional[str]) -> Text:
    return None if text is None else text.encode("utf-8", "surrogateescape")


def present(hands: Hands, applied: Applied) -> Tuple[Dict[str, Numbers], Dict[str, Text]]:
    """Return what the settings and files are now; what cannot be read is left out."""
    values: Dict[str, Numbers] = {}
    files: Dict[str, Text] = {}
    for key in applied.values:
        try:
            values[key] = hands.read(key)
        except (OSError, ValueError):
            continue
    for path in applied.files:
        try:
            files[path] = hands.text(path)
        except OSError:
            continue
    return values, files
