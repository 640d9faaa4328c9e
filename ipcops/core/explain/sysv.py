"""The limits of System V IPC: ipc/{shm,sem,msg,util}.c, shmget(2), semget(2), semop(2), msgget(2), msgop(2)."""

from __future__ import annotations

from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from ..limits.parameters import INT_MAX, SEMMSL_MOST, SEMOPM_ADVISED
from ..model import IPCMNI, IPCMNI_EXTENDED, Evidence, Table
from ..rules.base import owners
from ..verdicts.case import missing
from .cause import MOST, Cause, UnseenError, View, amount, counted, per_request, raised, unknown

SHM_MOST = (1 << 64) - 1 - (1 << 24)
"""ULONG_MAX - 2^24, the default of shmmax and shmall; more is advised against (include/uapi/linux/shm.h)."""
SEMVMX = 32767

AT_CEILING = "; this kernel takes no higher %s (ipcmni_extend in kernel-parameters raises it at boot)"


def _sem_limits(view: View) -> Dict[str, int]:
    values: Dict[str, int] = view.limit("kernel.sem", "sem")
    return values


def _sem_setting(values: Dict[str, int], **changed: int) -> str:
    return 'as root: sysctl -w kernel.sem="%(semmsl)d %(semmns)d %(semopm)d %(semmni)d"' % {**values, **changed}


def _slots_ceiling(view: View, limit: int) -> int:
    return IPCMNI_EXTENDED if limit > IPCMNI or view.caller.values.get("ipcmni_extend") else IPCMNI


def _slots(view: View, kind: str, about: Cause, limit: int, rule: str, noun: str) -> Cause:
    table = view.table(kind)
    more = raised(limit, len(table), _slots_ceiling(view, limit))
    remedy = "ipcops audit --rule %s names what is abandoned" % rule
    if more is None:
        remedy += AT_CEILING % about.limit
    elif about.setting == "kernel.sem":
        remedy += "; or " + _sem_setting(_sem_limits(view), semmni=more)
    else:
        remedy += "; or as root: sysctl -w %s=%d" % (about.setting, more)
    about = about._replace(users=owners(view.case, table), remedy=remedy)
    phrase = "%s exist in this IPC namespace" % noun
    return counted(view, about, used=len(table), most=limit, phrase=phrase, unseen=view.unlisted(kind))


# ---------------------------------------------------------------- semaphores


def semmni(view: View) -> Iterator[Cause]:
    """Yield how many sets are left."""
    about = Cause("SEMMNI", "namespace", "", "", "", "kernel.sem", "sets")
    try:
        yield _slots(view, "sem", about, _sem_limits(view)["semmni"], "SEM-001", "semaphore sets")
    except UnseenError as error:
        yield unknown(about, str(error))


def semmns(view: View) -> Iterator[Cause]:
    """Yield how many semaphores are left, in all sets together."""
    about = Cause("SEMMNS", "namespace", "", "", "", "kernel.sem", "semaphores")
    try:
        values, table = _sem_limits(view), view.table("sem")
        used, most = sum(table["nsems"]), values["semmns"]
        more = raised(most, used, INT_MAX)
        remedy = "ipcops audit --rule SEM-001 names what is abandoned"
        if more is not None:
            remedy += "; or " + _sem_setting(values, semmns=more)
        about = about._replace(users=owners(view.case, table, table["nsems"]), remedy=remedy)
        phrase = "semaphores are in the sets of this IPC namespace"
        yield counted(view, about, used=used, most=most, phrase=phrase, unseen=view.unlisted("sem"))
    except UnseenError as error:
        yield unknown(about, str(error))


def semmsl(view: View) -> Iterator[Cause]:
    """Yield how many semaphores one set may have."""
    about = Cause("SEMMSL", "request", "", "", "", "kernel.sem", "semaphores")
    try:
        values = _sem_limits(view)
        most, largest = values["semmsl"], values["semmsl"]
        why = "a set may have at most %d semaphores (the same goes for asking for one that exists)" % most
        table = view.case.table("sem")
        if table is not None and values["semmns"] - sum(table["nsems"]) < most:
            largest = values["semmns"] - sum(table["nsems"])
            why += "; a new one at most %d now, since SEMMNS leaves no more" % max(0, largest)
        more = raised(most, 0, SEMMSL_MOST)
        remedy = "ask for several sets"
        if more is not None:
            remedy += "; or " + _sem_setting(values, semmsl=more)
        about = about._replace(max=most, remedy=remedy)
        if most >= 1 > largest:  # then SEMMNS is what is reached, and says so
            yield about._replace(state="per-request", why=why, left=0)
        else:
            yield per_request(about, largest=largest, why=why)
    except UnseenError as error:
        yield unknown(about, str(error))


