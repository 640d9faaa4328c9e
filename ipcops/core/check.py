"""What a monitoring plugin says of the metrics: each against its ranges, and all of it in one line.

https://nagios-plugins.org/doc/guidelines.html; Icinga, Checkmk and the Zabbix agent take the same.
"""

from __future__ import annotations

from typing import AbstractSet, Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from .errors import InputError, unknown_word
from .families import OTHER, PREFIX
from .layout import printable
from .model import ENDLESS, REMOVABLE_KINDS, Report
from .policy import Policy
from .ranges import Range, parse_range
from .tuples import NamedTuple

CHECK_SCHEMA = "ipcops.check/1"
STATES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
"""By exit status."""
UNKNOWN = STATES.index("UNKNOWN")
WORST = ("CRITICAL", "WARNING", "UNKNOWN", "OK")
SHOWN = 5
"""As many metrics are told in words; all of them are in the performance data."""

Families = Mapping[str, Sequence[Mapping[str, Any]]]
Thresholds = Tuple[Tuple[str, str], Tuple[str, str]]
LIMITS: Thresholds = (("audit", "near_limit"), ("audit", "at_limit"))
FILE_SYSTEM: Thresholds = (("audit", "shm_full_high"), ("audit", "shm_full_critical"))


class Reading(NamedTuple):
    """A value, and which of several it is of; ``None``: there is nothing to measure."""

    value: Optional[float]
    of: str = ""
    most: Optional[float] = None


class Metric(NamedTuple):
    """Something that can have thresholds."""

    name: str
    kind: str
    """Which of ``[metrics] kinds`` it takes; ``""`` for any."""
    unit: str
    read: Callable[[Families], Reading]
    meaning: str
    defaults: Optional[Thresholds] = None
    """The settings of the policy that are its default thresholds."""
    needs: Tuple[str, ...] = ()
    """The sources without which it is UNKNOWN; always its kind."""


def _values(families: Families, name: str) -> Dict[Tuple[str, ...], float]:
    return {tuple(one["labels"].values()): one["value"] for one in families.get(PREFIX + name, ())}


def _plain(name: str, limit: str = "") -> Callable[[Families], Reading]:
    def read(families: Families) -> Reading:
        most = _values(families, limit).get(())
        value = _values(families, name).get(())
        return Reading(value, most=most if most is not None and most < ENDLESS else None)

    return read


def _share(*pairs: Tuple[str, str]) -> Callable[[Families], Reading]:
    """Return what reads the greatest share, in percent, of the pairs of a use and its limit."""

    def read(families: Families) -> Reading:
        unused = all(families.get(PREFIX + used) == [] for used, _ in pairs)
        best = Reading(0.0 if unused else None)
        for used, limit in pairs:
            limits = _values(families, limit)
            for labels, value in _values(families, used).items():
                most = limits.get(labels, limits.get(()))
                if not most or OTHER in labels:
                    continue
                share = round(100 * value / most, 2)
                if best.value is None or share > best.value:
                    best = Reading(share, " ".join(labels))
        return best._replace(most=100)

    return read


def _total(name: str, **wanted: str) -> Callable[[Families], Reading]:
    """Return what reads the sum of a metric over its labels, 0 where it is absent, and who has the most."""

    def read(families: Families) -> Reading:
        found = [
            one
            for one in families.get(PREFIX + name, ())
            if all(one["labels"][label] == value for label, value in wanted.items())
        ]
        owners: Dict[str, float] = {}
        for one in found if not wanted else ():
            owners[one["labels"]["owner"]] = owners.get(one["labels"]["owner"], 0) + one["value"]
        most = sorted(owners.items(), key=lambda one: (-one[1], one[0]))[:3]
        return Reading(sum(one["value"] for one in found), ", ".join("%s %d" % one for one in most))

    return read


def _stuck(families: Families) -> Reading:
    """Return how long the queue that holds messages and was longest not read has waited."""
    since = _values(families, "msg_unread_since_timestamp_seconds").get(())
    if since is None:
        return Reading(0 if _values(families, "msg_messages") else None)
    return Reading(max(0, round(_values(families, "scan_timestamp_seconds")[()] - since)))


