"""Rules about pipes."""

from __future__ import annotations

from typing import Dict, Iterator

from ..model import OVERFLOW_ID, FindingGroup
from ..verdicts.case import Case
from .base import near_limit, percent, rule

KIND = "pipe"
SHRUNKEN = 2
"""Pages of a pipe that a user gets past the soft limit (fs/pipe.c, PIPE_MIN_DEF_BUFFERS)."""

SOFT, HARD = "fs.pipe-user-pages-soft", "fs.pipe-user-pages-hard"


@rule(
    id="PIPE-001",
    topic="limit",
    title="User near the limit of pipe pages",
    kind=KIND,
    severity="high",
    rationale="Past fs.pipe-user-pages-soft every new pipe of a user holds 2 pages instead of 16 and none can be"
    " enlarged, so programs turn slow or block; past fs.pipe-user-pages-hard pipe(2) fails with ENFILE. The pages"
    " of a user count over the whole host, containers with the same uid included.",
    decides="The pages of all pipes that could be seen, by creator, against each limit (0 is none): medium from"
    " near_limit, high from at_limit. There may be more, so it is a lower bound. Pipes of 2 pages show that"
    " the soft limit was reached, and make it certain. Root is exempt; so is who has CAP_SYS_RESOURCE or"
    " CAP_SYS_ADMIN, which nobody can tell afterwards.",
    remedy="Close what leaks pipes, or raise the soft limit; each page is memory that a user may hold.",
    source="pipe(7), fs/pipe.c (alloc_pipe_info)",
)
def near_pages(case: Case) -> Iterator[FindingGroup]:
    """Yield users whose pipes take most of what they may."""
    table, page = case.table(KIND), case.snapshot.host.page_size
    if table is None:
        return
    pages: Dict[int, int] = {}
    shrunken: Dict[int, int] = {}
    for uid, capacity in zip(table["uid"], table["capacity"]):
        if uid is None or capacity is None:
            continue
        pages[uid] = pages.get(uid, 0) + capacity // page
        if capacity == SHRUNKEN * page:
            shrunken[uid] = shrunken.get(uid, 0) + 1
    for uid, used in sorted(pages.items()):
        if uid == 0 or (uid == OVERFLOW_ID and not case.snapshot.host.all_ids_mapped):
            continue
        user = case.snapshot.user(uid)
        for name, then in (
            (SOFT, "past it each new pipe of that user holds %d pages" % SHRUNKEN),
            (HARD, "past it that user gets no pipe at all"),
        ):
            limit = case.snapshot.limits.get(name)
            severity = near_limit(case, used, limit)
            if not severity or not limit:
                continue
            small = shrunken.get(uid, 0) if name == SOFT else 0
            seen = ", as %d of them do" % small if small else ""
            yield FindingGroup(
                severity=severity,
                confidence="certain" if small else "strong",
                evidence={
                    "uid": uid, "user": case.snapshot.users.get(uid), "pages": used, "limit": limit,
                    "pipes_of_2_pages": shrunken.get(uid, 0),
                },
                reason="the pipes of %s take at least %d of the %d pages (%s) that %s allows a user; %s%s"
                % (user, used, limit, percent(used, limit), name, then, seen),
                remedy="find who leaks pipes (ipcops list pipe --owner %s); sysctl -w %s=%d gives more"
                % (case.snapshot.users.get(uid) or uid, name, 2 * limit),
            )  # fmt: skip


RULES = (near_pages,)