def semopm(view: View) -> Iterator[Cause]:
    """Yield how many operations one call may do."""
    about = Cause("SEMOPM", "request", "", "", "", "kernel.sem", "operations")
    try:
        values = _sem_limits(view)
        most = values["semopm"]
        more = raised(most, 0, max(SEMOPM_ADVISED, most))
        remedy = "split the operations into several calls (they are then no longer one step)"
        if more is not None:
            remedy += "; or " + _sem_setting(values, semopm=more)
        why = "one call may do at most %d operations" % most
        yield per_request(about._replace(max=most, remedy=remedy), largest=most, why=why)
    except UnseenError as error:
        yield unknown(about, str(error))


def semvmx(view: View) -> Iterator[Cause]:
    """Yield the semaphore that is nearest to the highest value, which is fixed."""
    remedy = "find who adds without taking (ipcops show sem:ID shows the last process of each semaphore)"
    about = Cause("SEMVMX", "object", "", "", remedy, None, None, max=SEMVMX)
    try:
        table, asked = view.table("sem"), view.snapshot.semaphores
        unasked = [one for one in table["id"] if one not in asked]
        highest = {semid: max(one.values) for semid, one in asked.items() if one.values}
        if unasked and SEMVMX not in highest.values():
            yield unknown(about, _unasked(view, unasked))
            return
        rows = [row for row, semid in enumerate(table["id"]) if highest.get(semid)]
        rows.sort(key=lambda row: -highest[table["id"][row]])
        values = [highest[table["id"][row]] for row in rows[:MOST]]
        used = values[0] if values else 0
        about = about._replace(objects=view.named(table, rows, value=values))
        yield counted(view, about, used=used, most=SEMVMX, phrase="is the highest value of a semaphore")
    except UnseenError as error:
        yield unknown(about, str(error))


def _unasked(view: View, ids: Sequence[int]) -> str:
    gaps = view.snapshot.gaps_of(Evidence.SEMAPHORES, "sem")
    why = missing(gaps) if gaps else "nobody asked"
    return "the values of %d sets, such as sem:%d, were not seen: %s" % (len(ids), ids[0], why)


def blocking(view: View) -> Iterator[Cause]:
    """Yield the sets that threads wait on, or would have to."""
    remedy = "ipcops show sem:ID tells who waits and who operated it last; whoever holds it has to add to it"
    about = Cause("semval", "object", "", "", remedy, None, "semaphores")
    try:
        table, asked = view.table("sem"), view.snapshot.semaphores
        unasked = [one for one in table["id"] if one not in asked]
        waiting = {semid: sum(one.ncnt) + sum(one.zcnt) for semid, one in asked.items()}
        empty = {semid: one.values.count(0) for semid, one in asked.items()}
        rows = [row for row, semid in enumerate(table["id"]) if empty.get(semid) or waiting.get(semid)]
        rows.sort(key=lambda row: (-waiting[table["id"][row]], -empty[table["id"][row]]))
        if unasked:
            yield unknown(about, _unasked(view, unasked))
            return
        first = [table["id"][row] for row in rows[:MOST]]
        zeros = [empty[one] for one in first]
        yield about._replace(
            state="per-request" if rows else "free",
            used=sum(empty.values()),
            objects=view.named(table, rows, waiting=[waiting[one] for one in first], zero=zeros),
            why="%d semaphores in %d sets are 0 now, and %d threads wait: an operation that cannot be done at once"
            " gives EAGAIN with IPC_NOWAIT, or when the time of semtimedop is over"
            % (sum(empty.values()), len(rows), sum(waiting.values())),
        )
    except UnseenError as error:
        yield unknown(about, str(error))


# ---------------------------------------------------------------- segments


