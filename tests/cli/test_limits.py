"""``ipcops limits`` from a shell: what is asked, what is refused, how it looks, and the JSON others rely on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ipcops.core.limits.parameters import ALL
from tests import world
from tests.cli.command import CLI, CORE, ipcops, on_terminal
from tests.cli.test_clean import at_terminal
from tests.world import in_world

BOTH = pytest.mark.parametrize("command", [CLI, CORE], ids=["cli", "core"])
FILE = Path("/etc/sysctl.d/99-zz-ipcops.conf")
SHMMNI = Path("/proc/sys/kernel/shmmni")


def policy() -> str:
    """Return a policy with a state directory of this world, where no sysctl file is anybody else's."""
    world.mount("tmpfs", "/etc/sysctl.d", "tmpfs", data="mode=755")
    assert world.namespace() != world.HOME
    return world.policy(f"{world.SCAN}[clean]\nstate = {world.here()}/state\n")


# ---------------------------------------------------------------- asking


@BOTH
@in_world()
def test_nothing_is_set_without_a_yes(command):
    place = policy()
    words = ("limits", "apply", "--set", "kernel.shmmni=5000", "--policy", place)
    status, text = at_terminal(b"\n", *words, command=command)
    assert status == 0
    assert "RAISE   kernel.shmmni  4096 to 5000" in text
    assert "Change these 2 settings? [y/N]" in text
    assert "Nothing was changed." in text
    assert (SHMMNI.read_text(), FILE.exists()) == ("4096\n", False)
    status, text = at_terminal(b"y\n", *words, command=command)
    assert status == 0, text
    assert "1 limit set." in text
    assert f"Written to {FILE}." in text
    assert SHMMNI.read_text() == "5000\n"
    status, text = at_terminal(b"n\n", "limits", "rollback", "--policy", place, command=command)
    assert "BACK    kernel.shmmni  5000 to 4096" in text
    assert SHMMNI.read_text() == "5000\n"
    status, text = at_terminal(b"y\n", "limits", "rollback", "--policy", place, command=command)
    assert status == 0, text
    assert "2 things put back" in text
    assert (SHMMNI.read_text(), FILE.exists()) == ("4096\n", False)


@BOTH
@in_world()
def test_nothing_to_do_is_not_asked_about(command):
    status, text = at_terminal(
        b"n\n", "limits", "apply", "--set", "kernel.shmmni=100", "--policy", policy(), command=command
    )
    assert status == 0
    assert "nothing was to be set" in text
    assert "[y/N]" not in text


# ---------------------------------------------------------------- what is refused


@BOTH
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("limits plan", "no profile was named"),
        ("limits plan --profile postgresql", "did you mean 'postgresql-"),
        ("limits plan --profile postgresql-18:max_connection=1", "did you mean 'max_connections'"),
        ("limits plan --set kernel.shmmni=4G", "it takes a whole number from 0 to 32768"),
        ("limits plan --set kernel.shm_rmid_forced=1", "destroys every segment"),
        ("limits profiles oracle", "did you mean 'oracle-"),
        ("limits apply --profile db2-11.5", "no terminal to ask on; add --yes"),
        ("limits rollback", "no terminal to ask on; add --yes"),
        ("audit --profile db2", "did you mean 'db2-11.5'"),
        ("limits plan --profile db2-11.5 --policy /no/such/file", "there is no such file"),
        ("limits nonsense", "nonsense"),
    ],
)
def test_what_is_wrong_ends_with_status_2(command, words, message):
    done = ipcops(*words.split(), command=command)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert not done.stdout


@BOTH
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("file = ours", "is no name of such a file"),
        ("file = ../x.conf", "is no name of such a file"),
        ("profile_dir = here", "is no absolute path"),
        ("profils = x", "did you mean 'profiles'"),
        ("profiles = postgresql-19", "unknown profile 'postgresql-19'"),
    ],
)
@in_world()
def test_a_policy_that_is_wrong(command, line, message):
    done = ipcops("limits", "plan", "--policy", world.policy(f"[limits]\n{line}\n"), command=command)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr


# ---------------------------------------------------------------- JSON

