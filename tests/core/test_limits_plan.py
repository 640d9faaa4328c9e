"""Plans of limits: they only raise, stay within what the kernel takes, and are a fixed point of themselves."""

from __future__ import annotations

import random
from typing import Any, Dict, List, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipcops.core.limits import shipped
from ipcops.core.limits.file import kept, parse_blocks, rendered
from ipcops.core.limits.loaders import Tree, bounds_of, load, settle
from ipcops.core.limits.parameters import (
    ALL,
    BY_NAME,
    OF_KEY,
    Floor,
    Machine,
    least_of,
    most_of,
)
from ipcops.core.limits.plan import (
    KEEP,
    LOWER,
    MANUAL,
    RAISE,
    UNNAMED,
    UNWRITABLE,
    Plan,
    Reading,
    plan_limits,
    with_headroom,
)
from ipcops.core.limits.profiles import floors_of, merged, parse_profiles
from ipcops.core.model import IPCMNI, IPCMNI_EXTENDED

GIB = 1 << 30
OWN = "/etc/sysctl.d/99-zz-ipcops.conf"
PROFILES = merged(parse_profiles(shipped.TEXT, shipped.PATH))


def machine(memory: int = 16 * GIB, page: int = 4096, *, extended: bool = False, release: Any = (6, 12)) -> Machine:
    return Machine(release, page, wide=True, ipcmni=IPCMNI_EXTENDED if extended else IPCMNI, memory=memory, swap=0)


def default_readings(host: Machine, **others: Any) -> Dict[str, Reading]:
    """Return readings of a host where everything is the default, but for some: name with ``__`` for ``.``."""
    found = {one.name: Reading(one.default(host), one.default(host)) for one in ALL}
    for word, fields in others.items():
        name = word.replace("__", ".")
        found[name] = found[name]._replace(**fields)
    return found


def floors(host: Machine, *names: str) -> List[Floor]:
    return [floor for name in names for floor in floors_of(PROFILES[name], {}, host)]


def asked(name: str, value: int, profile: str = "own") -> Floor:
    return Floor(profile, name, value, str(value), "a test")


def recommended(plan: Plan) -> Dict[str, Optional[int]]:
    return {row.name: row.recommended for row in plan.rows}


def actions(plan: Plan) -> Dict[str, str]:
    return {row.name: row.action for row in plan.rows}


# ---------------------------------------------------------------- properties


def drawn(seed: int) -> Any:
    """Return a machine, readings that it could have, and floors of profiles and of users; all of it by chance."""
    dice = random.Random(seed)
    host = machine(
        dice.randrange(1 << 26, 1 << 44),
        dice.choice([4096, 16384, 65536]),
        extended=dice.random() < 0.5,
        release=dice.choice([(2, 6), (3, 10), (3, 18), (5, 10), (6, 12)]),
    )

    def value(one: Any) -> int:
        least, most = least_of(one, host), most_of(one, host)
        near = 1 << dice.randrange(64)
        number = dice.choice([least, most, one.default(host) or least, min(max(least, near + dice.randrange(9)), most)])
        return 1 << (number - 1).bit_length() if one.name == "fs.pipe-max-size" and number > 1 else number

    found: Dict[str, Reading] = {}
    for key, parameters in [*OF_KEY.items(), *((None, (one,)) for one in ALL if one.key is None)]:
        there, blocked = dice.random() < 0.9, dice.random() < 0.1
        for one in parameters:
            found[one.name] = Reading(
                current=value(one) if there else None,
                default=one.default(host),
                used=dice.choice([None, 0, dice.randrange(50000), value(one)]),
                unseen=dice.choice([None, None, None, "hidden"]),
                boot=value(one) if dice.random() < 0.25 else None,
                blocked="read-only" if blocked and key else None,
            )
    wanted = floors(host, *(dice.choice(sorted(PROFILES)) for _ in range(dice.randrange(4))))
    for _ in range(dice.randrange(6)):
        name = dice.choice([one.name for one in ALL if one.floor])
        wanted.append(asked(name, value(BY_NAME[name]) + dice.choice([0, 0, 1, 1 << 66]), dice.choice(["a", UNNAMED])))
    return host, found, wanted


