"""Tasks with ipc_health on this machine, in a private IPC namespace: what it refuses, and on which Python it runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.plugins.play import PLAYBOOK, ROOT, environment
from tests.plugins.test_ipc_limits import pythons
from tests.world import here, in_world

READER = ROOT / "plugins/modules/reader.py"


def play(*tasks: dict[str, Any], python: str = sys.executable, check: bool = False) -> tuple[list[dict[str, Any]], str]:
    """Run ipc_health with some options after another; return the results, and all that was said."""
    if not PLAYBOOK.exists():
        pytest.skip("ansible-core is not installed")
    places = {"lib": str(here() / "lib"), "state_dir": str(here() / "state"), "textfiles": str(here())}
    book = [
        {"ipcops.linux.ipc_health": {**places, **one}, "register": f"r{number}", "ignore_errors": True}
        for number, one in enumerate(tasks)
    ]
    told = "[" + ", ".join(f"r{number}" for number in range(len(tasks))) + "]"
    write = {"ansible.builtin.copy": {"content": "{{ %s | to_json }}" % told, "dest": str(here() / "results.json")}}
    book.append({**write, "vars": {"ansible_python_interpreter": sys.executable}, "check_mode": False})
    target = {"ansible_connection": "local", "ansible_python_interpreter": python}
    (here() / "hosts.json").write_text(json.dumps({"all": {"hosts": {"target": target}}}))
    (here() / "play.json").write_text(json.dumps([{"hosts": "target", "gather_facts": False, "tasks": book}]))
    done = subprocess.run(
        [PLAYBOOK, "--inventory", here() / "hosts.json", here() / "play.json", *(["--check"] if check else [])],
        env=environment(),
        cwd=here(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return json.loads((here() / "results.json").read_text()), said


def page(age: float = 5, **more: float) -> None:
    """Leave a page of the monitor, *age* seconds old."""
    values = {
        'build_info{version="0.1.0"}': 1, "scan_timestamp_seconds": round(time.time() - age, 3), "scan_success": 1,
        "scan_complete": 1, **more,
    }  # fmt: skip
    (here() / "ipcops.prom").write_text("".join(f"ipcops_{name} {value}\n" for name, value in values.items()))


BAD = [
    ({"warning": {"shm_segment": 60}}, "unknown metric 'shm_segment'; did you mean 'shm_segments'"),
    ({"warning": {"shm_segments": "many"}}, "'many' is no range; write 10, 10:, ~:10, 10:20 or @10:20"),
    ({"critical": {"shm_segments_used": 120}}, "'120' is more than all; shm_segments_used is in percent"),
    ({"critical": {"orphans": "0:"}}, "never alerts"),
    ({"critical": ["orphans=3"]}, "to dict"),
    ({"fail_on": "grave"}, "must be one of: critical, high"),
    ({"overdue": {"clean": 3}}, "unknown job 'clean'; did you mean 'cleanup'"),
    ({"overdue": {"cleanup": "2d"}}, "write seconds, such as 900"),
    ({"max_age": "soon"}, "to float"),
    ({"policy": "/nonexistent.conf"}, "policy '/nonexistent.conf': there is no such file"),
    ({"deadline": 0, "max_age": 0}, "deadline 0.0 is out of bounds; from 0.01 to 3600"),
    ({"state": "present"}, "Unsupported parameters"),
]


@in_world(timeout=200)
def test_bad_input_is_refused_and_says_what_to_write():
    page()
    (here() / "bad.conf").write_text("[metrics]\nkind = shm\n")
    bad = [*BAD, ({"policy": str(here() / "bad.conf")}, "line 2: unknown key 'kind'")]
    results, said = play(*(options for options, _ in bad))
    for (options, words), result in zip(bad, results, strict=True):
        assert result["failed"], options
        assert words in result["msg"], options
    assert "Traceback" not in said


@in_world(timeout=200)
def test_the_page_of_the_monitor_is_read_while_it_is_fresh():
    page(shm_segments=7)
    fresh, asked, within, beyond = play(
        {}, {"max_age": 0}, {"warning": {"shm_segments": 7}}, {"warning": {"shm_segments": 6}, "fail": False}
    )[0]
    assert (fresh["report"]["source"], asked["report"]["source"]) == ("monitor", "kernel")
    assert (fresh["report"]["metrics"]["shm_segments"], asked["report"]["metrics"]["shm_segments"]) == (7, 0)
    assert not fresh["failed"], fresh["msg"]
    assert within["report"]["healthy"]
    assert not beyond["failed"], "only told"
    assert beyond["msg"] == "1 failure: shm_segments is 7, outside 6"
    page(age=400, shm_segments=7)
    later, longer = play({"allow_unseen": True}, {"max_age": 500})[0]
    assert (later["report"]["source"], longer["report"]["source"]) == ("kernel", "monitor")


@in_world(timeout=200)
def test_what_is_wrong_is_printed_for_a_person():
    page(**{'findings{rule="SHM-001",severity="medium"}': 3})
    (result,), said = play({"warning": {"orphans": "2:"}})
    assert result["failed"]
    words = " ".join(said.split())
    assert "target: 2 failures, by what its monitor wrote" in words
    assert "medium SHM-001, 3 times: Orphaned segment fix: Look at it with ipcops show" in words
    assert "orphans is 0, outside 2: fix: 'ipcops clean' on the host tells" in words
    assert "see docs/runbooks/IpcopsLeak.md" in words
    assert [one["count"] for one in result["report"]["failures"]] == [3, 1]


@in_world(timeout=200)
def test_nothing_is_changed_and_check_mode_says_the_same():
    page(shm_segments=7)
    before = {path: path.stat().st_mtime_ns for path in here().rglob("*") if path.name == "ipcops.prom"}
    (result,), _ = play({"warning": {"shm_segments": 6}})
    (checked,), _ = play({"warning": {"shm_segments": 6}}, check=True)
    assert not result["changed"]
    assert result["report"]["failures"] == checked["report"]["failures"]
    assert {path: path.stat().st_mtime_ns for path in before} == before


@in_world(timeout=200)
def test_a_job_that_failed_is_told():
    page()
    jobs = here() / "state/jobs"
    jobs.mkdir(parents=True)
    (jobs / "cleanup.json").write_text('{"job": "cleanup", "started_at": 1, "ended_at": 2, "status": 4}\n')
    (jobs / "health.json").write_text("{")
    (result,), _ = play({"fail": False})
    found = {one["job"]: one["what"] for one in result["report"]["failures"]}
    assert found["cleanup"].startswith("failed with status 4, ")
    assert found["health"].startswith("what it noted of its last run is damaged")


@in_world(timeout=200)
def test_a_page_that_would_block_or_is_endless_is_told():
    os.mkfifo(here() / "ipcops.prom")
    (piped,), _ = play({"fail": False})
    (here() / "ipcops.prom").unlink()
    (here() / "ipcops.prom").symlink_to("/dev/zero")
    (endless,), _ = play({"fail": False})
    assert "is damaged" in " ".join(one["what"] for one in piped["report"]["failures"])
    assert "it has more than 4000000 bytes" in " ".join(one["what"] for one in endless["report"]["failures"])


@in_world(timeout=200)
def test_an_agent_that_is_damaged_does_not_matter():
    core = here() / "lib/agent/core"
    core.mkdir(parents=True)
    (core / "__init__.py").write_text("")
    (core / "errors.py").write_text("syntax error\n")
    (result,), said = play({"allow_unseen": True})
    assert result["report"]["source"] == "kernel"
    assert "Traceback" not in said
    assert not list(core.glob("__pycache__")), "looking leaves no bytecode behind"


# ---------------------------------------------------------------- on which Python


@in_world(timeout=200)
def test_an_old_python_reads_the_page_and_is_told_where_the_kernel_must_be_asked():
    old = pythons("2.7", "3.6", "3.7", "3.8")
    if not old:
        pytest.skip("no Python older than 3.9 at hand")
    page(shm_segments=7)
    for path in old:
        (read, asked), _ = play({}, {"max_age": 0}, python=path)
        assert read["report"]["metrics"]["shm_segments"] == 7, path
        assert asked["failed"]
        assert asked["msg"].startswith("ipcops needs Python 3.9 or newer on the host, and /")


def test_what_reads_hosts_is_what_any_python_can_read():
    text = READER.read_text()
    assert not re.search(r"\bf['\"]|->|:=|\bnonlocal\b|print\(|from __future__", text)
    for path in pythons("2.7", "3.6"):
        code = "import sys; compile(open(sys.argv[1]).read(), sys.argv[1], 'exec')"
        subprocess.run([path, "-c", code, READER], check=True)
