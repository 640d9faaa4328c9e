"""The limits of descriptors, open files and pipes: fs/{file,file_table,pipe}.c, getrlimit(2), pipe(7), fcntl(2)."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Optional, Tuple

from ..model import Evidence, Gap, Quota
from ..rules.base import size
from ..verdicts.case import missing
from .cause import MOST, Cause, UnseenError, View, amount, counted, per_request, raised, unknown

LONG_MAX = (1 << 63) - 1
PIPE_PAGES, PIPE_LEAST = 16, 2
"""PIPE_DEF_BUFFERS and PIPE_MIN_DEF_BUFFERS: what a pipe gets, and what it gets above the soft limit."""
PIPE_MOST = 1 << 31
"""No right passes it (fs/pipe.c: round_pipe_size)."""
NR_OPEN = 1 << 20
"""The default of fs.nr_open, the highest RLIMIT_NOFILE."""


# ---------------------------------------------------------------- descriptors


def rlimit_nofile(view: View, need: int = 1) -> Iterator[Cause]:
    """Yield the process of this caller's user that is nearest to its limit, and the worst of other users.

    *need* is how many descriptors the call takes at once.
    """
    about = Cause("RLIMIT_NOFILE", "process", "", "", "", "RLIMIT_NOFILE", "descriptors")
    own = view.caller.uid
    ranked = sorted(
        (quota for quota in view.caller.quotas if quota.pid != view.caller.pid and _share(quota) is not None),
        key=lambda quota: (-(_share(quota) or 0.0), quota.pid),
    )
    mine = [quota for quota in ranked if quota.uid == own]
    unseen = view.hidden(own, [gap for gap in view.caller.gaps if gap.pid is not None])
    if mine:
        yield _descriptors(view, about, mine, need, unseen)
    elif unseen:
        yield unknown(about, missing(unseen))
    else:
        yield _nobody(view, about)
    others = [quota for quota in ranked if quota.uid != own and _state(view, quota, need) != "free"]
    if others:
        yield _descriptors(view, about, others, need, [])._replace(own=False)


def _nobody(view: View, about: Cause) -> Cause:
    try:
        soft = view.resource("nofile")[0]
    except UnseenError as error:
        return unknown(about, str(error))
    who = view.snapshot.user(view.caller.uid)
    why = "%s has no other process; one that starts here may have %d descriptors" % (who, soft)
    return about._replace(state="free", why=why, max=soft)


def _share(quota: Quota) -> Optional[float]:
    if quota.descriptors is None or quota.nofile is None or quota.nofile[0] < 0:
        return None
    return quota.descriptors / quota.nofile[0] if quota.nofile[0] else 1.0


def _opener(view: View, quota: Quota) -> Dict[str, Any]:
    most = quota.nofile[0] if quota.nofile else None
    return view.who(quota.uid, quota.descriptors or 0, pid=quota.pid, command=quota.command, max=most)


def _state(view: View, quota: Quota, need: int) -> str:
    return view.state(quota.descriptors or 0, quota.nofile[0] if quota.nofile else 0, need)


def _descriptors(view: View, about: Cause, ranked: List[Quota], need: int, unseen: List[Gap]) -> Cause:
    worst = ranked[0]
    soft, hard = worst.nofile or (0, 0)
    used = worst.descriptors or 0
    more = raised(soft, used, int(view.caller.values.get("fs.nr_open", NR_OPEN)))
    remedy = "see what it keeps open (ls -l /proc/%d/fd) and restart it if it leaks" % worst.pid
    if more is not None:
        remedy += "; or %sprlimit --pid %d --nofile=%d:%d; for good: LimitNOFILE=%d in its unit" % (
            "" if more <= hard else "as root: ", worst.pid, more, max(more, hard), more,
        )  # fmt: skip
    users = [_opener(view, one) for one in ranked[:MOST]]
    phrase = "descriptors are open in pid %d (%s) of %s, which is the nearest to its limit" % (
        worst.pid, worst.command, view.snapshot.user(worst.uid),
    )  # fmt: skip
    about = about._replace(users=users, remedy=remedy)
    takes = "the call takes %d" % need
    return counted(view, about, used=used, most=soft, phrase=phrase, need=need, takes=takes, unseen=unseen)


def rlimit_nofile_two(view: View) -> Iterator[Cause]:
    """Yield the same for a call that takes two descriptors."""
    return rlimit_nofile(view, 2)


def dup_most(view: View) -> Iterator[Cause]:
    """Yield the highest number that F_DUPFD may start at."""
    remedy = "ask for a lower number; or raise RLIMIT_NOFILE (ulimit -n N, up to the hard limit)"
    about = Cause("RLIMIT_NOFILE", "request", "", "", remedy, "RLIMIT_NOFILE", "descriptors")
    try:
        soft = view.resource("nofile")[0]
        why = "F_DUPFD may ask for a number below the soft limit, which is %d for what you start here" % soft
        yield per_request(about._replace(max=soft), largest=soft - 1, why=why, least=0)
    except UnseenError as error:
        yield unknown(about, str(error))


def file_max(view: View) -> Iterator[Cause]:
    """Yield how many files the whole host may have open."""
    right = view.right("CAP_SYS_ADMIN")
    about = Cause("file-max", "host", "", "", "", "fs.file-max", "files", passes=right)
    if "fs.file-nr" not in view.caller.values:
        gaps = [gap for gap in view.caller.gaps if gap.what == "fs.file-nr"]
        yield unknown(about, missing(gaps) if gaps else "this kernel has no fs.file-nr")
        return
    numbers: Dict[str, int] = view.caller.values["fs.file-nr"]
    ranked = sorted(view.caller.quotas, key=lambda one: (-(one.descriptors or 0), one.pid))
    users = [_opener(view, one) for one in ranked[:MOST] if one.descriptors]
    more = raised(numbers["max"], numbers["allocated"], LONG_MAX)
    remedy = "restart what has the most descriptors open"
    if more is not None:
        remedy += "; or as root: sysctl -w fs.file-max=%d" % more
    about = about._replace(users=users, remedy=remedy)
    phrase = "files are open on this host"
    yield counted(view, about, used=numbers["allocated"], most=numbers["max"], phrase=phrase)


# ---------------------------------------------------------------- pipes


class Pages:
    """The pages of the pipes that were seen, by the user who made them: that is who they are charged to."""

    def __init__(self, view: View) -> None:
        table = view.table("pipe")
        self.by_uid: Dict[int, int] = {}
        self.unmeasured = 0
        for uid, capacity in zip(table["uid"], table["capacity"]):
            if uid is None or capacity is None:
                self.unmeasured += 1
            else:
                self.by_uid[uid] = self.by_uid.get(uid, 0) + capacity // view.page

    def unseen(self, view: View, uid: int) -> List[Gap]:
        """Return what stands against the sum of a user."""
        gaps = view.unlisted("pipe") + view.snapshot.gaps_of(Evidence.PIPES, "pipe")
        gaps += view.hidden(uid, view.snapshot.gaps_of(Evidence.DESCRIPTORS))
        if self.unmeasured and not gaps:
            gaps = [Gap(Evidence.PIPES, "%d pipes" % self.unmeasured, "their size was not seen")]
        return gaps


def _pipe_limit(view: View, which: str) -> Tuple[Cause, Optional[int], Optional[Pages]]:
    right = view.right("CAP_SYS_RESOURCE", "CAP_SYS_ADMIN")
    setting = "fs.pipe-user-pages-%s" % which
    about = Cause("pipe-user-pages-%s" % which, "user", "", "", "", setting, "pages", passes=right)
    try:
        return about, view.limit(setting, "pipe"), Pages(view)
    except UnseenError as error:
        return unknown(about, str(error)), None, None


def _of_users(view: View, about: Cause, most: int, pages: Pages, need: int, late: str) -> Iterator[Cause]:
    """Yield where this caller's user stands, and the worst of the others if it is short of pages."""
    own = view.caller.uid
    worst = sorted(
        (uid for uid, used in pages.by_uid.items() if uid != own and view.state(used, most, need) != "free"),
        key=lambda uid: (-pages.by_uid[uid], uid),
    )
    biggest = sorted(pages.by_uid, key=lambda uid: (uid != own, -pages.by_uid[uid], uid))
    users = [view.who(uid, pages.by_uid[uid]) for uid in biggest[:MOST]]
    for uid in [own, *worst[:1]]:
        used = pages.by_uid.get(uid, 0)
        more = raised(most, used, LONG_MAX) or most
        cause = counted(
            view,
            about._replace(
                users=users,
                remedy="close pipes that are not needed (ipcops list pipe --owner %s); or as root: sysctl -w %s=%d"
                % (view.snapshot.user(uid).replace("uid ", ""), about.setting, more),
                passes=about.passes if uid == own else None,
            ),
            used=used,
            most=most,
            phrase="pages are taken by pipes that %s made (besides open FIFOs, which count, too)"
            % view.snapshot.user(uid),
            need=need,
            takes="a pipe takes %d" % need,
            unseen=pages.unseen(view, uid),
        )
        yield cause._replace(why="%s; %s" % (cause.why, late), own=uid == own)