seeds = st.integers(0, 1 << 32)


def carried_out(plan: Plan, readings: Dict[str, Reading]) -> Dict[str, Reading]:
    """Return the readings of the host after the plan: what was set is so, and what the file says is ours."""
    after = dict(readings)
    for key, parameters in OF_KEY.items():
        for at, one in enumerate(parameters):
            reading = after[one.name]
            if key in plan.sets:
                reading = reading._replace(current=plan.sets[key][at])
            reading = reading._replace(own=plan.lines[key][at] if key in plan.lines else None)
            after[one.name] = reading
    for row in plan.rows:
        if row.action == MANUAL:
            after[row.name] = after[row.name]._replace(current=row.recommended)
    return after


@settings(max_examples=500, deadline=None)
@given(seeds)
def test_a_plan_never_lowers_never_exceeds_and_is_a_fixed_point(seed):
    host, readings, wanted = drawn(seed)
    plan = plan_limits(host, readings, wanted)
    for row in plan.rows:
        parameter, reading = BY_NAME[row.name], readings[row.name]
        assert row.action in {KEEP, RAISE, MANUAL, UNWRITABLE}
        assert row.why or row.action == KEEP
        if row.recommended is None:
            assert row.action == UNWRITABLE
            continue
        assert least_of(parameter, host) <= row.recommended <= most_of(parameter, host)
        if reading.current is not None:
            assert parameter.rank(row.recommended) >= parameter.rank(reading.current)
        if parameter.key is not None and reading.default is not None:
            assert parameter.rank(row.recommended) >= parameter.rank(min(reading.default, most_of(parameter, host)))
        if reading.used is not None and row.floors and parameter.key is not None:
            most = most_of(parameter, host)
            assert parameter.rank(row.recommended) >= min(reading.used, most)
    bounds = bounds_of(host)
    for key, numbers in [*plan.lines.items(), *plan.sets.items()]:
        assert len(numbers) == len(OF_KEY[key])
        assert all(type(one) is int and low <= one <= high for one, (low, high) in zip(numbers, bounds[key]))
    after = carried_out(plan, readings)
    again = plan_limits(host, after, wanted)
    assert not again.sets
    assert again.lines == plan.lines
    assert not again.changes
    assert {row.action for row in again.rows} <= {KEEP, UNWRITABLE}


@settings(max_examples=500, deadline=None)
@given(seeds)
def test_forced_lower_never_goes_below_what_is_in_use(seed):
    host, readings, wanted = drawn(seed)
    plan = plan_limits(host, readings, wanted, force_lower=True)
    for row in plan.rows:
        parameter, reading = BY_NAME[row.name], readings[row.name]
        if row.recommended is None or parameter.key is None:
            continue
        assert least_of(parameter, host) <= row.recommended <= most_of(parameter, host)
        lower = reading.current is not None and parameter.rank(row.recommended) < parameter.rank(reading.current)
        if lower:
            assert row.floors
            assert reading.unseen is None
            if reading.used is not None:
                assert parameter.rank(row.recommended) >= min(reading.used, most_of(parameter, host))
    again = plan_limits(host, carried_out(plan, readings), wanted, force_lower=True)
    assert not again.sets
    assert again.lines == plan.lines


@settings(max_examples=200, deadline=None)
@given(seeds, st.sampled_from(["", "# by hand\nvm.swappiness = 10\n", "kernel.shmmni=5\nkernel/shmmni = 7\n"]))
def test_both_loaders_read_in_the_file_what_the_plan_says(seed, before):
    host, readings, wanted = drawn(seed)
    plan = plan_limits(host, readings, wanted)
    text = rendered(plan, before)
    bounds = bounds_of(host)
    stated = {BY_NAME[row.name].key for row in plan.rows}
    for loaded in load(Tree().with_file(OWN, text.encode()), bounds).values():
        assert not loaded.skipped or "vm.swappiness" in before
        for key, numbers in plan.lines.items():
            if key in stated:
                assert settle(loaded.writes[key], bounds[key]).numbers == numbers
    assert ("vm.swappiness = 10" in text) == ("swappiness" in before)
    keys = [block.key for block in parse_blocks(text)]
    assert len(keys) == len(set(keys))
    assert rendered(plan, text) == text


