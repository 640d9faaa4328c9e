"""Numbers from snapshots made by hand: what is counted, what is left out, and where lists end."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipcops.core.exposition import exposition
from ipcops.core.families import COUNTERS, FAMILIES, KIND_OWNER_LABELS, OTHER, PREFIX
from ipcops.core.metrics import failed_report, metrics_report
from ipcops.core.model import KINDS, SEVERITIES, Counted
from ipcops.core.rules.catalogue import RULES
from ipcops.core.rules.chosen import rules_of
from ipcops.core.run import _findings
from ipcops.core.verdicts import Case
from tests.core.build import NOW, case, when

LABELS = {PREFIX + name: labels for name, labels, _ in FAMILIES}


def families(facts: Mapping[str, Any], deadline: float = 10.0, **changes: Any) -> Dict[str, List[Dict[str, Any]]]:
    """Return the families of a host that *facts* describe; *changes* are to its snapshot."""
    made = case({"kinds": [*KINDS[:6], "pipe"], **facts})
    made = Case(made.snapshot._replace(**changes), made.policy)
    kinds = made.snapshot.kinds
    found = metrics_report(made, _findings(made, rules_of(kinds), kinds, SEVERITIES), deadline)["families"]
    for name, samples in found.items():
        for sample in samples:
            assert tuple(sample["labels"]) == LABELS[name]
            assert isinstance(sample["value"], (int, float))
        given_labels = [tuple(sample["labels"].values()) for sample in samples]
        assert len(set(given_labels)) == len(given_labels), name
    return found


def value(found: Mapping[str, Any], name: str, *labels: str) -> Any:
    """Return a number; ``None`` where it is not told."""
    for sample in found.get(PREFIX + name, ()):
        if tuple(sample["labels"].values()) == labels:
            return sample["value"]
    return None


def series(found: Mapping[str, Any], name: str) -> Dict[Any, Any]:
    """Return a family, by the values of its labels."""
    return {tuple(one["labels"].values()): one["value"] for one in found.get(PREFIX + name, ())}


def test_the_list_of_metrics_says_each_once_and_as_prometheus_wants_it():
    names = [name for name, _, _ in FAMILIES]
    assert len(set(names)) == len(names)
    assert set(COUNTERS) <= set(names)
    for name, labels, meaning in FAMILIES:
        assert name == name.lower()
        assert not name.endswith(("_total", "_count", "_sum", "_bucket")), "that is for counters and histograms"
        assert meaning.endswith(".")
        assert len(set(labels)) == len(labels)


def test_what_the_rows_say():
    objects = [
        {"kind": "shm", "id": 1, "size": 1, "nattch": 1, "rss": 4096, "uid": 1000},
        {"kind": "shm", "id": 2, "size": 4097, "nattch": 1, "swap": 8192, "uid": 1001},
        {"kind": "sem", "id": 3, "nsems": 5},
        {"kind": "msg", "id": 4, "key": "0x2a", "qnum": 2, "cbytes": 100, "rtime": "1h ago", "stime": "1h ago"},
        {"kind": "msg", "id": 5, "qnum": 0, "cbytes": 0, "rtime": 0, "stime": 0, "ctime": "5h ago", "qbytes": None},
        {"kind": "posix-mq", "path": "/q", "curmsgs": 3, "maxmsg": 10, "msgsize": 100, "mtime": "2h ago"},
        {"kind": "posix-shm", "path": "/f", "blocks": 8192, "holders": [1]},
        {"kind": "posix-sem", "path": "/sem.s", "holders": [1]},
        {"kind": "pipe", "uid": 1000, "capacity": 65536, "times": 3},
        {"kind": "pipe", "uid": 0, "capacity": 65536},
    ]
    found = families({
        "objects": objects, "mount": {"size": "1G", "used": "1M", "files": 0},
        "unlinked": [{"bytes": 4096, "holders": [1]}], "unlinked_queues": [[1001, 10, 100]],
        "mqueue_limits": {"1000": 819200},
    })  # fmt: skip
    told = {name: value(found, name) for name, labels, _ in FAMILIES if not labels}
    assert told == {
        "shm_segments": 2, "shm_pages": 3, "shm_bytes": 4098, "shm_resident_bytes": 4096, "shm_swapped_bytes": 8192,
        "shm_limit_segments": 4096, "shm_limit_pages": 2 << 20, "shm_limit_segment_bytes": 18446744073692774399,
        "sem_sets": 1, "sem_semaphores": 5,
        "sem_limit_sets": 32000, "sem_limit_semaphores": 1024000000, "sem_limit_set_semaphores": 32000,
        "msg_queues": 2, "msg_messages": 2, "msg_bytes": 100,
        "msg_limit_queues": 32000, "msg_limit_queue_bytes": 16384, "msg_limit_message_bytes": 8192,
        "msg_unread_since_timestamp_seconds": when("1h ago"),
        "posix_mq_queues": 2, "posix_mq_messages": 3, "posix_mq_unused_since_timestamp_seconds": when("2h ago"),
        "posix_mq_limit_queues": 256, "posix_mq_limit_queue_messages": 10, "posix_mq_limit_message_bytes": 8192,
        "posix_shm_files": 1, "posix_shm_bytes": 8192, "posix_sem_semaphores": 1,
        "posix_shm_unlinked_files": 1, "posix_shm_unlinked_bytes": 4096,
        "dev_shm_used_bytes": 1 << 20, "dev_shm_limit_bytes": 1 << 30, "dev_shm_used_inodes": 1,
        "dev_shm_limit_inodes": None,
        "pipe_limit_user_soft_pages": 16384, "pipe_limit_user_hard_pages": None,
        "scan_timestamp_seconds": NOW, "scan_duration_seconds": 0, "scan_success": 1, "scan_complete": 1,
        "scan_deadline_exceeded": 0, "scan_processes": 1, "scan_unreadable_processes": 0,
    }  # fmt: skip
    first, second = ("4", "0x0000002a", "alice"), ("5", "0x00000000", "alice")
    assert series(found, "msg_queue_messages") == {first: 2, second: 0}
    assert series(found, "msg_queue_bytes") == {first: 100, second: 0}
    assert series(found, "msg_queue_limit_bytes") == {first: 16384}, "what may not be read is no number"
    assert series(found, "msg_queue_last_send_timestamp_seconds") == {first: when("1h ago"), second: 0}
    assert series(found, "msg_queue_last_receive_timestamp_seconds") == {
        first: when("1h ago"), second: when("5h ago"),
    }, "one that was never read from has waited since it was made"  # fmt: skip
    assert series(found, "posix_mq_queue_messages") == {("/q", "alice"): 3}
    assert series(found, "posix_mq_queue_limit_messages") == {("/q", "alice"): 10}
    assert series(found, "posix_mq_bytes") == {("alice",): 10 * 100 + 20 * 48, ("bob",): 10 * 100 + 20 * 48}
    assert series(found, "posix_mq_limit_bytes") == {("alice",): 819200}
    assert series(found, "pipe_user_pages") == {("alice",): 48}, "no limit binds root"
    assert value(found, "owner_objects", "shm", "bob") == 1
    assert value(found, "owner_bytes", "shm", "bob") == 4097
    assert value(found, "owner_objects", "pipe", "alice") == 3
    assert series(found, "crosscheck_compared") == {}, "nobody asked the kernel"
    assert series(found, "series_capped") == {}


def test_nothing_there_is_zero_and_nothing_seen_is_absent():
    quiet = families({})
    for name in "shm_segments shm_pages sem_sets msg_queues msg_bytes posix_mq_queues posix_shm_files".split():
        assert value(quiet, name) == 0
    assert value(quiet, "msg_unread_since_timestamp_seconds") is None
    assert set(series(quiet, "source_success").values()) == {1}
    gaps = [
        {"evidence": "table", "kind": "shm"}, {"evidence": "table", "kind": "posix-shm"},
        {"evidence": "limits", "kind": "msg"}, {"evidence": "maps", "pid": 7}, {"evidence": "maps", "pid": 8},
    ]  # fmt: skip
    limits = {"kernel.msgmni": None}
    blind = families({"unread": ["shm", "posix-shm"], "mount": None, "gaps": gaps, "limits": limits})
    for name, _, _ in FAMILIES:
        if name.startswith(("shm_", "posix_shm_", "dev_shm_")) and "_limit_" not in name:
            assert value(blind, name) is None, name
    assert value(blind, "msg_limit_queues") is None
    assert value(blind, "scan_complete") == 0
    assert value(blind, "scan_unreadable_processes") == 2
    failed = {source for (source,), success in series(blind, "source_success").items() if not success}
    assert failed == {"shm", "posix-shm", "limits", "maps"}


# ---------------------------------------------------------------- the kernel's own counters


def counted(*, steady: bool = True, **values: int) -> Dict[str, Counted]:
    return {"shm": Counted(values, steady)}


def test_the_kernel_is_believed_and_compared():
    objects = [{"kind": "shm", "id": 1, "size": 4097, "nattch": 1}]
    agreed = families({"objects": objects}, counted=counted(shm_segments=1, shm_pages=2))
    assert series(agreed, "crosscheck_difference") == {("ipcops_shm_segments",): 0, ("ipcops_shm_pages",): 0}
    assert set(series(agreed, "crosscheck_compared").values()) == {1}
    wrong = families({"objects": objects}, counted=counted(shm_segments=1, shm_pages=9))
    assert value(wrong, "shm_pages") == 9
    assert value(wrong, "crosscheck_difference", "ipcops_shm_pages") == 7
    assert value(wrong, "crosscheck_difference", "ipcops_shm_segments") == 0
    moved = families({"objects": objects}, counted=counted(steady=False, shm_segments=1, shm_pages=9))
    assert series(moved, "crosscheck_difference") == {}
    assert set(series(moved, "crosscheck_compared").values()) == {0}


def test_without_a_table_the_counters_still_tell():
    found = families({"unread": ["shm"]}, counted=counted(shm_segments=5, shm_pages=5))
    assert value(found, "shm_segments") == 5
    assert value(found, "crosscheck_difference", "ipcops_shm_segments") is None


def test_the_least_limit_of_semaphores_binds():
    limits = {"kernel.sem": {"semmsl": 10, "semmns": 1000, "semopm": 1, "semmni": 20}}
    assert value(families({"limits": limits}), "sem_limit_semaphores") == 200


# ---------------------------------------------------------------- where lists end


def test_past_the_cap_the_rest_is_summed():
    objects = [
        {"kind": "msg", "id": at, "uid": 2000 + at, "qnum": at, "cbytes": 10 * at, "qbytes": 1000} for at in range(10)
    ]
    policy = ["[metrics]", "owners = 3", "queues = 4"]
    found = families({"objects": objects, "policy": policy})
    assert [labels[0] for labels in series(found, "msg_queue_messages")] == ["6", "7", "8", "9", OTHER]
    assert value(found, "msg_queue_messages", OTHER, OTHER, OTHER) == sum(range(6))
    assert value(found, "msg_queue_bytes", OTHER, OTHER, OTHER) == 10 * sum(range(6))
    assert value(found, "msg_queue_limit_bytes", OTHER, OTHER, OTHER) == 6000
    assert (OTHER,) * 3 not in series(found, "msg_queue_last_receive_timestamp_seconds"), "times have no sum"
    assert series(found, "owner_bytes")["msg", OTHER] == 10 * sum(range(7))
    assert series(found, "owner_objects")["msg", OTHER] == 7
    assert value(found, "series_cap", "owner") == 3
    assert value(found, "series_cap", "queue") == 4
    assert value(found, "series_capped", "ipcops_owner_bytes") == 7
    assert value(found, "series_capped", "ipcops_msg_queue_messages") == 6


def test_a_cap_of_nothing_tells_no_name():
    objects = [{"kind": "msg", "qnum": 1, "cbytes": 1}, {"kind": "posix-mq", "curmsgs": 1}]
    found = families({"objects": objects, "policy": ["[metrics]", "owners = 0", "queues = 0"]})
    text = "".join(exposition({"families": found}))
    assert "alice" not in text
    assert value(found, "posix_mq_queue_messages", OTHER, OTHER) == 1


def test_a_user_called_other_is_told_by_number():
    found = families({"objects": [{"kind": "sem", "uid": 1000}]}, users={1000: OTHER})
    assert series(found, "owner_objects") == {("sem", "1000"): 1}


def test_two_uids_of_one_name_are_one_series():
    objects = [{"kind": "sem", "uid": 1000}, {"kind": "sem", "id": 2, "uid": 1001}]
    found = families({"objects": objects}, users={1000: "twin", 1001: "twin"})
    assert series(found, "owner_objects") == {("sem", "twin"): 2}


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 50), st.integers(0, 9000)), max_size=40),
    st.integers(0, 12), st.integers(0, 12),
)  # fmt: skip
def test_whatever_is_capped_nothing_is_lost(queues, owners, most):
    objects = [
        {"kind": "msg", "id": at, "uid": 3000 + uid, "qnum": count, "cbytes": size}
        for at, (uid, count, size) in enumerate(queues)
    ]
    policy = ["[metrics]", "owners = %d" % owners, "queues = %d" % most]
    found = families({"objects": objects, "policy": policy})
    for name, total in (
        ("msg_queue_messages", sum(count for _, count, _ in queues)),
        ("msg_queue_bytes", sum(size for _, _, size in queues)),
        ("owner_objects", len(queues)),
        ("owner_bytes", sum(size for _, _, size in queues)),
    ):
        assert sum(series(found, name).values()) == total
    assert len(series(found, "msg_queue_messages")) <= most + 1
    assert len(series(found, "owner_objects")) <= owners + 1
    shown = [labels for labels in series(found, "msg_queue_messages") if OTHER not in labels]
    fills = [max(count, size) for _, count, size in queues]
    hidden = [fill for at, fill in enumerate(fills) if str(at) not in {labels[0] for labels in shown}]
    if shown and hidden:
        assert min(fills[int(labels[0])] for labels in shown) >= min(max(hidden), 1), "none that is fuller is hidden"


# ---------------------------------------------------------------- leaks


def test_orphans_by_owner():
    objects = [
        {"kind": "shm", "id": 1, "uid": 4242, "size": 100},
        {"kind": "shm", "id": 2, "uid": 4242, "size": 50},
        {"kind": "shm", "id": 3, "uid": 26},
        {"kind": "shm", "id": 4, "uid": 4243, "nattch": 1},
        {"kind": "sem", "id": 5, "uid": 4242},
        {"kind": "msg", "id": 6, "uid": 4242, "qnum": 1, "cbytes": 7},
        {"kind": "shm", "id": 7, "key": "0x99", "uid": 4244},
    ]
    policy = [
        "[audit]", "exempt = SHM-001:shm:0x00000099", "[protect own]", "owner = 26", "kind = shm", "reason = ours",
    ]  # fmt: skip
    found = families({"objects": objects, "policy": policy})
    assert series(found, "orphans") == {("shm", "4242"): 2, ("sem", "4242"): 1, ("msg", "4242"): 1}
    assert series(found, "orphan_bytes") == {("shm", "4242"): 150, ("msg", "4242"): 7}
    assert series(found, "orphans_protected") == {("shm", "postgres"): 1}
    assert series(found, "orphans_suspected") == {}
    assert set(series(found, "orphans_undetermined").values()) == {0}
    assert value(found, "findings", "SHM-001", "medium") == 3
    assert value(found, "findings", "MSG-004", "high") == 1


def test_what_only_unseen_processes_hold_is_suspected_and_undetermined():
    objects = [{"kind": "posix-shm", "path": "/x", "uid": 4242}, {"kind": "shm", "uid": 4242}]
    found = families({"objects": objects, "gaps": [{"evidence": "maps", "pid": 1}]})
    assert series(found, "orphans_suspected") == {("posix-shm", "4242"): 1}
    assert value(found, "orphans_undetermined", "posix-shm") == 1
    assert series(found, "orphans") == {("shm", "4242"): 1}, "an attach count needs no maps"
    listing = families({"objects": objects, "gaps": [{"evidence": "processes"}]})
    assert series(listing, "orphans") == {}
    assert value(listing, "orphans_undetermined", "shm") == 1


def test_the_deadline_is_told():
    assert value(families({}, seconds=2.0), "scan_deadline_exceeded") == 0
    assert value(families({}, deadline=1.0, seconds=2.0), "scan_deadline_exceeded") == 1


def test_a_scan_that_failed_says_so_and_little_else():
    found = failed_report(1.0, 0.5)["families"]
    assert {name: samples[0]["value"] for name, samples in found.items()} == {
        "ipcops_build_info": 1, "ipcops_scan_timestamp_seconds": 1.0, "ipcops_scan_duration_seconds": 0.5,
        "ipcops_scan_success": 0, "ipcops_scan_complete": 0,
    }  # fmt: skip


def test_a_report_is_json():
    found = families({"objects": [{"kind": kind} for kind in (*KINDS[:6], "pipe")]})
    assert json.loads(json.dumps(found)) == found
    assert {name for name, labels in LABELS.items() if labels == KIND_OWNER_LABELS} >= {"ipcops_orphans"}


# ---------------------------------------------------------------- which rules are asked


@pytest.mark.parametrize("kind", [*KINDS, "host"])
def test_rules_of_a_kind_are_those_that_cover_it(kind):
    assert rules_of([kind]) == tuple(rule for rule in RULES if rule.covers([kind]))


def test_every_rule_is_of_some_file():
    assert rules_of([*KINDS, "host"]) == RULES