METRICS: Tuple[Metric, ...] = (
    Metric(
        "shm_segments_used", "shm", "%", _share(("shm_segments", "shm_limit_segments")),
        "segments, of SHMMNI", LIMITS, ("limits",),
    ),
    Metric(
        "shm_pages_used", "shm", "%", _share(("shm_pages", "shm_limit_pages")), "pages, of SHMALL", LIMITS, ("limits",),
    ),
    Metric("sem_sets_used", "sem", "%", _share(("sem_sets", "sem_limit_sets")), "sets, of SEMMNI", LIMITS, ("limits",)),
    Metric(
        "sem_semaphores_used", "sem", "%", _share(("sem_semaphores", "sem_limit_semaphores")),
        "semaphores, of SEMMNS", LIMITS, ("limits",),
    ),
    Metric(
        "msg_queues_used", "msg", "%", _share(("msg_queues", "msg_limit_queues")),
        "queues, of MSGMNI", LIMITS, ("limits",),
    ),
    Metric(
        "msg_queue_used", "msg", "%",
        _share(("msg_queue_bytes", "msg_queue_limit_bytes"), ("msg_queue_messages", "msg_queue_limit_bytes")),
        "the fullest queue, by bytes or messages, of its capacity", LIMITS,
    ),
    Metric(
        "posix_mq_queues_used", "posix-mq", "%", _share(("posix_mq_queues", "posix_mq_limit_queues")),
        "POSIX queues, of fs.mqueue.queues_max", LIMITS, ("limits",),
    ),
    Metric(
        "posix_mq_queue_used", "posix-mq", "%", _share(("posix_mq_queue_messages", "posix_mq_queue_limit_messages")),
        "the fullest POSIX queue, of the messages it takes", LIMITS, ("queue",),
    ),
    Metric(
        "posix_mq_bytes_used", "posix-mq", "%", _share(("posix_mq_bytes", "posix_mq_limit_bytes")),
        "the queues of the user nearest to RLIMIT_MSGQUEUE, of that", LIMITS, ("queue",),
    ),
    Metric(
        "dev_shm_bytes_used", "posix-shm", "%", _share(("dev_shm_used_bytes", "dev_shm_limit_bytes")),
        "how full /dev/shm is", FILE_SYSTEM,
    ),
    Metric(
        "dev_shm_inodes_used", "posix-shm", "%", _share(("dev_shm_used_inodes", "dev_shm_limit_inodes")),
        "the inodes of /dev/shm that are taken", FILE_SYSTEM,
    ),
    Metric(
        "pipe_pages_used", "pipe", "%",
        _share(("pipe_user_pages", "pipe_limit_user_soft_pages"), ("pipe_user_pages", "pipe_limit_user_hard_pages")),
        "the pipes of the user with the most pages, of fs.pipe-user-pages-soft or -hard", LIMITS,
        ("pipes", "descriptors", "processes"),
    ),
    Metric(
        "orphans", "", "", _total("orphans"), "orphans that the policy neither protects nor exempts",
        needs=("orphans",),
    ),
    Metric("orphan_bytes", "", "B", _total("orphan_bytes"), "what these take", needs=("orphans",)),
    Metric("shm_segments", "shm", "", _plain("shm_segments", "shm_limit_segments"), "segments"),
    Metric("shm_bytes", "shm", "B", _plain("shm_bytes"), "the sizes of all segments"),
    Metric("sem_sets", "sem", "", _plain("sem_sets", "sem_limit_sets"), "semaphore sets"),
    Metric("sem_semaphores", "sem", "", _plain("sem_semaphores", "sem_limit_semaphores"), "semaphores in all sets"),
    Metric("msg_queues", "msg", "", _plain("msg_queues", "msg_limit_queues"), "System V queues"),
    Metric("msg_messages", "msg", "", _plain("msg_messages"), "messages in them"),
    Metric("msg_bytes", "msg", "B", _plain("msg_bytes"), "bytes of these"),
    Metric("msg_queue_stuck", "msg", "s", _stuck, "how long a queue that holds messages was not read"),
    Metric("posix_mq_queues", "posix-mq", "", _plain("posix_mq_queues", "posix_mq_limit_queues"), "POSIX queues"),
    Metric("posix_shm_bytes", "posix-shm", "B", _plain("posix_shm_bytes"), "the memory of POSIX shared memory files"),
    *(
        Metric("findings_" + word, "", "", _total("findings", severity=word), word + " findings", needs=("complete",))
        for word in ("critical", "high", "medium")
    ),
    Metric("scan_seconds", "", "s", _plain("scan_duration_seconds"), "how long the look took"),
)  # fmt: skip

BY_NAME = {metric.name: metric for metric in METRICS}
ORPHANS = "0"
"""The default range of orphans for a warning: none."""


class Asked(NamedTuple):
    """The ranges of a metric, and whether somebody asked for them."""

    warning: Optional[Range] = None
    critical: Optional[Range] = None
    own: bool = False


def thresholds(warning: Sequence[str], critical: Sequence[str], policy: Policy) -> Dict[str, Asked]:
    """Return the ranges of each metric, the defaults included.

    Raise InputError for a metric that there is not or that the policy leaves out, and for ranges that make no sense.
    """
    kinds = policy["metrics", "kinds"]
    ranges = {metric.name: _defaults(metric, policy) for metric in METRICS if not metric.kind or metric.kind in kinds}
    for level, words in (("warning", warning), ("critical", critical)):
        given = set()
        for word in words:
            name, one = _parsed(level, word)
            if name in given:
                raise InputError("--%s %s is given twice" % (level, name))
            given.add(name)
            if name not in ranges:
                what = "--%s %s: [metrics] kinds of the policy leaves %s out"
                raise InputError(what % (level, name, BY_NAME[name].kind))
            ranges[name] = ranges[name]._replace(own=True, **{level: one})
    for name, asked in ranges.items():
        if asked.own and asked.warning and asked.critical and asked.warning.within(asked.critical):
            what = "%s: no value warns, since whatever warning '%s' reports critical '%s' does; give both"
            raise InputError(what % (name, asked.warning.text, asked.critical.text))
    return ranges