TEXT, NUMBER, MAYBE = str, int, (int, type(None))
PARAMETER = {
    "name": TEXT, "current": MAYBE, "kernel_default": MAYBE, "persisted": (dict, type(None)), "recommended": MAYBE,
    "action": TEXT, "why": TEXT, "sources": list, "used": MAYBE, "accepted": list, "merge": TEXT, "unit": TEXT,
    "space": TEXT, "floors": list, "manual": (dict, type(None)),
}  # fmt: skip


def checked(row: dict[str, Any]) -> None:
    for name, kind in PARAMETER.items():
        assert isinstance(row[name], kind), (row["name"], name, row[name])
        assert not isinstance(row[name], bool)
    assert row["action"] in {"keep", "raise", "lower", "manual", "unwritable"}
    if row["persisted"] is not None:
        assert row["persisted"].keys() == {"value", "file", "line"}


@BOTH
@in_world()
def test_the_json_of_limits(command):
    place = policy()

    def ask(*words: str) -> Any:
        done = ipcops("limits", *words, "--format", "json", "--policy", place, command=command)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    shown = ask("show")
    assert shown["schema"] == "ipcops.limits/1"
    assert [row["name"] for row in shown["parameters"]] == [one.name for one in ALL]
    planned = ask("plan", "--profile", "db2-11.5", "--profile", "sap-hana")
    assert planned["schema"] == "ipcops.limits/1"
    assert planned["profiles"] == ["db2-11.5", "sap-hana"]
    assert planned["overrides"] == []
    for row in shown["parameters"] + planned["parameters"]:
        checked(row)
    shmmni = next(row for row in planned["parameters"] if row["name"] == "kernel.shmmni")
    assert len(shmmni["sources"]) == 2
    assert {one["profile"] for one in shmmni["floors"]} == {"db2-11.5", "sap-hana"}
    profiles = ask("profiles")
    assert profiles["schema"] == "ipcops.profiles/1"
    for one in profiles["profiles"]:
        assert {"name", "title", "parameters"} <= one.keys()
        for row in one["parameters"]:
            assert row.keys() == {"name", "floor", "formula", "merge", "source"}
            assert row["merge"] in {"max", "sum"}
    done = ipcops("limits", "plan", "--profile", "db2-11.5", "--exit-code", "--policy", place, command=command)
    assert done.returncode == 1


# ---------------------------------------------------------------- looks


@in_world()
def test_reports_fit_eighty_columns_and_say_what_to_do():
    place = policy()
    FILE.with_name("zz-vendor.conf").write_text("kernel.shmmni = 4096\n")
    choice = ("--profile", "db2-11.5", "--profile", "gpu-node", "--set", "kernel.shmmni=7000", "--policy", place)
    texts = [
        ipcops("limits", "plan", *choice).stdout,
        ipcops("limits", "show", "--policy", place).stdout,
        ipcops("limits", "profiles").stdout,
        ipcops("limits", "profiles", "informix-14.10").stdout,
        ipcops("limits", "apply", "--yes", *choice).stdout,
        ipcops("limits", "rollback", "--yes", "--policy", place).stdout,
    ]
    for text in texts:
        assert text
        assert "\x1b" not in text
        assert [line for line in text.splitlines() if len(line) > 80 and " " in line.strip()] == []
    assert "BY HAND dev_shm.size" in texts[0]
    assert "in /etc/fstab: tmpfs /dev/shm tmpfs defaults,size=" in texts[0]
    assert "LOSES   kernel.shmmni" in texts[0]
    assert "/etc/sysctl.d/zz-vendor.conf:1 sets '4096'" in " ".join(texts[0].split())
    assert "to undo it: ipcops limits rollback " in texts[4]


def test_a_terminal_gets_colour():
    assert "\x1b[" in on_terminal("limits", "profiles", "postgresql-18")


def test_help_names_the_commands():
    for command in (CLI, CORE):
        text = ipcops("limits", "--help", command=command).stdout
        assert all(f"  {verb} " in text for verb in ("show", "profiles", "plan", "apply", "rollback"))
        assert "--force-lower" in ipcops("limits", "apply", "--help", command=command).stdout
