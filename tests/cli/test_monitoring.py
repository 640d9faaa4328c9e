"""``ipcops metrics`` and ``ipcops check`` from the command line: the command and the agent say the same."""

from __future__ import annotations

import json
import shlex

import pytest

from ipcops.core.families import FAMILIES
from tests import world
from tests.cli.command import CLI, CORE, ipcops, on_terminal
from tests.core.test_exposition import read

LABELS = {"ipcops_" + name: labels for name, labels, _ in FAMILIES}


@world.in_world(mqueue=True, pids=True)  # or pipes of other processes come and go between the two
def test_both_print_the_same_families():
    world.shmget(1)
    policy = str(world.policy(world.SCAN))
    pages = []
    for command in (CLI, CORE):
        done = ipcops("metrics", "--policy", policy, command=command)
        assert (done.returncode, done.stderr) == (0, "")
        pages.append(read(done.stdout))
    assert pages[0].keys() == pages[1].keys() <= LABELS.keys()
    assert pages[0]["ipcops_shm_segments"] == [({}, 1)]
    for name, samples in pages[0].items():
        assert all(tuple(labels) == LABELS[name] for labels, _ in samples)
    done = ipcops("metrics", "--policy", policy, "--format", "json")
    report = json.loads(done.stdout)
    assert report["schema"] == "ipcops.metrics/1"
    assert report["families"].keys() <= LABELS.keys()
    assert report["families"]["ipcops_shm_segments"] == [{"labels": {}, "value": 1}]
    where = world.here() / "x.prom"
    done = ipcops("metrics", "--policy", policy, "--textfile", str(where))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert read(where.read_text()).keys() == pages[0].keys()


@world.in_world(mqueue=True)
def test_a_check_as_data():
    world.as_uid(world.GONE, lambda: world.shmget(1))
    policy = str(world.policy())
    for command in (CLI, CORE):
        done = ipcops("check", "--policy", policy, "--format", "json", command=command)
        assert (done.returncode, done.stderr) == (1, "")
        report = json.loads(done.stdout)
        assert (report["schema"], report["status"], report["state"]) == ("ipcops.check/1", 1, "WARNING")
        assert report["summary"] == f"orphans 1 ({world.GONE} 1), outside 0"
        orphans = next(one for one in report["metrics"] if one["name"] == "orphans")
        assert orphans == {
            "name": "orphans", "value": 1, "unit": "", "state": "WARNING", "of": f"{world.GONE} 1", "why": "outside 0",
            "warning": "0", "critical": None, "min": 0, "max": None,
        }  # fmt: skip
    where = world.here() / "said"
    done = ipcops("check", "--policy", policy, "--output", str(where))
    assert (done.returncode, done.stdout) == (1, "")
    assert where.read_text().startswith("IPC WARNING - orphans 1")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--warning", "orfans=1"), "unknown metric 'orfans'; did you mean 'orphans'?"),
        (("--critical", "x"), "--critical 'x' is no METRIC=RANGE, such as orphans=0 or shm_segments_used=80"),
        (("--warning", "orphans=2:1"), "--warning orphans: the range '2:1' ends before it begins"),
        (("--policy", "/does/not/exist"), "policy '/does/not/exist': there is no such file"),
        (("--deadline", "0"), "deadline 0.0 is out of bounds; from 0.01 to 3600"),
    ],
)
def test_what_is_wrong_is_said_as_a_plugin_says_it(arguments, why):
    for command in (CLI, CORE):
        done = ipcops("check", *arguments, command=command)
        assert (done.returncode, done.stdout, done.stderr) == (3, f"IPC UNKNOWN - {why}\n", "")


@pytest.mark.parametrize(
    "arguments", [("--no-such",), ("word",), ("--deadline", "soon"), ("--warning",), ("--format", "xml")], ids=" ".join
)
def test_a_wrong_command_line_is_never_critical(arguments):
    for command in (CLI, CORE):
        done = ipcops("check", *arguments, command=command)
        assert (done.returncode, done.stderr) == (3, "")
        assert done.stdout.startswith("IPC UNKNOWN - ")
        assert done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("--policy", "/does/not/exist"), 2),
        (("--textfile", "/does/not/exist/x.prom"), 4),
        (("--textfile", ""), 4),
        (("--textfile", "x.prom", "--output", "y"), 2),
        (("--textfile", "x.prom", "--format", "json"), 2),
        (("--deadline", "0"), 2),
    ],
)
def test_metrics_refuses_alike(arguments, status):
    ours, agents = ipcops("metrics", *arguments), ipcops("metrics", *arguments, command=CORE)
    assert (ours.returncode, ours.stdout) == (agents.returncode, agents.stdout) == (status, "")
    assert ours.stderr == agents.stderr
    assert ours.stderr.count("\n") == 1


def test_any_locale_will_do():
    for command in (CLI, CORE):
        done = ipcops("check", "--warning", "b\N{SNOWMAN}=1", command=command, LC_ALL="C", PYTHONIOENCODING="ascii")
        assert (done.returncode, done.stderr) == (3, "")
        assert done.stdout.startswith("IPC UNKNOWN - unknown metric 'b\N{SNOWMAN}'")
        done = ipcops("metrics", command=command, LC_ALL="C", PYTHONIOENCODING="ascii")
        assert done.returncode == 0


def test_a_standard_output_that_is_closed_leaves_the_status():
    for command in (CLI, CORE):
        words = " ".join(shlex.quote(word) for word in (*command, "check", "--warning", "x"))
        done = ipcops("-c", f"{words} >&-", command=("sh",))
        assert (done.returncode, done.stdout) == (3, "")
        assert "Traceback" not in done.stderr


def test_a_terminal_is_told_the_same():
    shown = on_terminal("check", width=40)
    assert shown.startswith("IPC ")
    assert shown.count("\n") == 1, "one line, however narrow"
    assert "\x1b" not in shown
    assert "# TYPE ipcops_shm_segments gauge\n" in on_terminal("metrics")


def test_help_is_no_state():
    for command in (CLI, CORE):
        done = ipcops("check", "--help", command=command)
        assert done.returncode == 0
        assert "--critical METRIC=RANGE" in done.stdout
