"""Every exit status of the contract, and what is left behind when something fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

from tests import world
from tests.cli.command import CLI, ROOT, environment, ipcops

QUIET = "[audit]\nexempt = PSHM-006 SHM-010\n[scan]\nunreadable_ok = init.scope\n"


@world.in_world()
def test_findings_and_fail_on():
    policy = str(world.policy(QUIET))
    assert ipcops("audit", "--policy", policy).returncode == 0
    world.semget(1, mode=0o666)
    for fail_on, status in (("low", 1), ("medium", 1), ("critical", 0), ("none", 0)):
        assert ipcops("audit", "--policy", policy, "--fail-on", fail_on).returncode == status, fail_on
    assert ipcops("audit", "--policy", policy, "--kind", "shm").returncode == 0
    assert ipcops("audit", "--policy", policy, "--rule", "SEM-001").returncode == 0
    assert ipcops("audit", "--policy", policy, "--min-severity", "critical").returncode == 0


@world.in_world()
def test_require_complete():
    world.shm_file("psm_00000001")
    policy = world.policy(QUIET)
    done = ipcops("audit", "--policy", str(policy), "--require-complete", "--deadline", "0.01", "--fail-on", "none")
    full = ipcops("audit", "--policy", str(policy), "--require-complete", "--fail-on", "none")
    assert done.returncode in (0, 3), "a fast machine may make it"
    assert full.returncode == (0 if "Not seen" not in full.stdout else 3)


def test_output_is_whole_or_not_there(tmp_path):
    place = tmp_path / "report.json"
    place.write_text("before")
    assert ipcops("rules", "--format", "json", "--output", str(place)).returncode == 0
    assert place.read_text().startswith('{\n"schema"')
    failed = ipcops("rules", "--output", str(tmp_path / "missing" / "report"))
    assert failed.returncode == 4
    assert "missing/report" in failed.stderr
    assert sorted(os.listdir(tmp_path)) == ["report.json"]


def test_full_output():
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*CLI, "rules"], stdout=full, stderr=subprocess.PIPE, cwd=ROOT, env=environment(), check=False, text=True
        )
    assert done.returncode == 4
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


def test_closed_pipe_ends_as_any_program_does():
    process = subprocess.Popen(
        [*CLI, "rules", "--format", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment(),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(30) == -signal.SIGPIPE
    assert process.stderr.read() == b""
    process.stderr.close()


def test_interrupt():
    process = subprocess.Popen(
        [*CLI, "audit", "--samples", "2", "--interval", "60", "--fail-on", "none"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment(), text=True,
    )  # fmt: skip
    asleep = ("230", "35", "115")  # clock_nanosleep and nanosleep on x86-64, clock_nanosleep on arm64
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with open("/proc/%d/syscall" % process.pid, encoding="ascii") as call:
            if call.read().split()[0] in asleep:
                break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err


def test_defect_is_told_in_one_line():
    code = "import ipcops.core.collect.snapshot as s; s.take = None; from ipcops.cli.main import main; main()"
    broken = (CLI[0], "-c", code)
    done = ipcops("audit", command=broken)
    assert done.returncode == 70
    assert done.stderr.count("\n") == 1
    assert "defect" in done.stderr
    assert "Traceback" in ipcops("audit", "--debug", command=broken).stderr


@world.in_world()
def test_two_samples_make_sure():
    def full() -> int:
        queue = world.msgget()
        for _ in range(2):
            world.msgsnd(queue, b"x" * 8000)
        return queue

    full()
    look = ("audit", "--rule", "MSG-001", "--interval", "0.2", "--fail-on", "none", "--format", "json")
    for samples, confidence in (("1", "suspect"), ("2", "certain")):
        done = ipcops(*look, "--samples", samples)
        assert [one["confidence"] for one in json.loads(done.stdout)["findings"]] == [confidence]


@world.in_world()
def test_without_proc_nothing_can_be_determined():
    world.mount("tmpfs", "/proc", "tmpfs")
    for command in (("audit",), ("list",), ("show", "shm:0")):
        done = ipcops(*command)
        assert done.returncode == 3, done.stderr
        assert "/proc" in done.stderr
        assert done.stdout == ""


@world.in_world()
def test_policy_may_name_users_that_are_not_here():
    text = QUIET + "[protect mine]\nowner = no-such-user @no-such-group root glob-* 4242\nreason = ours\n"
    done = ipcops("audit", "--policy", str(world.policy(text)), "--format", "json")
    assert done.returncode == 0, done.stderr
    notes = json.loads(done.stdout)["notes"]
    assert [note.split("'")[1] for note in notes] == ["@no-such-group", "no-such-user"]
    assert "Note: the policy names 'no-such-user'" in ipcops("audit", "--policy", str(world.policy(text))).stdout
