"""The limits of POSIX queues and of /dev/shm: ipc/mqueue.c, mm/shmem.c, mq_overview(7), shm_overview(7)."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Optional, Tuple

from ..model import Evidence, Quota
from ..queuecost import owners_cost, queue_cost
from ..rules.base import owners, shm_place
from ..verdicts.case import missing
from .cause import MOST, Cause, UnseenError, View, amount, counted, per_request, raised, unknown

HARD_MSGMAX, HARD_MSGSIZEMAX = 65536, 16 << 20
"""What no setting and no right passes (include/linux/ipc_namespace.h)."""
INT_MAX = (1 << 31) - 1
UNSIGNED = 1 << 32
"""queues_max is unsigned and shown as if it were not."""


def queues_max(view: View) -> Iterator[Cause]:
    """Yield how many POSIX queues are left."""
    right = view.right("CAP_SYS_RESOURCE")
    about = Cause("queues_max", "namespace", "", "", "", "fs.mqueue.queues_max", "queues", passes=right)
    try:
        table, most = view.table("posix-mq"), view.limit("fs.mqueue.queues_max", "posix-mq") % UNSIGNED
        used = len(table) + len(view.snapshot.processes.unlinked_queues)
        more = raised(most, used, max(INT_MAX, most))
        remedy = "ipcops audit --rule MQ-002 names what is abandoned"
        if more is not None:
            remedy += "; or as root: sysctl -w fs.mqueue.queues_max=%d" % more
        about = about._replace(users=owners(view.case, table), remedy=remedy)
        phrase = "POSIX queues exist in this IPC namespace (open ones without a name included)"
        unseen = view.unlisted("posix-mq") + view.snapshot.gaps_of(Evidence.DESCRIPTORS)
        yield counted(view, about, used=used, most=most, phrase=phrase, unseen=unseen)
    except UnseenError as error:
        yield unknown(about, str(error))


def msg_max(view: View) -> Iterator[Cause]:
    """Yield how many messages one queue may be made for."""
    yield from _attribute(view, "msg_max", "mq_maxmsg", "messages", HARD_MSGMAX)


def msgsize_max(view: View) -> Iterator[Cause]:
    """Yield how large the messages of one queue may be."""
    yield from _attribute(view, "msgsize_max", "mq_msgsize", "bytes", HARD_MSGSIZEMAX)


def _attribute(view: View, name: str, attribute: str, unit: str, hard: int) -> Iterator[Cause]:
    right = view.right("CAP_SYS_RESOURCE")
    about = Cause(name, "request", "", "", "", "fs.mqueue." + name, unit, passes=right)
    try:
        most = view.limit("fs.mqueue." + name, "posix-mq")
        more = raised(most, 0, hard)
        remedy = "as root: sysctl -w fs.mqueue.%s=%d" % (name, more) if more else "no higher value is accepted"
        why = "%s may be from 1 to %s" % (attribute, amount(most, unit))
        if right:
            why += ", for you with %s up to %s" % (right, amount(hard, unit))
        why += "; the kernel's ceiling is %s" % amount(hard, unit)
        yield per_request(about._replace(max=most, remedy=remedy), largest=hard if right else most, why=why)
    except UnseenError as error:
        yield unknown(about, str(error))


# ---------------------------------------------------------------- RLIMIT_MSGQUEUE


def rlimit_msgqueue(view: View) -> Iterator[Cause]:
    """Yield how many bytes of queues are left to the user of this caller, and to those who are worse off.

    The kernel counts for each user over all IPC namespaces and compares with the limit of the process that calls.
    """
    own = view.caller.uid
    try:
        table = view.table("posix-mq")
        costs = owners_cost(table, view.snapshot.processes.unlinked_queues)
        need = _default_cost(view)
        least = _least(view)
        if own not in least:
            least[own] = Quota(view.caller.pid, "", own, None, None, view.resource("msgqueue"))
    except UnseenError as error:
        yield unknown(_queue_bytes("", None), str(error))
        return
    yield _bytes_of(view, own, least[own], costs, need)
    worse: List[Tuple[float, int]] = []
    for uid, quota in least.items():
        limit = quota.msgqueue[0] if quota.msgqueue else -1
        if uid != own and limit >= 0 and costs.get(uid) and view.state(costs[uid], limit, need) != "free":
            worse.append((-costs[uid] / max(1, limit), uid))
    for _, uid in sorted(worse)[:1]:
        yield _bytes_of(view, uid, least[uid], costs, need)._replace(own=False)


def _queue_bytes(remedy: str, most: Optional[int]) -> Cause:
    return Cause("RLIMIT_MSGQUEUE", "user", "", "", remedy, "RLIMIT_MSGQUEUE", "bytes", max=most)


def _least(view: View) -> Dict[int, Quota]:
    """Return of each real uid the process that may make the fewest queues; of equals the youngest by number."""
    bounded = [(quota.msgqueue[0], -quota.pid, quota) for quota in view.caller.quotas if quota.msgqueue is not None]
    least: Dict[int, Quota] = {}
    for soft, _, quota in sorted(bounded, key=lambda one: one[:2]):
        if soft >= 0 and quota.pid != view.caller.pid:
            least.setdefault(quota.uid, quota)
    return least


def _default_cost(view: View) -> int:
    """Return what a queue counts that is made without attributes."""
    messages = min(view.limit("fs.mqueue.msg_max", "posix-mq"), view.snapshot.limits.get("fs.mqueue.msg_default") or 10)
    length = view.snapshot.limits.get("fs.mqueue.msgsize_default") or 8192
    return queue_cost(messages, min(view.limit("fs.mqueue.msgsize_max", "posix-mq"), length))


def _bytes_of(view: View, uid: int, quota: Quota, costs: Dict[int, int], need: int) -> Cause:
    soft, hard = quota.msgqueue or (-1, -1)
    if soft < 0:
        return _queue_bytes("", None)._replace(
            state="free", why="the processes of %s have no limit" % view.snapshot.user(uid), used=costs.get(uid, 0)
        )
    used = costs.get(uid, 0)
    more = max(2 * soft, used + 4 * need)
    remedy = "ipcops audit --rule MQ-002 names what is abandoned; or %sprlimit --pid %d --msgqueue=%d:%d" % (
        "" if 0 <= more <= hard or hard < 0 else "as root: ", quota.pid, more, hard if hard < 0 else max(more, hard),
    )  # fmt: skip
    remedy = remedy.replace(":-1", ":unlimited") + "; for good: LimitMSGQUEUE=%d in its unit" % more
    others = sorted((one for one in costs if one != uid), key=lambda one: -costs[one])
    shown = [view.who(one, costs[one]) for one in ([uid] if used else []) + others][:MOST]
    about = _queue_bytes(remedy, soft)._replace(users=shown)
    unseen = view.snapshot.gaps_of(Evidence.QUEUE, "posix-mq") + view.unlisted("posix-mq")
    unseen += view.hidden(uid, view.snapshot.gaps_of(Evidence.DESCRIPTORS))
    who = view.snapshot.user(uid)
    limit = "that pid %d (%s) is allowed " % (quota.pid, quota.command) if quota.command else ""
    cause = counted(
        view,
        about,
        used=used,
        most=soft,
        phrase="%sare counted for the queues of %s in this IPC namespace; those in others count, too" % (limit, who),
        need=need,
        takes="a queue of the default size counts %d" % need,
        unseen=unseen,
    )
    if cause.state in ("near", "free"):
        cause = cause._replace(why=cause.why + ", %d queues of the default size" % ((soft - used) // need))
    return cause


# ---------------------------------------------------------------- /dev/shm


def shm_inodes(view: View) -> Iterator[Cause]:
    """Yield how many files are left in /dev/shm."""
    place = shm_place(view.case)
    about = Cause("inodes of %s" % place, "namespace", "", "", "", "nr_inodes", "inodes")
    mount = view.snapshot.shm_mount
    if mount is None:
        yield unknown(about, _unseen(view))
        return
    about = about._replace(users=_files_of(view))
    if not mount.files:
        yield about._replace(state="free", why="%s has no limit of files" % place)
        return
    remedy = _remount(view, "nr_inodes=%d" % max(2 * mount.files, 2 * mount.files_used, 16))
    phrase = "inodes of %s are used (one by the directory itself, one by each removed file that is still open)" % place
    yield counted(view, about._replace(remedy=remedy), used=mount.files_used, most=mount.files, phrase=phrase)


def _remount(view: View, option: str) -> str:
    """Return how to get more room: only a tmpfs takes these options."""
    mount = view.snapshot.shm_mount
    remedy = "ipcops audit --rule PSHM-001 names what is abandoned"
    if mount is None or mount.fstype != "tmpfs":
        return remedy
    return "%s; or as root: mount -o remount,%s %s" % (remedy, option, mount.path)


def _unseen(view: View) -> str:
    gaps = view.unlisted("posix-shm")
    return missing(gaps) if gaps else "%s was not seen" % shm_place(view.case)


def _files_of(view: View) -> List[Dict[str, Any]]:
    counts: Dict[int, int] = {}
    for kind in ("posix-shm", "posix-sem"):
        table = view.case.table(kind)
        for uid in table["uid"] if table is not None else ():
            counts[uid] = counts.get(uid, 0) + 1
    return [view.who(uid, counts[uid]) for uid in sorted(counts, key=lambda one: (-counts[one], one))[:MOST]]


def shm_bytes(view: View) -> Iterator[Cause]:
    """Yield how much memory is left in /dev/shm: no call fails by it before the memory is touched."""
    place = shm_place(view.case)
    about = Cause("size of %s" % place, "namespace", "", "", "", "size", "bytes", fails=False)
    mount = view.snapshot.shm_mount
    if mount is None:
        yield unknown(about, _unseen(view))
        return
    blocks: Dict[int, int] = {}
    for kind in ("posix-shm", "posix-sem"):
        table = view.case.table(kind)
        if table is not None:
            for uid, taken in zip(table["uid"], table["blocks"]):
                blocks[uid] = blocks.get(uid, 0) + taken
    users = [view.who(uid, blocks[uid]) for uid in sorted(blocks, key=lambda one: (-blocks[one], one))[:MOST]]
    late = "shm_open and ftruncate succeed all the same; then write gives ENOSPC, and touching the mapping is SIGBUS"
    if not mount.size:
        yield about._replace(state="free", why="%s has no limit of bytes" % place, users=users)
        return
    remedy = _remount(view, "size=%dM" % max(1, 2 * max(mount.size, mount.used) >> 20))
    cause = counted(
        view, about._replace(remedy=remedy, users=users), used=mount.used, most=mount.size,
        phrase="of %s are used" % place, need=view.page, takes="a file takes whole pages",
    )  # fmt: skip
    yield cause._replace(why="%s; %s" % (cause.why, late))