# ---------------------------------------------------------------- examples


@pytest.mark.parametrize(
    ("gib", "shmmni", "msgmni", "shmall"),
    [
        (4, 1024, 4096, 2097152),
        (16, 4096, 16384, 8388608),
        (32, 8192, 32768, 16777216),
        (64, 16384, 65536, 33554432),
        (256, 65536, 262144, 134217728),
        (1024, 262144, 1048576, 536870912),
    ],
)
def test_db2_by_memory(gib, shmmni, msgmni, shmall):
    host = machine(gib * GIB)
    raw = {floor.name: floor.value for floor in floors(host, "db2-11.5")}
    assert raw["kernel.shmmni"] == raw["kernel.sem.semmni"] == shmmni
    assert raw["kernel.msgmni"] == msgmni
    assert raw["kernel.shmall"] == shmall
    assert raw["kernel.shmmax"] == gib * GIB
    found = recommended(plan_limits(host, default_readings(host), floors(host, "db2-11.5")))
    assert found["kernel.shmmni"] == min(max(shmmni, 4096), 32768)
    assert found["kernel.sem.semmni"] == min(max(shmmni, 32000), 32768)
    assert found["kernel.msgmni"] == min(max(msgmni, 32000), 32768)
    assert found["kernel.shmmax"] == found["kernel.shmall"] == (1 << 64) - (1 << 24) - 1
    extended = machine(gib * GIB, extended=True)
    found = recommended(plan_limits(extended, default_readings(extended), floors(extended, "db2-11.5")))
    assert found["kernel.msgmni"] == max(msgmni, 32000)


def test_oracle_greenplum_and_sap_by_memory():
    host = machine(16 * GIB)
    oracle = {floor.name: floor.value for floor in floors(host, "oracle-23ai")}
    assert (oracle["kernel.shmmax"], oracle["kernel.shmall"]) == (8589934592, 2097152)
    greenplum = {floor.name: floor.value for floor in floors(host, "greenplum-7")}
    assert (greenplum["kernel.shmall"], greenplum["kernel.shmmax"]) == (2097152, 8 * GIB)
    sap = {floor.name: floor.value for floor in floors(host, "sap-netweaver")}
    assert sap["dev_shm.size"] == 12 * GIB
    large = {floor.name: floor.value for floor in floors(machine(16 * GIB, page=65536), "oracle-23ai")}
    assert large["kernel.shmall"] == 131072, "shmall is in pages"


@pytest.mark.parametrize("name", ["oracle-19c", "oracle-23ai", "ibm-mq-9.4", "sap-bobj", "zabbix", "informix-14.10"])
def test_vendors_tables_lower_nothing_on_a_kernel_of_today(name):
    host = machine()
    plan = plan_limits(host, default_readings(host, logind__RemoveIPC={"current": 0}), floors(host, name))
    assert set(actions(plan).values()) == {KEEP}
    assert not plan.lines
    assert not plan.sets


def test_two_programs_together():
    host = machine()
    wanted = [
        asked("kernel.shmmni", 3000, "a"), asked("kernel.shmmni", 2500, "b"),
        asked("kernel.msgmax", 9000, "a"), asked("kernel.msgmax", 65536, "b"),
    ]  # fmt: skip
    found = recommended(plan_limits(host, default_readings(host), wanted))
    assert found["kernel.shmmni"] == 5500, "segments add up"
    assert found["kernel.msgmax"] == 65536, "the largest message does not"
    assert found["kernel.msgmnb"] == 65536, "and has to fit into a queue"


