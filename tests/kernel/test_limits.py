"""``ipcops limits`` on the real kernel, in IPC and mount namespaces of our own: applied whole, or not at all."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from ipcops.core import sysctls, tuning
from ipcops.core.collect import tuning as reading
from ipcops.core.collect.host import INITIAL_PID_NAMESPACE
from ipcops.core.collect.tuning import read_tuning
from ipcops.core.errors import InputError, IpcopsError, UndeterminedError
from ipcops.core.fs import Directory, Roots
from ipcops.core.model import INITIAL_IPC_NAMESPACE
from ipcops.core.policy import defaults
from ipcops.core.records import json_text
from ipcops.core.run import run
from tests import world
from tests.kernel.admin import Admin
from tests.world import REPO, in_world

FILE = Path("/etc/sysctl.d/99-zz-ipcops.conf")
DB2 = ("--profile", "db2-11.5")
KEYS = ("shmmax", "shmall", "shmmni", "sem", "msgmni", "msgmax", "msgmnb")
DEFAULTS = {"shmmni": "4096", "sem": "32000 1024000000 500 32000", "msgmax": "8192", "msgmnb": "16384"}


def values() -> dict[str, str]:
    """Return the limits of this IPC namespace as the kernel tells them."""
    found = {key: " ".join(Path("/proc/sys/kernel", key).read_text().split()) for key in KEYS}
    assert world.namespace() != world.HOME, "only in a namespace of our own"
    return found


def set_to(key: str, text: str) -> None:
    """Set a limit of this IPC namespace."""
    assert world.namespace() != world.HOME
    Path("/proc/sys/kernel", key).write_text(text)


class Tuner(Admin):
    """Root of a world where nobody else's sysctl files are."""

    def __init__(self, text: str = "", uid: int | None = None) -> None:
        super().__init__(text, uid)
        world.mount("tmpfs", "/etc/sysctl.d", "tmpfs", data="mode=755")

    def limits(self, *words: str, status: int = 0) -> Any:
        """Return the report of a command about limits."""
        report = self.ask("limits", *words, status=status)
        assert report["schema"] in ("ipcops.limits/1", "ipcops.profiles/1")
        return report

    def apply(self, *words: str, status: int = 0) -> Any:
        """Set limits without being asked."""
        return self.limits("apply", "--yes", *words, status=status)

    def rollback(self, *words: str, status: int = 0) -> Any:
        """Put limits back without being asked."""
        return self.limits("rollback", "--yes", *words, status=status)

    def refused(self, *words: str, status: int = 2) -> str:
        """Return the message of a command that does nothing."""
        before = values(), file_text()
        answer = self.run("limits", *words)
        assert answer.status == status, f"{answer.status}: {answer.err}"
        assert not answer.out
        assert (values(), file_text()) == before
        return answer.err


def file_text() -> str | None:
    return FILE.read_text() if FILE.exists() else None


def rows(report: Any) -> dict[str, Any]:
    return {one["name"]: one for one in report["parameters"]}


# ---------------------------------------------------------------- show, profiles and plan


