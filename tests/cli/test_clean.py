"""``ipcops clean`` and its kin from a shell: what is refused, what is asked, and how it ends."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import select
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipcops.core import agent, planfile
from ipcops.core.errors import InputError
from tests import world
from tests.cli.command import CLI, CORE, ROOT, environment, ipcops

BOTH = pytest.mark.parametrize("command", [CLI, CORE], ids=["cli", "core"])
AT_ONCE = "[clean]\nsecond_sighting = 0\n[remove mine]\nkind = shm\nmin_age = 0\nowner_gone = uid\n"


def policy(text: str = AT_ONCE) -> str:
    state = world.here() / "state"
    section = f"[clean]\nstate = {state}\n"
    return world.policy(world.SCAN + (text.replace("[clean]\n", section) if "[clean]" in text else section + text))


def orphan(size: int = 4096, key: int = 0) -> int:
    """Make a segment of a user who is gone, that nobody has touched for long enough."""
    number: int = world.as_uid(world.GONE, lambda: world.shmget(size, key=key))
    return number


def segments() -> list[int]:
    return [row["shmid"] for row in world.table("shm")]


def run(*words: str, command: tuple[str, ...] = CORE) -> subprocess.CompletedProcess[str]:
    """Return a run that saw every process: short-lived ones of other tests are no concern of this one."""
    for _ in range(10):
        done = ipcops(*words, command=command, PYTHONPATH=f"{world.here() / 'clock'}:{ROOT}")
        if "short-lived" not in done.stdout:
            break
    return done


def plan(*words: str) -> dict[str, Any]:
    done = run("clean", *words, "--format", "json")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["schema"] == "ipcops.clean/1"
    return report


def removals(report: dict[str, Any]) -> list[int]:
    return [one["id"] for one in report["plan"]["remove"]]


def at_terminal(answer: bytes, *words: str, command: tuple[str, ...] = CLI) -> tuple[int, str]:
    """Return exit status and output of a run at a terminal, where somebody answers."""
    ours, theirs = pty.openpty()
    env = environment(PYTHONPATH=f"{world.here() / 'clock'}:{ROOT}")
    process = subprocess.Popen([*command, *words], cwd=ROOT, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    text, answered = b"", False
    while select.select([ours], [], [], 30)[0]:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        text += chunk
        if b"[y/N]" in text and not answered:
            os.write(ours, answer)
            answered = True
    os.close(ours)
    status = process.wait(timeout=30)
    return status, re.sub(r"\x1b\[[0-9;]*m", "", text.decode().replace("\r\n", "\n"))


# ---------------------------------------------------------------- what is refused

WRONG = [
    ("clean shm:99999", "there is no shm:99999"),
    ("clean fifo:/run/x", "only reported"),
    ("clean nonsense", "names no object"),
    ("clean --kind shn", "did you mean 'shm'"),
    ("clean --kind pipe", "unknown removable kind 'pipe'"),
    ("clean --owner no-such-user-here", "no user 'no-such-user-here'"),
    ("clean --yes", "add --apply"),
    ("clean --apply", "no terminal to ask on"),
    ("clean --backup /x --no-backup", "exclude each other"),
    ("clean shm:0 --job-ended 70000", "exclude each other"),
    ("clean shm:0 --min-age 1h", "exclude each other"),
    ("clean shm:0 --notify", "exclude each other"),
    ("clean --job-ended 70000 --owner root", "exclude each other"),
    ("clean --job-ended no-such-user-here", "no user 'no-such-user-here'"),
    ("clean --job-ended root", "system user"),
    ("clean --job-ended daemon", "system user"),
    ("clean --max-removals -1", "from 0 on"),
    ("clean --plan /nowhere/plan.json", "cannot be read"),
    ("clean --plan /nowhere/plan.json shm:0", "leave out the objects named"),
    ("clean --plan /nowhere/plan.json --kind shm --with-data", "leave out --kind, --with-data"),
    ("backup shm:99999", "there is no shm:99999"),
    ("backup unix:/run/x", "only reported"),
    ("restore ../../etc/passwd", "no backup"),
    ("restore no-such-backup", "No such file"),
    ("restore x!y", "no name of a backup"),
    ("restore x pipe:1", "only reported"),
    ("journal --since soon", "is no time"),
    ("journal --key zz", "is no key"),
    ("journal --kind pipe", "unknown removable kind"),
    ("set shm:0 mode=9", "is no mode"),
    ("set shm:0 mode=01777", "is no mode"),
    ("set shm:0 mode", "sets nothing"),
    ("set shm:0 owner=no-such-user-here", "no user 'no-such-user-here'"),
    ("set shm:0 owner=0:no-such-group-here", "no group 'no-such-group-here'"),
    ("set shm:0 qbytes=1", "only a message queue"),
    ("set msg:0 qbytes=-1", "is no number of bytes"),
    ("set shm:0 colour=red", "unknown field 'colour'"),
    ("set fifo:/x mode=0600", "only reported"),
]


@world.in_world()
def test_wrong_command_lines_change_nothing():
    orphan()
    world.later(10)
    place = policy()
    for number, (words, told) in enumerate(WRONG):
        if number % 6:
            said = io.StringIO()
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(None):
                status = agent.main([*words.split(), "--policy", place])
            error = said.getvalue()
        else:
            done = run(*words.split(), "--policy", place, command=CLI)
            status, error = done.returncode, done.stderr
            assert not done.stdout
        assert status == 2, (words, error)
        assert told in error, (words, error)
        assert error.count("\n") == 1
    assert len(segments()) == 1
    assert run("journal", "--policy", place).stdout.startswith("The journal tells of no removal")


@BOTH
@pytest.mark.parametrize("words", [("backup",), ("restore",), ("set",), ("set", "shm:0"), ("journal", "x")])
def test_missing_and_superfluous_words(command, words):
    done = ipcops(*words, command=command)
    assert done.returncode == 2
    assert not done.stdout
    assert done.stderr


@world.in_world()
def test_plans_that_are_none_of_ours():
    shmid = orphan()
    world.later(10)
    place, file = policy(), world.here() / "plan.json"
    assert run("clean", "--policy", place, "--output", str(file)).returncode == 0
    good = json.loads(file.read_text())
    assert removals(good) == [shmid]

    def carried_out(text: str) -> str:
        file.write_text(text)
        done = run("clean", "--plan", str(file), "--apply", "--yes", "--policy", place)
        assert done.returncode == 2, done.stderr
        assert segments() == [shmid]
        return done.stderr

    def with_plan(**changes: Any) -> str:
        return json.dumps({**good, "plan": {**good["plan"], **changes}})

    assert "it is not JSON" in carried_out("remove all")
    assert "it is not JSON" in carried_out("[" * 100_000)
    assert "ipcops.audit/1" in carried_out('{"schema": "ipcops.audit/1"}')
    assert "its schema is null" in carried_out("[]")
    assert "carried out already" in carried_out(json.dumps({**good, "applied": True}))
    assert "another boot" in carried_out(with_plan(boot_id="another"))
    assert "another IPC namespace" in carried_out(with_plan(namespace=1))
    assert "another policy" in carried_out(with_plan(policy_hash="another"))
    assert "plan.remove is not what it must be" in carried_out(with_plan(remove="all"))
    assert "plan.asked has an unknown field" in carried_out(with_plan(asked={"force": True}))
    one = good["plan"]["remove"][0]
    assert "plan.remove[0].kind" in carried_out(with_plan(remove=[{**one, "kind": "pipe"}]))
    assert "names no object" in carried_out(with_plan(remove=[{**one, "id": None}]))
    file.write_text(json.dumps(good))
    other = policy(AT_ONCE + "[protect x]\nowner = 1\nreason = x\n")
    assert run("clean", "--plan", str(file), "--policy", other).returncode == 2
    assert run("clean", "--plan", str(file), "--policy", place, "--apply", "--yes").returncode == 0
    assert segments() == []


@world.in_world()
def test_a_plan_takes_nothing_that_it_does_not_name():
    first = orphan()
    world.later(10)
    place, file = policy(), world.here() / "plan.json"
    assert run("clean", "--policy", place, "--output", str(file)).returncode == 0
    second = orphan()
    world.later(10)
    assert removals(plan("--policy", place)) == [first, second]
    report = plan("--plan", str(file), "--policy", place)
    assert removals(report) == [first]
    assert [one["why"] for one in report["plan"]["keep"]] == ["it is not in the plan that was shown"]
    assert run("clean", "--plan", str(file), "--policy", place, "--apply", "--yes").returncode == 0
    assert segments() == [second]


@world.in_world()
def test_what_changed_since_the_plan_stays():
    used, gone = orphan(), orphan()
    world.later(10)
    place, file = policy(), world.here() / "plan.json"
    assert run("clean", "--policy", place, "--output", str(file)).returncode == 0
    world.as_uid(world.GONE, lambda: world.shmdt(world.shmat(used)))
    world.shmrm(gone)
    world.later(10)
    done = run("clean", "--plan", str(file), "--policy", place, "--apply", "--yes", "--format", "json")
    assert done.returncode == 4, done.stderr
    failed = {one["id"]: one["why"] for one in json.loads(done.stdout)["failed"]}
    assert segments() == [used]
    assert failed[gone] == "it is gone already"
    assert "not in the plan" in failed[used]


@world.in_world()
def test_state_that_cannot_be_written():
    shmid = orphan()
    world.later(10)
    (world.here() / "file").write_text("")
    text = world.SCAN + AT_ONCE.replace("[clean]\n", f"[clean]\nstate = {world.here() / 'file' / 'state'}\n")
    place = world.policy(text)
    done = run("clean", "--policy", place, "--apply", "--yes")
    assert done.returncode == 4
    assert "state directory" in done.stderr
    assert segments() == [shmid]
    done = run("clean", "--policy", place)
    assert done.returncode == 0 or "state directory" in done.stderr


@world.in_world()
def test_a_state_that_others_can_write_to_is_not_trusted():
    shmid = orphan()
    world.later(10)
    place = policy()
    (world.here() / "state").mkdir()
    (world.here() / "state").chmod(0o777)
    done = run("clean", "--policy", place, "--apply", "--yes")
    assert done.returncode == 4
    assert "others may write" in done.stderr
    assert segments() == [shmid]


@world.in_world()
def test_a_second_cleaner_gives_way():
    shmid = orphan()
    world.later(10)
    place = policy()
    (world.here() / "state").mkdir(mode=0o700)
    with (world.here() / "state" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711\n")
        lock.flush()
        for words in (("clean", "--apply", "--yes"), ("restore", "x"), ("backup", f"shm:{shmid}")):
            done = run(*words, "--policy", place)
            assert done.returncode == 4
            assert "another ipcops is cleaning (pid 4711)" in done.stderr
        report = plan("--policy", place)
        assert removals(report) == [shmid]
        assert any("second sighting" in note for note in report["notes"])
    assert segments() == [shmid]
    assert run("clean", "--apply", "--yes", "--policy", place).returncode == 0
    assert segments() == []


# ---------------------------------------------------------------- how it ends


@world.in_world()
def test_exit_code_tells_what_is_pending():
    place = policy()
    assert run("clean", "--exit-code", "--policy", place).returncode == 0
    orphan()
    world.later(10)
    assert run("clean", "--policy", place).returncode == 0
    assert run("clean", "--exit-code", "--policy", place).returncode == 1
    assert run("clean", "--exit-code", "--apply", "--yes", "--policy", place).returncode == 0
    assert run("clean", "--exit-code", "--policy", place).returncode == 0


@world.in_world()
def test_no_more_than_asked_for():
    ids = [orphan() for _ in range(3)]
    world.later(10)
    place = policy()
    assert removals(plan("--policy", place)) == ids
    for words in (("--max-removals", "0"), ("--max-removals", "2")):
        report = plan(*words, "--policy", place)
        assert removals(report) == []
        assert len(report["plan"]["keep"]) == 3
        assert run("clean", *words, "--apply", "--yes", "--policy", place).returncode == 0
    named = [f"shm:{one}" for one in ids]
    assert run("clean", *named, "--max-removals", "0", "--apply", "--yes", "--policy", place).returncode == 4
    assert segments() == ids
    oldest = policy(AT_ONCE + "on_excess = oldest\n")
    assert len(removals(plan("--max-removals", "2", "--policy", oldest))) == 2


@world.in_world()
def test_only_what_was_asked_for():
    mine = orphan()
    other = world.as_uid(world.OTHER, lambda: world.shmget(10))
    world.later(10)
    place = policy()
    assert removals(plan("--owner", str(world.GONE), "--policy", place)) == [mine]
    assert removals(plan("--owner", str(world.OTHER), "--policy", place)) == [other]
    assert removals(plan("--kind", "posix-shm", "--policy", place)) == []
    assert removals(plan("--min-age", "1h", "--policy", place)) == []
    assert removals(plan("--min-age", "5", "--policy", place)) == [mine, other]


@world.in_world()
def test_a_run_that_found_nothing_says_what_it_scanned():
    done = run("clean", "--policy", policy())
    assert "nothing would go; 0 stay." in done.stdout
    assert "Looked at " in done.stdout
    assert "There are no System V segments, semaphore sets, message queues" in " ".join(done.stdout.split())


@BOTH
@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"no\n", b"yess\n", b"\x04"])
@world.in_world()
def test_the_default_answer_is_no(command, answer):
    shmid = orphan()
    world.later(10)
    status, text = at_terminal(answer, "clean", "--apply", "--policy", policy(), command=command)
    assert status == 0
    assert f"shm:{shmid}" in text
    assert "Remove this object? [y/N]" in text
    assert "Nothing was removed." in text
    assert segments() == [shmid]


@BOTH
@world.in_world()
def test_after_a_yes_what_was_shown_goes(command):
    for _ in range(3):
        orphan(key=0)
    world.later(10)
    place = policy()
    status, text = at_terminal(b"y\n", "clean", "--apply", "--policy", place, command=command)
    assert status == 0, text
    assert "Remove these 3 objects? [y/N]" in text
    assert "removed 3 objects" in text
    assert segments() == []


@world.in_world()
def test_plans_and_journals_fit_eighty_columns():
    for _ in range(5):
        orphan(key=0)
    world.as_uid(world.GONE, lambda: world.semget(2))
    world.shm_file("a name\twith\x1b[31m everything")
    world.later(10)
    place = policy()
    done = run("clean", f"shm:{segments()[0]}", "--apply", "--yes", "--policy", place, "--format", "json")
    (batch,) = json.loads(done.stdout)["backup"]["names"]
    for words in (("clean",), ("journal",), ("restore", batch), ("clean", "--apply", "--yes"), ("journal",)):
        done = run(*words, "--policy", place)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout
        long = [line for line in done.stdout.splitlines() if len(line) > 80 and " " in line.strip()]
        assert long == []


# ---------------------------------------------------------------- the saved plan, whatever it holds

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
)
ENTRY: dict[str, Any] = {
    "kind": "shm", "id": 1, "key": "0x00000001", "path": None, "namespace": 1, "section": "x", "reasons": ["x"],
    "confidence": "certain", "backup": "full", "with_data": False, "expect": {"id": 1},
}  # fmt: skip
PLAN: dict[str, Any] = {
    "boot_id": "x", "namespace": 1, "made_at": 1, "uptime": 1.0, "policy_hash": "x", "asked": {}, "remove": [ENTRY],
}  # fmt: skip


def saved(plan: Any) -> str:
    return json.dumps({"schema": "ipcops.clean/1", "applied": False, "plan": plan})


def test_a_whole_plan_is_read():
    assert planfile.parse_plan(saved(PLAN), "f") == PLAN


@pytest.mark.parametrize("name", list(PLAN))
def test_every_field_of_a_plan_is_needed(name):
    lacking = {key: value for key, value in PLAN.items() if key != name}
    with pytest.raises(InputError, match=rf"plan\.{name} is missing"):
        planfile.parse_plan(saved(lacking), "f")


@pytest.mark.parametrize("name", list(ENTRY))
def test_every_field_of_a_removal_is_needed(name):
    lacking = {key: value for key, value in ENTRY.items() if key != name}
    with pytest.raises(InputError, match=rf"plan\.remove\[0\]\.{name} is missing"):
        planfile.parse_plan(saved({**PLAN, "remove": [lacking]}), "f")


def read(plan: Any) -> Any:
    """Return what is read of a saved plan, or the words in which it is refused."""
    try:
        return planfile.parse_plan(saved(plan), "f")
    except InputError as error:
        return str(error)


@given(JSON | st.fixed_dictionaries(dict.fromkeys(PLAN, JSON)) | st.builds(lambda x: {**PLAN, "remove": [x]}, JSON))
def test_any_other_json_is_refused_in_words(value):
    found = read(value)
    assert "'f'" in found if isinstance(found, str) else set(PLAN) <= set(found)


@given(st.sampled_from(sorted(ENTRY)), JSON)
def test_any_other_field_is_refused_in_words(name, value):
    found = read({**PLAN, "remove": [{**ENTRY, name: value}]})
    if isinstance(found, str):
        assert "plan.remove[0]" in found
    else:
        assert json.dumps(found["remove"][0][name]) == json.dumps(value)


@given(st.text())
def test_any_text_is_refused_in_words(text):
    with pytest.raises(InputError, match="is no plan"):
        planfile.parse_plan(text, "f")


def test_readme_names_every_option():
    common = {"--help", "--format", "--output", "--debug", "--deadline", "--policy"}
    lines = Path(ROOT, "README.md").read_text("utf-8").splitlines()
    line = next(line for line in lines if "`ipcops clean [KIND" in line)
    shown = ipcops("clean", "--help").stdout
    assert set(re.findall(r"--[a-z-]+", shown)) - common == set(re.findall(r"--[a-z-]+", line))