def pipe_soft(view: View) -> Iterator[Cause]:
    """Yield how many pages are left before new pipes become small; making one never fails by it."""
    about, most, pages = _pipe_limit(view, "soft")
    about = about._replace(fails=False)
    late = "above it a new pipe holds %d bytes instead of %d, and no error says so" % (
        PIPE_LEAST * view.page, PIPE_PAGES * view.page,
    )  # fmt: skip
    if most is None or pages is None:
        yield about
    elif not most:
        yield about._replace(state="free", why="fs.pipe-user-pages-soft is 0: no limit")
    else:
        yield from _of_users(view, about, most, pages, PIPE_PAGES, late)


def pipe_hard(view: View) -> Iterator[Cause]:
    """Yield how many pages are left before making a pipe fails with ENFILE (fs/pipe.c: alloc_pipe_info)."""
    about, most, pages = _pipe_limit(view, "hard")
    if most is None or pages is None:
        yield about
    elif not most:
        yield about._replace(state="free", why="fs.pipe-user-pages-hard is 0: no limit")
    else:
        soft = view.snapshot.limits.get("fs.pipe-user-pages-soft") or 0
        own = pages.by_uid.get(view.caller.uid, 0)
        need = PIPE_LEAST if soft and own + PIPE_PAGES > soft else PIPE_PAGES
        yield from _of_users(view, about, most, pages, need, "above it making a pipe fails")