def test_a_value_given_by_itself_is_the_whole():
    host = machine()
    wanted = [asked("kernel.shmmni", 3000, "a"), asked("kernel.shmmni", 2500, "b")]
    assert (
        recommended(plan_limits(host, default_readings(host), [*wanted, asked("kernel.shmmni", 5000, UNNAMED)]))[
            "kernel.shmmni"
        ]
        == 5500
    )
    assert (
        recommended(plan_limits(host, default_readings(host), [*wanted, asked("kernel.shmmni", 9000, UNNAMED)]))[
            "kernel.shmmni"
        ]
        == 9000
    )


def test_what_is_in_use_gets_room_and_largest_things_do_not():
    host = machine()
    readings = default_readings(
        host, kernel__shmmni={"used": 6000, "current": 6000}, kernel__msgmnb={"used": 30000, "current": 20000}
    )
    found = recommended(plan_limits(host, readings, [*floors(host, "greenplum-7"), asked("kernel.shmmni", 1)]))
    assert found["kernel.shmmni"] == with_headroom(6000) == 8000
    assert recommended(plan_limits(host, readings, [asked("kernel.msgmnb", 1)]))["kernel.msgmnb"] == 30000
    assert with_headroom(3) == 4
    assert with_headroom(0) == 0


def test_kernel_sem_is_always_four_numbers_and_whole():
    host = machine()
    plan = plan_limits(host, default_readings(host), [asked("kernel.sem.semmni", 32768)])
    assert plan.sets == {"kernel.sem": (32000, 1024000000, 500, 32768)}
    assert plan.lines == plan.sets
    assert actions(plan) == {
        "kernel.sem.semmsl": KEEP, "kernel.sem.semmns": KEEP, "kernel.sem.semopm": KEEP, "kernel.sem.semmni": RAISE,
    }  # fmt: skip
    why = {row.name: row.why for row in plan.rows}
    assert "others of its setting" in why["kernel.sem.semopm"][0]


def test_kernel_sem_that_a_table_lowered_is_raised_as_a_whole():
    host = machine()
    lowered = {"semmsl": 250, "semmns": 32000, "semopm": 100, "semmni": 128}
    fields = {"kernel__sem__" + name: {"current": value, "boot": value} for name, value in lowered.items()}
    readings = default_readings(host, **fields)
    plan = plan_limits(host, readings, [asked("kernel.sem.semmni", 200)])
    assert plan.sets["kernel.sem"] == (32000, 1024000000, 500, 32000)


def test_only_what_the_next_boot_would_lose_is_written_down():
    host = machine()
    db2 = default_readings(host, kernel__shmmni={"current": 8192})
    plan = plan_limits(host, db2, [asked("kernel.shmmni", 8192)])
    assert actions(plan)["kernel.shmmni"] == RAISE
    assert not plan.sets
    assert plan.lines == {"kernel.shmmni": (8192,)}
    assert "next boot" in plan.rows[0].why[-1]
    elsewhere = default_readings(host, kernel__shmmni={"current": 8192, "boot": 9000})
    plan = plan_limits(host, elsewhere, [asked("kernel.shmmni", 8192)])
    assert plan.sets == {"kernel.shmmni": (9000,)}, "a file says more than what runs"
    assert not plan.lines, "that file is enough"


def test_earlier_lines_stay_though_another_profile_is_applied():
    host = machine()
    readings = default_readings(host, kernel__msgmax={"current": 65536, "own": 65536})
    plan = plan_limits(host, readings, [asked("kernel.shmmni", 8192)])
    assert plan.lines == {"kernel.shmmni": (8192,), "kernel.msgmax": (65536,)}


def test_no_limit_is_more_than_any_number():
    host = machine()
    readings = default_readings(host, **{"fs__pipe-user-pages-soft": {"current": 0, "boot": 0}})
    plan = plan_limits(host, readings, [asked("fs.pipe-user-pages-soft", 99999)])
    assert actions(plan) == {"fs.pipe-user-pages-soft": KEEP}
    assert recommended(plan)["fs.pipe-user-pages-soft"] == 0
    plan = plan_limits(host, default_readings(host), [asked("fs.pipe-user-pages-soft", 0)])
    assert actions(plan) == {"fs.pipe-user-pages-soft": RAISE}


