"""``./do`` installs servers for the tests and has none of them started: not now, nor at the next boot."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests import world
from tests.project.checkout import ROOT
from tests.world import in_world

# What apt-get would have a package's script do: ask the policy whether it may start its server.
APT = """\
#!/bin/sh
/usr/sbin/policy-rc.d server start
echo "start: $?" >>{log}
exit {status}
"""
NEED = ("no-such-command:prometheus", "no-such-command:nagios-nrpe-server")


def need(status: int = 0) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run ``./do`` where apt-get ends with a status; return what it said, and what was done."""
    place = world.here()
    log, tools = place / "log", place / "bin"
    tools.mkdir(exist_ok=True)
    log.write_text("")
    programs = {"apt-get": APT.format(log=log, status=status), "update-rc.d": f'#!/bin/sh\necho "$@" >>{log}\n'}
    for name, text in programs.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "TMPDIR": str(place)}
    done = subprocess.run(
        ["sh", ROOT / "do", "--need", *NEED], env=environment, check=False, capture_output=True, text=True
    )
    return done, log.read_text().splitlines()


@pytest.mark.parametrize("theirs", ["#!/bin/sh\nexit 0\n", None], ids=["a policy that lets start", "no policy"])
def test_servers_are_not_started(theirs: str | None) -> None:
    @in_world()
    def story() -> None:
        sbin = world.here() / "sbin"
        sbin.mkdir()
        world.mount(str(sbin), "/usr/sbin", None, world.MS_BIND)
        policy = Path("/usr/sbin/policy-rc.d")
        if theirs is not None:
            policy.write_text(theirs)
            policy.chmod(0o755)

        done, log = need()
        assert (done.returncode, log) == (0, ["start: 101", "prometheus disable", "nagios-nrpe-server disable"])
        assert [path.read_text() for path in sbin.iterdir()] == ([] if theirs is None else [theirs])
        assert theirs is None or os.access(policy, os.X_OK)

        # What cannot be installed is named; what was there before is back.
        done, log = need(status=100)
        assert done.returncode == 1
        assert "not installed: prometheus nagios-nrpe-server" in done.stderr
        assert set(log) == {"start: 101"}
        assert policy.exists() == (theirs is not None)

    story()