def _pages(view: View, table: Table) -> List[int]:
    return [-(-length // view.page) for length in table["size"]]


def shmmni(view: View) -> Iterator[Cause]:
    """Yield how many segments are left."""
    about = Cause("SHMMNI", "namespace", "", "", "", "kernel.shmmni", "segments")
    try:
        limit = view.limit("kernel.shmmni", "shm")
        yield _slots(view, "shm", about, limit, "SHM-001", "segments (removed but attached ones included)")
    except UnseenError as error:
        yield unknown(about, str(error))


def shmall(view: View) -> Iterator[Cause]:
    """Yield how many pages are left for segments."""
    about = Cause("SHMALL", "namespace", "", "", "", "kernel.shmall", "pages")
    try:
        table, most = view.table("shm"), view.limit("kernel.shmall", "shm")
        each = _pages(view, table)
        used, more = sum(each), raised(most, sum(each), max(SHM_MOST, most))
        remedy = "ipcops audit --rule SHM-001 names what is abandoned"
        if more is not None:
            remedy += "; or as root: sysctl -w kernel.shmall=%d" % more
        about = about._replace(users=owners(view.case, table, each), remedy=remedy)
        phrase = "pages are taken by segments, touched or not"
        cause = counted(view, about, used=used, most=most, phrase=phrase, unseen=view.unlisted("shm"))
        if cause.left and cause.left < 1 << 40:
            room = amount(cause.left * view.page, "bytes")
            cause = cause._replace(why="%s, so a new segment may have %s" % (cause.why, room))
        yield cause
    except UnseenError as error:
        yield unknown(about, str(error))


def shmmax(view: View) -> Iterator[Cause]:
    """Yield how large one segment may be."""
    remedy = "as root: sysctl -w kernel.shmmax=%d (the kernel's default, no limit in practice)" % SHM_MOST
    about = Cause("SHMMAX", "request", "", "", remedy, "kernel.shmmax", "bytes")
    try:
        most = view.limit("kernel.shmmax", "shm")
        largest, by = most, ""
        left = _left_pages(view)
        if left is not None and left * view.page < largest:
            largest, by = left * view.page, "SHMALL leaves"
        memory = _promised(view)
        if memory is not None and memory < largest:
            largest, by = memory, "the memory of this host allows"
        why = "a segment may have at most %s, and at least 1" % amount(most, "bytes")
        if by:
            why += "; a new one at most %s now, since %s no more" % (amount(largest, "bytes"), by)
        about = about._replace(max=most)
        if most >= 1 > largest:
            yield about._replace(state="per-request", why=why, left=0)
        else:
            yield per_request(about, largest=largest, why=why)
    except UnseenError as error:
        yield unknown(about, str(error))


def _left_pages(view: View) -> Optional[int]:
    try:
        return max(0, int(view.limit("kernel.shmall", "shm")) - sum(_pages(view, view.table("shm"))))
    except UnseenError:
        return None


def _promised(view: View) -> Optional[int]:
    """Return the bytes that the kernel would still promise to one segment; ``None`` for any number of them."""
    try:
        mode = view.value("vm.overcommit_memory")
        if mode == 0:
            return view.value("MemTotal") + view.value("SwapTotal")
        return None if mode == 1 else max(0, view.value("CommitLimit") - view.value("Committed_AS"))
    except UnseenError:
        return None


def promised(view: View) -> Iterator[Cause]:
    """Yield how much memory the kernel would promise to one segment (mm/util.c: __vm_enough_memory)."""
    remedy = "as root: sysctl -w vm.overcommit_memory=1; or create it with SHM_NORESERVE"
    about = Cause("overcommit", "host", "", "", remedy, "vm.overcommit_memory", "bytes")
    try:
        mode = view.value("vm.overcommit_memory")
        if mode == 1:
            yield about._replace(state="free", why="vm.overcommit_memory is 1, so no size is refused", remedy="")
        elif mode == 0:
            most = view.value("MemTotal") + view.value("SwapTotal")
            why = "a segment may be no larger than memory and swap together, %s" % amount(most, "bytes")
            yield per_request(about._replace(scope="request", max=most), largest=most, why=why)
        else:
            used, most = view.value("Committed_AS"), view.value("CommitLimit")
            about = about._replace(remedy="as root: raise vm.overcommit_ratio, or sysctl -w vm.overcommit_memory=0")
            phrase = "of memory that the kernel may promise are promised (some of it is kept for root)"
            yield counted(view, about, used=used, most=most, phrase=phrase)
    except UnseenError as error:
        yield unknown(about, str(error))


def huge_pages(view: View) -> Iterator[Cause]:
    """Yield how large a segment of huge pages can be (mm/hugetlb.c: hugetlb_acct_memory)."""
    about = Cause("huge pages", "request", "", "", "", "vm.nr_hugepages", "bytes")
    try:
        each, free = view.value("Hugepagesize"), view.value("HugePages_Free") - view.value("HugePages_Rsvd")
        free += view.value("vm.nr_overcommit_hugepages")
        remedy = "as root: sysctl -w vm.nr_hugepages=N, N being the size divided by %d; or do without SHM_HUGETLB"
        about = about._replace(remedy=remedy % each)
        why = "with SHM_HUGETLB: %d huge pages of %s can be had" % (free, amount(each, "bytes"))
        yield about._replace(state="per-request", why=why, left=max(0, free) * each)
    except UnseenError as error:
        yield unknown(about, "huge pages: %s" % error)


def huge_right(view: View) -> Iterator[Cause]:
    """Yield whether this caller may use huge pages (fs/hugetlbfs/inode.c: can_do_hugetlb_shm)."""
    about = Cause("SHM_HUGETLB", "request", "", "", "", "vm.hugetlb_shm_group")
    try:
        group, caller = view.value("vm.hugetlb_shm_group"), view.caller
        right = view.right("CAP_IPC_LOCK")
        may = right or ("group %d" % group if group in caller.gids else None)
        why = "SHM_HUGETLB needs CAP_IPC_LOCK or membership of the group in vm.hugetlb_shm_group (%d)" % group
        remedy = "as root: sysctl -w vm.hugetlb_shm_group=GID of a group of the caller; or do without SHM_HUGETLB"
        if may:
            yield about._replace(state="free", passes=may, why="%s; you have %s" % (why, may), remedy=remedy)
        else:
            yield about._replace(state="per-request", why="%s, and you have neither" % why, remedy=remedy)
    except UnseenError as error:
        yield unknown(about, str(error))


# ---------------------------------------------------------------- queues


def msgmni(view: View) -> Iterator[Cause]:
    """Yield how many queues are left."""
    about = Cause("MSGMNI", "namespace", "", "", "", "kernel.msgmni", "queues")
    try:
        yield _slots(view, "msg", about, view.limit("kernel.msgmni", "msg"), "MSG-004", "message queues")
    except UnseenError as error:
        yield unknown(about, str(error))


def msgmax(view: View) -> Iterator[Cause]:
    """Yield how large one message may be."""
    about = Cause("MSGMAX", "request", "", "", "", "kernel.msgmax", "bytes")
    try:
        most, queue = view.limit("kernel.msgmax", "msg"), view.limit("kernel.msgmnb", "msg")
        more = raised(most, 0, INT_MAX)
        remedy = "send several messages"
        if more is not None:
            remedy += "; or as root: sysctl -w kernel.msgmax=%d" % more
            if more > queue:
                remedy += " kernel.msgmnb=%d (which holds for queues made from then on)" % more
        why = "a message may have at most %s" % amount(most, "bytes")
        if queue < most:
            why += "; a new queue takes %s in all" % amount(queue, "bytes")
        yield per_request(about._replace(max=most, remedy=remedy), largest=most, why=why, least=0)
    except UnseenError as error:
        yield unknown(about, str(error))


def _fills(table: Table) -> List[Tuple[float, int, int]]:
    """Return how full each queue is: the share, and the number and limit that are nearest (bytes, or messages)."""
    fills = []
    for row in range(len(table)):
        most = table["qbytes"][row]
        used = max(table["cbytes"][row], table["qnum"][row])
        if most is not None:
            fills.append((used / most if most else 1.0, row, used))
    return sorted(fills, key=lambda one: (-one[0], one[1]))


def msg_qbytes(view: View) -> Iterator[Cause]:
    """Yield the queues that are full: by bytes, or by as many messages (ipc/msg.c: msg_fits_inqueue)."""
    about = Cause("msg_qbytes", "object", "", "", "", "kernel.msgmnb", "bytes or messages")
    try:
        table, default = view.table("msg"), view.limit("kernel.msgmnb", "msg")
        more = raised(default, 0, INT_MAX)
        remedy = "revive who should receive (ipcops show msg:ID)"
        if more is not None:
            remedy += "; queues made after this, as root, hold more: sysctl -w kernel.msgmnb=%d" % more
        about = about._replace(remedy=remedy)
        fills = _fills(table)
        hidden = len(table) - len(fills)
        full = [row for share, row, _ in fills if share >= 1]
        if hidden and not full:
            yield unknown(about, "the size of %d queues was not seen" % hidden)
        elif not fills:
            yield about._replace(state="free", why="there is no message queue in this IPC namespace")
        else:
            near = [row for share, row, _ in fills if share >= view.case.policy["audit", "near_limit"]]
            rows = full or near or [fills[0][1]]
            senders = [view.who(table["uid"][row], table["cbytes"][row]) for row in rows[:MOST]]
            used, most = fills[0][2], table["qbytes"][fills[0][1]]
            phrase = "bytes (or messages) are in msg:%d, the fullest queue" % table["id"][fills[0][1]]
            about = about._replace(
                users=senders,
                objects=view.named(
                    table, rows, qnum=table.pick("qnum", rows), cbytes=table.pick("cbytes", rows),
                    qbytes=table.pick("qbytes", rows),
                ),
            )  # fmt: skip
            cause = counted(view, about, used=used, most=most, phrase=phrase)
            many = "%d queue%s full: " % (len(full), " is" if len(full) == 1 else "s are") if full else ""
            yield cause._replace(why=many + cause.why)
    except UnseenError as error:
        yield unknown(about, str(error))