def pipe_grow(view: View) -> Iterator[Cause]:
    """Yield how far a pipe may grow for the pages that its maker has left."""
    for which in ("soft", "hard"):
        about, most, pages = _pipe_limit(view, which)
        if most is None or pages is None:
            yield about
        elif not most:
            yield about._replace(state="free", why="%s is 0: no limit" % about.setting)
        else:
            late = "a pipe that would take its maker above it may not grow"
            yield from _of_users(view, about, most, pages, 1, late)


def pipe_max_size(view: View) -> Iterator[Cause]:
    """Yield how large a pipe may be made."""
    right = view.right("CAP_SYS_RESOURCE")
    about = Cause("pipe-max-size", "request", "", "", "", "fs.pipe-max-size", "bytes", passes=right)
    try:
        most = view.limit("fs.pipe-max-size", "pipe")
        more = raised(most, 0, PIPE_MOST)
        remedy = "as root: sysctl -w fs.pipe-max-size=%d" % more if more else "no higher value is accepted"
        why = "F_SETPIPE_SZ may ask for at most %s" % amount(most, "bytes")
        if right:
            why += ", for you with %s up to %s" % (right, size(PIPE_MOST))
        why += "; it is rounded up to a power of two"
        yield per_request(about._replace(max=most, remedy=remedy), largest=PIPE_MOST if right else most, why=why)
    except UnseenError as error:
        yield unknown(about, str(error))


def pipe_filled(view: View) -> Iterator[Cause]:
    """Yield the pipes with the most in them: none can be made smaller than that."""
    remedy = "read from it first; ipcops show pipe:ID names its readers"
    about = Cause("fill", "object", "", "", remedy, None, "bytes")
    try:
        table = view.table("pipe")
        rows = [row for row, fill in enumerate(table["fill"]) if fill]
        unasked = list(table["fill"]).count(None)
        rows.sort(key=lambda row: -table["fill"][row])
        objects: List[Dict[str, Any]] = [
            {"kind": "pipe", "id": table["id"][row], "fill": table["fill"][row], "capacity": table["capacity"][row]}
            for row in rows[:MOST]
        ]
        why = "F_SETPIPE_SZ cannot make a pipe smaller than what is in it; %d of the pipes seen hold data" % len(rows)
        if unasked:
            why += "; what is in %d others was not seen" % unasked
        state = "per-request" if rows else "unknown" if unasked else "free"
        yield about._replace(state=state, why=why, used=len(rows), objects=objects)
    except UnseenError as error:
        yield unknown(about, str(error))