def test_the_size_of_a_pipe_is_a_power_of_two():
    host = machine()
    plan = plan_limits(host, default_readings(host), [asked("fs.pipe-max-size", 5_000_000)])
    assert plan.sets == {"fs.pipe-max-size": (1 << 23,)}


def test_what_is_no_sysctl_is_for_a_hand_with_nothing_else_written():
    host = machine()
    readings = default_readings(host, dev_shm__size={"current": 64 << 20}, logind__RemoveIPC={"current": 1})
    wanted = [*floors(host, "gpu-node", "postgresql-18"), asked("rlimit.msgqueue", 1 << 20), asked("rlimit.memlock", 1)]
    plan = plan_limits(host, readings, wanted)
    found = actions(plan)
    assert found["dev_shm.size"] == found["logind.RemoveIPC"] == found["rlimit.msgqueue"] == MANUAL
    assert found["rlimit.memlock"] == KEEP
    assert not plan.sets
    assert recommended(plan)["logind.RemoveIPC"] == 0


def test_shmmax_that_is_raised_takes_shmall_along():
    host = machine(release=(3, 10))
    plan = plan_limits(host, default_readings(host), [asked("kernel.shmmax", 64 * GIB)])
    assert plan.sets == {"kernel.shmmax": (64 * GIB,), "kernel.shmall": (16777216,)}


def test_absent_and_read_only_parameters_are_told_and_not_written():
    host = machine()
    readings = default_readings(
        host, kernel__shmmni={"blocked": "/proc/sys is read-only here"},
        fs__mqueue__queues_max={"current": None, "unread": "this kernel has no fs.mqueue.queues_max"},
    )  # fmt: skip
    wanted = [asked("kernel.shmmni", 9000), asked("fs.mqueue.queues_max", 9000), asked("kernel.msgmax", 9000)]
    plan = plan_limits(host, readings, wanted)
    assert actions(plan) == {
        "kernel.shmmni": UNWRITABLE, "fs.mqueue.queues_max": UNWRITABLE, "kernel.msgmax": RAISE,
    }  # fmt: skip
    assert set(plan.sets) == set(plan.lines) == {"kernel.msgmax"}


def test_force_lower_goes_down_and_says_so():
    host = machine()
    readings = default_readings(host, kernel__msgmni={"used": 40}, kernel__shmmni={"used": 3, "unseen": "no table"})
    wanted = [asked("kernel.msgmni", 10), asked("kernel.shmmni", 10)]
    plan = plan_limits(host, readings, wanted, force_lower=True)
    assert actions(plan) == {"kernel.msgmni": LOWER, "kernel.shmmni": KEEP}
    assert plan.sets == {"kernel.msgmni": (40,)}
    assert plan.lines == {"kernel.msgmni": (40,)}
    assert "no table" in "; ".join(plan.rows[0].why)


def test_a_source_cannot_end_its_comment():
    host = machine()
    floor = Floor("own", "kernel.shmmni", 9000, "9000", "x\rkernel.shmmax = 1\0kernel.msgmax = 2\u2028")
    text = rendered(plan_limits(host, default_readings(host), [floor]), None)
    for loaded in load(Tree().with_file(OWN, text.encode()), bounds_of(host)).values():
        assert loaded.writes.keys() == {"kernel.shmmni"}


def test_a_rollback_keeps_the_lines_that_have_to_stay():
    host = machine()
    first = rendered(plan_limits(host, default_readings(host), [asked("kernel.shmmni", 9000)]), None)
    after = default_readings(host, kernel__shmmni={"current": 9000, "own": 9000})
    both = rendered(plan_limits(host, after, [asked("kernel.msgmax", 9000), asked("kernel.msgmni", 32100)]), first)
    assert kept(first, both, {}) == first
    assert kept(None, both, {}) is None
    text = kept(first, both, {"kernel.msgmni": (32100,)})
    assert [block.line for block in parse_blocks(text or "")] == ["kernel.shmmni = 9000", "kernel.msgmni = 32100"]