def _defaults(metric: Metric, policy: Policy) -> Asked:
    if metric.name == "orphans":
        return Asked(parse_range(ORPHANS))
    if metric.defaults is None:
        return Asked()
    warning, critical = (parse_range("%g" % (100 * policy[where])) for where in metric.defaults)
    return Asked(warning, critical)


def _parsed(level: str, word: str) -> Tuple[str, Range]:
    name, equals, text = word.partition("=")
    if not equals:
        raise InputError("--%s '%s' is no METRIC=RANGE, such as orphans=0 or shm_segments_used=80" % (level, word))
    if name not in BY_NAME:
        raise unknown_word("metric", name, BY_NAME)
    try:
        one = parse_range(text)
    except ValueError as error:
        raise InputError("--%s %s: %s" % (level, name, error)) from error
    if BY_NAME[name].unit == "%" and any(100 < edge < float("inf") for edge in (one.start, one.end)):
        raise InputError("--%s %s: '%s' is more than all; %s is in percent" % (level, name, text, name))
    return name, one


def check_report(report: Report, ranges: Mapping[str, Asked]) -> Report:
    """Return the state of every metric that a look can have, and of all together."""
    families: Families = report["families"]
    sources = _values(families, "source_success")
    failed = {source for (source,), success in sources.items() if not success}
    if any(_values(families, "orphans_undetermined").values()) or failed & set(REMOVABLE_KINDS):
        failed.add("orphans")
    if not _values(families, "scan_complete")[()]:
        failed.add("complete")
    told = [_judged(BY_NAME[name], asked, families, failed) for name, asked in ranges.items()]
    state = next(word for word in WORST if word == "OK" or any(one["state"] == word for one in told))
    return {
        "schema": CHECK_SCHEMA,
        "status": STATES.index(state),
        "state": state,
        "summary": _summary(told, state),
        "metrics": told,
    }


def _judged(metric: Metric, asked: Asked, families: Families, failed: AbstractSet[str]) -> Dict[str, Any]:
    reading = metric.read(families)
    missing = [source for source in (metric.kind, *metric.needs) if source in failed]
    state, why = "OK", None
    for word, one in (("CRITICAL", asked.critical), ("WARNING", asked.warning)):
        if reading.value is not None and one is not None and one.alerts(reading.value):
            state, why = word, "%s %s" % ("inside" if one.inside else "outside", one.text.lstrip("@"))
            break
    else:
        if (asked.warning or asked.critical) and missing:
            state, why = "UNKNOWN", "not all of it could be seen (%s)" % ", ".join(missing)
        elif asked.own and reading.value is None:
            state, why = "UNKNOWN", "there is nothing to measure it by here"
    return {
        "name": metric.name,
        "value": reading.value,
        "unit": metric.unit,
        "state": state,
        "of": reading.of or None,
        "why": why,
        "warning": asked.warning.text if asked.warning else None,
        "critical": asked.critical.text if asked.critical else None,
        "min": 0,
        "max": reading.most,
    }


def _summary(told: Sequence[Mapping[str, Any]], state: str) -> str:
    if state == "OK":
        count = sum(one["warning"] is not None or one["critical"] is not None for one in told)
        return "%d of %d metrics have thresholds, and all are within" % (count, len(told))
    ordered = [one for word in WORST[:-1] for one in told if one["state"] == word]
    words = [_words(one) for one in ordered[:SHOWN]]
    if len(ordered) > SHOWN:
        words.append("and %d more" % (len(ordered) - SHOWN))
    return "; ".join(words)


def _words(one: Mapping[str, Any]) -> str:
    """Return what is wrong with a metric."""
    if one["state"] == "UNKNOWN":
        return "%s: %s" % (one["name"], one["why"])
    of = " (%s)" % one["of"] if one["of"] else ""
    return "%s %s%s%s, %s" % (one["name"], number(one["value"]), one["unit"], of, one["why"])


def line(report: Report) -> Iterator[str]:
    """Yield the one line of a check: state, words, performance data."""
    data: List[str] = []
    for one in report["metrics"]:
        value = "U" if one["value"] is None else number(one["value"]) + one["unit"]
        most = "" if one["max"] is None else number(one["max"])
        data.append("%s=%s;%s;%s;0;%s" % (one["name"], value, one["warning"] or "", one["critical"] or "", most))
    yield "%s | %s\n" % (headline(report["state"], report["summary"]), " ".join(data))


def headline(state: str, words: str) -> str:
    """Return the words of a plugin's line; what parts them from the data, and lines, may not be in them."""
    return "IPC %s - %s" % (state, printable(words).replace("|", "?"))


def number(value: float) -> str:
    """Return a number without a needless fraction."""
    return "%d" % value if value == int(value) else ("%.6f" % value).rstrip("0").rstrip(".")