@in_world()
def test_show_tells_every_limit_with_its_use_and_where_it_is_set():
    tuner = Tuner()
    set_to("shmmni", "5000")
    FILE.with_name("60-a.conf").write_text("# mine\nkernel.shmmni = 5000\nkernel.sem = 250 32000 100 128\n")
    for _ in range(3):
        world.shmget(5000)
    world.semget(7)
    report = tuner.limits("show")
    found = rows(report)
    assert report["profiles"] == report["overrides"] == []
    wanted = {"current": 5000, "kernel_default": 4096, "used": 3, "accepted": [0, 32768], "action": "keep"}
    assert found["kernel.shmmni"].items() >= wanted.items()
    assert found["kernel.shmmni"]["persisted"] == {"value": 5000, "file": "/etc/sysctl.d/60-a.conf", "line": 2}
    assert found["kernel.shmall"]["used"] == 3 * -(-5000 // os.sysconf("SC_PAGE_SIZE"))
    assert found["kernel.shmmax"]["used"] == 5000
    assert found["kernel.sem.semmns"]["used"] == found["kernel.sem.semmsl"]["used"] == 7
    assert found["kernel.sem.semopm"]["persisted"] == {"value": 100, "file": "/etc/sysctl.d/60-a.conf", "line": 3}
    for name in ("fs.mqueue.queues_max", "fs.pipe-max-size", "net.core.somaxconn", "dev_shm.size"):
        assert type(found[name]["current"]) is int
    assert found["dev_shm.size"]["current"] == 256 << 20
    assert found["dev_shm.noexec"]["current"] == 1
    assert {"rlimit.msgqueue", "rlimit.memlock", "logind.RemoveIPC"} <= found.keys()
    text = tuner.run("limits", "show").out
    assert re.search(r"kernel\.shmmni +5000 +4096 +3 ", text)


@in_world()
def test_profiles_are_shipped_and_ones_own():
    directory = world.here() / "profiles"
    directory.mkdir()
    tuner = Tuner(f"[limits]\nprofile_dir = {directory}\n")
    shipped = tuner.limits("profiles")
    assert {"postgresql-18", "oracle-19c", "db2-11.5"} <= {one["name"] for one in shipped["profiles"]}
    own = "[ours]\ntitle = Ours\nsource = the wiki\nterm users = 3 at once\nkernel.shmmni = 5000 + users\n"
    (directory / "a.conf").write_text(own)
    (directory / "b.txt").write_text("not read")
    (found,) = tuner.limits("profiles", "ours:users=10")["profiles"]
    assert found["file"] == f"{directory}/a.conf"
    assert found["parameters"] == [
        {"name": "kernel.shmmni", "floor": 5010, "formula": "5000 + users", "merge": "sum", "source": "the wiki"}
    ]
    assert rows(tuner.limits("plan", "--profile", "ours:users=7"))["kernel.shmmni"]["recommended"] == 5007
    assert "5003" in tuner.run("limits", "profiles", "ours").out
    (directory / "a.conf").write_text(own + "kernel.shmni = 1\n")
    assert f"profiles {directory}/a.conf line 6: unknown parameter" in tuner.refused("plan", "--profile", "ours")


@in_world()
def test_a_directory_of_profiles_that_cannot_be_read():
    directory = world.here() / "profiles"
    directory.write_text("a file")
    tuner = Tuner(f"[limits]\nprofile_dir = {directory}\n")
    assert f"the directory of profiles '{directory}' cannot be read" in tuner.refused("plan", *DB2)
    directory.unlink()
    (directory / "a.conf").mkdir(parents=True)
    assert f"profiles '{directory}/a.conf' cannot be read: Is a directory" in tuner.refused("plan", *DB2)
    (directory / "a.conf").rmdir()
    (directory / "a.conf").write_bytes(b"[a\xff]\n")
    assert "is no name" in tuner.refused("plan", *DB2)
    directory.rename(world.here() / "elsewhere")
    assert tuner.limits("plan", *DB2), "there need not be one"


@in_world()
def test_a_plan_says_why_and_changes_nothing():
    tuner = Tuner()
    before = values()
    report = tuner.limits("plan", *DB2, "--profile", "postgresql-18:max_connections=500")
    found = rows(report)
    assert report["profiles"] == ["db2-11.5", "postgresql-18:max_connections=500"]
    assert found["kernel.msgmax"]["action"] == "raise"
    assert found["kernel.msgmax"]["recommended"] == 65536
    assert found["kernel.msgmax"]["sources"] == [found["kernel.msgmnb"]["sources"][0]]
    assert found["kernel.shmmax"]["action"] == "keep"
    assert all(one["why"] for one in report["parameters"])
    assert [one["name"] for one in report["changes"]][-1] == str(FILE)
    assert not report["applied"]
    assert values() == before
    assert file_text() is None
    assert not tuner.state.exists()
    tuner.limits("plan", *DB2, "--exit-code", status=1)
    tuner.limits("plan", "--profile", "oracle-19c", "--exit-code")
    assert "RAISE   kernel.msgmax  8192 to 65536" in tuner.run("limits", "plan", *DB2).out


@in_world()
def test_what_is_no_sysctl_is_told_with_the_text_for_its_file():
    tuner = Tuner()
    report = tuner.limits("plan", "--set", "dev_shm.size=1073741824", "--set", "rlimit.msgqueue=99999999")
    found = rows(report)
    assert found["dev_shm.size"]["action"] == found["rlimit.msgqueue"]["action"] == "manual"
    assert found["dev_shm.size"]["manual"]["file"] == "/etc/fstab"
    assert "size=1073741824" in found["dev_shm.size"]["manual"]["text"]
    assert found["rlimit.msgqueue"]["manual"]["text"] == "USER - msgqueue 99999999\n"
    assert not report["changes"]


# ---------------------------------------------------------------- apply and rollback


@in_world()
def test_applied_once_and_put_back():
    tuner = Tuner()
    before = values()
    report = tuner.apply(*DB2)
    assert report["applied"]
    assert report["failed"] == report["unwritable"] == []
    assert values() == {**before, "shmmni": str(max(4096, rows(report)["kernel.shmmni"]["recommended"])),
                        "msgmax": "65536", "msgmnb": "65536",
                        "msgmni": str(rows(report)["kernel.msgmni"]["recommended"]),
                        "sem": values()["sem"]}  # fmt: skip
    text = file_text()
    assert text is not None
    assert "\n# kernel.msgmax: 65536, db2-11.5 (https://www.ibm.com/" in text
    assert "\nkernel.msgmax = 65536\n" in text
    assert FILE.stat().st_mode & 0o777 == 0o644
    inode = FILE.stat().st_ino
    again = tuner.apply(*DB2)
    assert again["changes"] == []
    assert again["batch"] is None
    assert FILE.stat().st_ino == inode, "nothing is written twice"
    journal = tuner.ask("journal", "--kind", "sysctl")["entries"]
    assert {one["path"] for one in journal} == {f"kernel.{key}" for key in KEYS if values()[key] != before[key]}
    assert {one["rollback"] for one in journal} == {report["batch"]}
    assert "limits rollback" in tuner.run("journal").out
    back = tuner.rollback()
    assert back["batches"] == [report["batch"]]
    assert back["refused"] == back["left"] == []
    assert values() == before
    assert file_text() is None
    assert "nothing is to be rolled back" in tuner.refused("rollback", "--yes")


@in_world()
def test_kernel_sem_is_written_whole():
    tuner = Tuner()
    set_to("sem", "250 32000 100 128")
    tuner.apply("--set", "kernel.sem.semmni=200")
    assert values()["sem"] == "32000 1024000000 500 32000", "never below the kernel's own defaults"
    tuner.apply("--set", "kernel.sem=32000 1024000000 600 32768")
    assert values()["sem"] == "32000 1024000000 600 32768"
    assert "\nkernel.sem = 32000 1024000000 600 32768\n" in (file_text() or "")
    tuner.rollback()
    tuner.rollback()
    assert values()["sem"] == "250 32000 100 128"


@in_world()
def test_back_to_before_all_and_again():
    tuner = Tuner()
    before = values()
    applied = [tuner.apply("--set", "kernel.shmmni=%d" % number)["batch"] for number in (5000, 6000)]
    assert tuner.rollback("all")["batches"] == applied[::-1]
    assert (values(), file_text()) == (before, None)
    again = tuner.rollback("all")
    assert again["batches"] == again["changes"] == []
    assert again["batch"] is None
    assert "takes back nothing" in tuner.run("limits", "rollback", "--yes", "all").out


@in_world()
def test_back_to_before_a_named_one():
    tuner = Tuner()
    before = values()
    first = tuner.apply("--set", "kernel.shmmni=5000", "--set", "kernel.msgmax=9000")
    tuner.apply("--set", "kernel.shmmni=6000")
    last = tuner.apply("--set", "kernel.msgmni=32100")
    answer = tuner.run("limits", "rollback", "--yes", "nonsense")
    assert answer.status == 2
    assert last["batch"] in answer.err
    back = tuner.rollback(first["batch"])
    assert len(back["batches"]) == 3
    assert values() == before
    assert file_text() is None
    assert "rolled back already" in tuner.refused("rollback", "--yes", last["batch"])


@in_world()
def test_what_somebody_else_changed_is_left_and_said():
    tuner = Tuner()
    tuner.apply("--set", "kernel.shmmni=5000", "--set", "kernel.msgmni=32100")
    set_to("shmmni", "7000")
    FILE.write_text((file_text() or "") + "vm.swappiness = 10\n")
    back = tuner.rollback()
    assert {one["name"] for one in back["left"]} == {"kernel.shmmni", str(FILE)}
    assert "it is 7000 and was set to 5000" in back["left"][0]["why"]
    assert values()["shmmni"] == "7000"
    assert values()["msgmni"] == "32000"
    assert "swappiness" in (file_text() or "")


@in_world()
def test_rollback_does_not_go_below_what_is_in_use():
    tuner = Tuner()
    set_to("shmmni", "3")
    tuner.apply("--set", "kernel.shmmni=5000", "--set", "kernel.msgmni=32100")
    ids = [world.shmget(1) for _ in range(5)]
    back = tuner.rollback(status=4)
    assert [one["name"] for one in back["refused"]] == ["kernel.shmmni"]
    assert "5 of kernel.shmmni are in use, and it was 3 before" in back["refused"][0]["why"]
    assert values()["shmmni"] == "5000"
    assert values()["msgmni"] == "32000"
    assert "kernel.shmmni = 5000" in (file_text() or "")
    assert "msgmni" not in (file_text() or "").split("\n\n", 1)[1]
    for shmid in ids:
        world.shmrm(shmid)
    tuner.rollback()
    assert values()["shmmni"] == "3"
    assert file_text() is None


@in_world()
def test_force_lower_goes_down_to_what_is_in_use_and_no_further():
    tuner = Tuner()
    tuner.apply("--set", "kernel.shmmni=3")
    assert values()["shmmni"] == "4096"
    for _ in range(5):
        world.shmget(1)
    report = tuner.apply("--set", "kernel.shmmni=3", "--force-lower")
    assert rows(report)["kernel.shmmni"]["action"] == "lower"
    assert values()["shmmni"] == "5"
    assert "kernel.shmmni = 5\n" in (file_text() or "")


@in_world()
def test_the_file_keeps_what_it_said_of_other_limits():
    tuner = Tuner()
    tuner.apply("--set", "kernel.shmmni=5000")
    tuner.apply("--set", "kernel.msgmni=32100")
    lines = [line for line in (file_text() or "").split("\n") if line and not line.startswith("#")]
    assert lines == ["kernel.shmmni = 5000", "kernel.msgmni = 32100"]


@in_world()
def test_a_running_value_that_no_file_keeps_is_written_down():
    tuner = Tuner()
    set_to("shmmni", "8192")
    report = tuner.apply("--set", "kernel.shmmni=8192")
    assert rows(report)["kernel.shmmni"]["action"] == "raise"
    assert [one["name"] for one in report["changes"]] == [str(FILE)]


@in_world()
def test_who_overrides_is_named_and_the_policy_names_the_file():
    tuner = Tuner("[limits]\nfile = 60-ours.conf\n")
    FILE.with_name("70-vendor.conf").write_text("\n\nkernel.shmmni = 4096\n")
    report = tuner.apply("--set", "kernel.shmmni=5000")
    assert report["file"] == "/etc/sysctl.d/60-ours.conf"
    assert tuner.limits("show")["overrides"] == report["overrides"]
    found = {(one["name"], one["file"], one["line"], one["value"]) for one in report["overrides"]}
    assert found == {("kernel.shmmni", "/etc/sysctl.d/70-vendor.conf", 3, 4096)}
    assert "LOSES   kernel.shmmni of /etc/sysctl.d/60-ours.conf" in tuner.run(
        "limits", "plan", "--set", "kernel.shmmni=5000").out  # fmt: skip
    assert tuner.apply("--set", "kernel.shmmni=5000")["changes"] == [], "and it is not written again and again"


# ---------------------------------------------------------------- bad input


@in_world()
def test_bad_input_is_refused_before_anything_is_written():
    tuner = Tuner()
    for given, words in (
        ("kernel.shmmni=32769", "0 to 32768"), ("kernel.shmmni=-1", "0 to 32768"), ("kernel.shmmni=4G", "whole number"),
        ("kernel.shmmni=lots", "whole number"), ("kernel.shmmni=", "whole number"), ("kernel.shmmni=1,000", "number"),
        ("kernel.shmmni=true", "whole number"), ("kernel.shmmax=18446744073709551616", "18446744073709551615"),
        ("kernel.sem=1 2 3 4 5", "4 whole numbers"), ("kernel.sem=1,2,3,4", "4 whole numbers"),
        ("kernel.sem=1 2 3 99999", "0 to 32768"), ("kernel.shmni=5", "did you mean 'kernel.shmmni'"),
        ("kernel.shmmni", "sets nothing"), ("kernel.shm_rmid_forced=1", "destroys every segment"),
        ("vm.swappiness=1", "unknown parameter"),
    ):  # fmt: skip
        for verb in ("plan", "apply"):
            with pytest.raises(InputError, match=re.escape(words)):
                run({**request(tuner), "verb": verb, "values": ["kernel.msgmni=32100", given]})
    half = ("--set", "kernel.msgmni=32100", "--set", "kernel.sem=1 2 3 99999")
    assert "0 to 32768" in tuner.refused("apply", "--yes", *half)
    assert "did you mean 'db2-11.5'" in tuner.refused("apply", "--yes", "--profile", "db2-11.4")
    assert "no profile was named" in tuner.refused("apply", "--yes")
    assert "no terminal to ask on; add --yes" in tuner.refused("apply", *DB2)
    assert not tuner.state.exists()


@in_world()
def test_a_request_of_a_program_is_checked_like_a_persons():
    tuner = Tuner()
    for given, words in (
        ({"kernel.shmmni": True}, "whole number"), ({"kernel.shmmni": None}, "whole number"),
        ({"kernel.sem": [1, 2, 3]}, "4 whole numbers"), ({"kernel.shmmni": 1.5}, "whole number"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            run({**request(tuner), "values": given})
    report = run({"command": "limits", "verb": "plan", "values": {"kernel.shmmni": 5000}, "policy": tuner.policy})
    assert rows(report)["kernel.shmmni"]["recommended"] == 5000
    assert values()["shmmni"] == "4096"


def test_what_no_plan_may_say_is_refused_before_it_is_written():
    """The last look before writing does not rely on the plan."""
    with Directory.open("/proc") as proc:
        seen = read_tuning(Roots(proc), defaults())
    for key, numbers, words in (
        ("kernel.shmmni", (32769,), "it accepts 0 to 32768"), ("kernel.sem", (1, 2, 3), "it accepts "),
        ("kernel.sem", (1, 2, 3, 99999), "0 to 32768"), ("kernel.msgmax", (-1,), "it accepts 0 to 2147483647"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            tuning._validate(sysctls.Change({key: (numbers, numbers)}, {}), seen)


def test_no_settings_at_all_is_no_answer():
    with Directory.open("/proc") as proc:
        seen = read_tuning(Roots(proc), defaults())._replace(values={})
        looking = mock.patch.object(reading, "read_tuning", return_value=seen)
        with looking, pytest.raises(UndeterminedError, match="is /proc/sys there"):
            run({"command": "limits", "verb": "show"}, Roots(proc))


def test_an_unknown_verb():
    with pytest.raises(InputError, match="did you mean 'plan'"):
        run({"command": "limits", "verb": "plans"})


@in_world()
def test_without_root_the_plan_works_and_apply_says_what_it_needs():
    world.needs_root()
    root = Tuner()
    user = Admin(uid=world.GONE)
    assert rows(user.ask("limits", "plan", *DB2))["kernel.msgmax"]["action"] == "raise"
    answer = user.run("limits", "apply", "--yes", *DB2)
    assert answer.status == 3
    assert "needs root" in answer.err
    assert user.run("limits", "rollback", "--yes").status == 3
    assert file_text() is None
    assert root.apply(*DB2)["applied"]


@in_world()
def test_a_link_in_the_place_of_the_file_is_not_followed():
    tuner = Tuner()
    target = world.here() / "elsewhere"
    target.write_text("precious")
    FILE.symlink_to(target)
    report = tuner.apply("--set", "kernel.shmmni=5000", status=4)
    assert "no plain file" in report["failed"][0]["why"]
    assert target.read_text() == "precious"
    assert values()["shmmni"] == "4096"


# ---------------------------------------------------------------- where it cannot be written


@in_world()
def test_read_only_settings_are_told_and_nothing_is_done():
    tuner = Tuner()
    world.mount("/proc/sys", "/proc/sys", None, world.MS_BIND | world.MS_REC)
    world.mount("none", "/proc/sys", None, world.MS_REMOUNT | world.MS_BIND | world.MS_RDONLY)
    report = tuner.limits("plan", *DB2)
    assert rows(report)["kernel.msgmax"]["action"] == "unwritable"
    assert "read-only" in rows(report)["kernel.msgmax"]["why"]
    assert not report["changes"]
    done = tuner.apply(*DB2, status=4)
    assert {"kernel.msgmax", "kernel.msgmnb"} <= set(done["unwritable"])
    assert file_text() is None
    assert "CANNOT  kernel.msgmax" in tuner.run("limits", "plan", *DB2).out


@in_world()
def test_a_directory_that_is_read_only_leaves_all_as_it_was():
    tuner = Tuner()
    before = values()
    world.mount("none", "/etc/sysctl.d", None, world.MS_REMOUNT | world.MS_BIND | world.MS_RDONLY)
    report = tuner.apply(*DB2, status=4)
    assert not report["applied"]
    assert "Read-only file system; everything is as before" in report["failed"][0]["why"]
    assert values() == before


@in_world()
def test_a_namespace_of_ones_own_is_said_to_be_that():
    tuner = Tuner()
    assert "IPC namespace is not the host's first one" in " ".join(tuner.limits("plan", *DB2)["notes"])


# ---------------------------------------------------------------- everything or nothing

TEN = {
    "kernel.shmmax": "18446744073692774401", "kernel.shmall": "18446744073692774402", "kernel.shmmni": "5000",
    "kernel.sem": "32001 1024000001 501 32700", "kernel.msgmni": "32100", "kernel.msgmax": "9000",
    "kernel.msgmnb": "20000", "fs.mqueue.queues_max": "300", "fs.mqueue.msg_max": "20", "fs.mqueue.msgsize_max": "9000",
}  # fmt: skip


def state_of_all() -> Any:
    found = {key: Path("/proc/sys", key.replace(".", "/")).read_text() for key in TEN}
    return found, file_text()


class Fault(sysctls.Hands):
    """Does what it is told until the call of that number, which goes wrong in some way."""

    calls = itertools.count()
    at = -1
    how = "error"

    def broken(self) -> bool:
        return next(type(self).calls) == self.at

    def read(self, key):
        if self.broken():
            if self.how == "error":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            if self.how == "interrupt":
                raise KeyboardInterrupt
            if self.how == "kill":
                return super().read(key)
            return tuple(one + 1 for one in super().read(key))
        return super().read(key)

    def write(self, key, numbers):
        if self.broken():
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "half":  # as the kernel does with kernel.sem: the first fields are written
                super().write(key, (*(one + 1 for one in numbers[:-1]), *super().read(key)[-1:]))
                raise OSError(errno.ERANGE, os.strerror(errno.ERANGE))
            if self.how == "interrupt":
                super().write(key, numbers)
                raise KeyboardInterrupt
            if self.how == "other":
                super().write(key, tuple(max(1, one // 2) for one in numbers))
                return
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().write(key, numbers)

    def put(self, path, text):
        if self.broken():
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "other":
                super().put(path, b"something else\n")
                return
            if self.how == "interrupt":
                super().put(path, text)
                raise KeyboardInterrupt
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().put(path, text)

    def text(self, path):
        if self.broken():
            if self.how == "interrupt":
                raise KeyboardInterrupt
            if self.how != "kill":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().text(path)


def request(tuner: Tuner) -> dict[str, Any]:
    return {"command": "limits", "verb": "apply", "apply": True, "yes": True, "values": TEN, "policy": tuner.policy}


@pytest.mark.parametrize("how", ["error", "half", "other", "interrupt"])
@in_world(timeout=120)
def test_whatever_fails_at_every_step_everything_is_as_before(how):
    tuner = Tuner()
    FILE.write_text("# mine\nkernel.msgmni = 32050\n")
    set_to("msgmni", "32050")
    before = state_of_all()
    failures = 0
    for at in itertools.count():
        Fault.calls, Fault.at, Fault.how = itertools.count(), at, how
        with mock.patch.object(tuning, "Hands", Fault):
            if how == "interrupt":
                try:
                    report = run(request(tuner))
                except KeyboardInterrupt:
                    report = None
            else:
                report = run(request(tuner))
        if report is not None and report["applied"]:
            break
        failures += 1
        assert state_of_all() == before, f"call {at}"
        if report is not None:
            assert report["changes"] == []
            assert report["failed"]
            assert "everything is as before" in report["failed"][0]["why"]
    assert failures >= 3 * len(TEN), "each was read, written and read back"
    assert state_of_all()[0]["kernel.sem"].split() == TEN["kernel.sem"].split()
    outcomes = {one["event"] for one in tuner.ask("journal")["entries"]}
    assert outcomes == {"failed", "changed"}
    tuner.rollback()
    assert state_of_all() == before


KILLED = """
import json, sys
sys.path.insert(0, {repo!r})
from unittest import mock
from tests.kernel import test_limits as here
here.Fault.at, here.Fault.how = int(sys.argv[1]), "kill"
with mock.patch.object(here.tuning, "Hands", here.Fault):
    here.run(json.loads(sys.argv[2]))
"""


@in_world(timeout=120)
def test_a_run_that_is_killed_at_any_write_is_rolled_back_by_the_next():
    tuner = Tuner()
    before = state_of_all()
    killed = 0
    for at in itertools.count():
        script = KILLED.format(repo=str(REPO))
        words = [sys.executable, "-c", script, str(at), json.dumps(request(tuner))]
        done = subprocess.run(words, cwd=REPO, check=False)
        killed += done.returncode == -signal.SIGKILL
        if done.returncode == 0 and killed > len(TEN):
            break
        back = tuner.rollback()
        assert back["refused"] == back["left"] == []
        assert state_of_all() == before, f"call {at}"
    assert killed == len(TEN) + 1, "at each setting, and at the file"


@in_world()
def test_a_run_that_failed_or_was_killed_does_not_stand_in_the_way():
    tuner = Tuner()
    good = tuner.apply("--set", "kernel.shmmni=5000")
    Fault.calls, Fault.at, Fault.how = itertools.count(), 15, "error"
    with mock.patch.object(tuning, "Hands", Fault):
        assert run({**request(tuner), "values": TEN})["failed"]
    killed = [sys.executable, "-c", KILLED.format(repo=str(REPO)), "15", json.dumps(request(tuner))]
    assert subprocess.run(killed, cwd=REPO, check=False).returncode == -signal.SIGKILL
    last = tuner.apply("--set", "kernel.msgmni=32150")
    events = [(one["batch"], one["event"]) for one in tuner.ask("journal")["entries"]]
    assert {event for _, event in events} == {"changed", "failed", "in-doubt"}, "the killed one is settled"
    assert tuner.rollback()["batches"] == [last["batch"]]
    (doubtful,) = {batch for batch, event in events if event == "in-doubt"}
    assert tuner.rollback()["batches"] == [doubtful]
    assert tuner.rollback()["batches"] == [good["batch"]], "what failed was put back then"
    assert values()["shmmni"] == "4096"
    assert file_text() is None


@in_world()
def test_only_what_was_shown_is_done():
    tuner = Tuner()
    wish = {**request(tuner), "values": {"kernel.shmmni": 5000}}
    shown = run({**wish, "apply": False, "preview": True})["changes"]
    set_to("shmmni", "4500")
    with pytest.raises(IpcopsError, match="not what was shown any more"):
        run({**wish, "planned": shown})
    assert (values()["shmmni"], file_text()) == ("4500", None)
    back = {"command": "limits", "verb": "rollback", "policy": tuner.policy}
    run(wish)
    shown = run({**back, "apply": False, "preview": True})["changes"]
    set_to("shmmni", "4600")
    with pytest.raises(IpcopsError, match="not what was shown any more"):
        run({**back, "apply": True, "planned": shown})
    assert values()["shmmni"] == "4600"


@in_world()
def test_what_cannot_be_put_back_is_said():
    tuner = Tuner()

    class Stuck(Fault):
        def write(self, key, numbers):
            if key == "kernel.msgmnb":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            if key == "kernel.shmmni" and numbers == (4096,):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            super().write(key, numbers)

    Fault.at = -1
    with mock.patch.object(tuning, "Hands", Stuck):
        report = run(request(tuner))
    assert not report["applied"]
    assert [one["name"] for one in report["failed"]] == ["kernel.shmmni"]
    assert "could not be put back" in report["failed"][0]["why"]
    assert values()["shmmni"] == "5000"
    doubts = [one for one in tuner.ask("journal")["entries"] if one["event"] == "in-doubt"]
    assert [one["path"] for one in doubts] == ["kernel.shmmni"]
    tuner.rollback()
    assert values()["shmmni"] == "4096"


@in_world()
def test_a_journal_that_cannot_be_written_stops_it_before_anything_is_done():
    tuner = Tuner()
    before = state_of_all()
    tuner.state.mkdir()
    world.mount("tmpfs", str(tuner.state), "tmpfs", data="size=64k,mode=700")
    fill = os.open(tuner.state / "fill", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(OSError, match="No space"):
        os.posix_fallocate(fill, 0, 1 << 20)
    os.posix_fallocate(fill, 0, os.fstatvfs(fill).f_bavail * os.fstatvfs(fill).f_frsize)
    answer = tuner.run("limits", "apply", "--yes", *DB2)
    assert answer.status == 4
    assert state_of_all() == before


@in_world()
def test_two_at_once_take_turns():
    tuner = Tuner()
    words = [sys.executable, "-m", "ipcops.core", "limits", "apply", "--yes", "--policy", tuner.policy]
    runs = [
        subprocess.Popen(
            [*words, "--set", f"kernel.shmmni={5000 + n}"], cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for n in range(4)
    ]
    done = [(one.communicate(timeout=60), one.returncode) for one in runs]
    statuses = [status for _, status in done]
    assert set(statuses) <= {0, 4}
    assert 0 in statuses
    applied = [5000 + n for n, status in enumerate(statuses) if status == 0]
    assert values()["shmmni"] == str(max(applied))
    for (_, err), status in done:
        assert status == 0 or b"another ipcops" in err


# ---------------------------------------------------------------- the audit


@in_world()
def test_the_audit_goes_by_profiles():
    tuner = Tuner("[limits]\nprofiles = gpu-node\n")
    set_to("shmmni", "2")
    ids = [world.shmget(1) for _ in range(2)]
    set_to("shmmni", "1")
    found = {one["rule"] for one in tuner.ask("audit", "--fail-on", "none")["findings"]}
    assert {"SYS-007", "PSHM-007"} <= found
    with_profile = tuner.ask("audit", "--fail-on", "none", "--profile", "db2-11.5")["findings"]
    below = [one for one in with_profile if one["rule"] == "SYS-005"]
    assert {"kernel.shmmni", "kernel.msgmax", "kernel.msgmnb"} <= {one["evidence"]["name"] for one in below}
    assert not [one for one in with_profile if one["rule"] == "PSHM-007"], "the policy's profile was not asked for"
    set_to("msgmnb", "100")
    nonsense = tuner.ask("audit", "--fail-on", "none", "--rule", "SYS-008")["findings"]
    assert [one["evidence"]["name"] for one in nonsense] == ["kernel.msgmnb"]
    answer = tuner.run("audit", "--profile", "db2")
    assert answer.status == 2
    assert "did you mean 'db2-11.5'" in answer.err
    assert len(ids) == 2


@in_world()
def test_shm_rmid_forced_against_a_database():
    tuner = Tuner()
    set_to("shm_rmid_forced", "1")
    found = tuner.ask("audit", "--fail-on", "none", "--kind", "shm", "--profile", "oracle-19c")["findings"]
    assert [one["severity"] for one in found if one["rule"] == "SHM-011"] == ["high"]
    assert not tuner.ask("audit", "--fail-on", "none", "--rule", "SHM-011", "--profile", "primecluster")["findings"]


def test_the_files_of_a_host_are_judged(tmp_path):
    """Files of a tree that stands for the host's, against the settings of this kernel, which are only read."""
    if world.HOME != INITIAL_IPC_NAMESPACE or world.namespace("pid") != INITIAL_PID_NAMESPACE:
        pytest.skip("the tests themselves run in a container, where files set no limits")
    for name, text in (
        ("etc/sysctl.d/60-bad.conf", "kernel.shmmni = 40000\nkernel.sem = 250 32000 100 128\n"),
        ("etc/sysctl.d/99-zz-ipcops.conf", "kernel.msgmni = 32700\n"),
        ("etc/sysctl.d/99-zzz.conf", "kernel.msgmni = 32701\n"),
        ("etc/sysctl.conf", "kernel.msgmnb = 16385\n"),
        ("usr/lib/systemd/systemd-sysctl", ""),
        ("usr/sbin/sysctl", ""),
        ("usr/lib/libproc2.so.0", ""),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    def judged() -> set[tuple[str, str]]:
        with Directory.open("/proc") as proc:
            report = run({"command": "audit"}, Roots(proc, files_path=str(tmp_path)))
        found = json.loads("".join(json_text(report)))["findings"]
        return {(one["rule"], one["evidence"]["name"]) for one in found if one["rule"].startswith("SYS")}

    found = judged()
    for wanted in (
        ("SYS-001", "kernel.msgmni"), ("SYS-002", "kernel.msgmni"), ("SYS-003", "kernel.msgmnb"),
        ("SYS-004", "kernel.shmmni"), ("SYS-006", "kernel.sem"),
    ):  # fmt: skip
        assert wanted in found
    (tmp_path / "etc/sysctl.conf").unlink()
    for file in (tmp_path / "etc/sysctl.d").iterdir():
        file.unlink()
    now = " ".join(Path("/proc/sys/kernel/sem").read_text().split())
    (tmp_path / "etc/sysctl.d/60-good.conf").write_text(f"kernel.sem = {now}\n")
    assert not {name for rule, name in judged() if rule in ("SYS-001", "SYS-002", "SYS-003", "SYS-004")}
