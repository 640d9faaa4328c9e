"""``ipcops explain`` from a shell: the command and the agent say the same."""

from __future__ import annotations

import json
import re

import pytest

from tests import world
from tests.cli.command import CLI, CORE, ipcops, on_terminal


@world.in_world(mqueue=True)
def test_the_command_and_the_agent_say_the_same():
    world.limit("kernel.shmmni", 2)
    world.shmget(4096)
    for words in (("explain", "shmget", "ENOSPC"), ("explain", "semget"), ("explain", "msgsnd", "EAGAIN")):
        told = []
        for command in (CLI, CORE):
            done = ipcops(*words, "--format", "json", command=command)
            assert done.returncode == 0, done.stderr
            told.append(json.loads(done.stdout)["causes"])
        for causes in told:  # memory changes between two runs
            causes[:] = [cause for cause in causes if cause["limit"] != "memory"]
        assert told[0] == told[1]
        assert told[0]


@pytest.mark.parametrize("command", [CLI, CORE], ids=["cli", "core"])
@pytest.mark.parametrize("words", [("semgat",), ("semget", "EMFILE"), ("semget", "EFOO"), ("semget", "ENOSPC", "x")])
def test_wrong_words_end_with_status_2(command, words):
    done = ipcops("explain", *words, command=command)
    assert done.returncode == 2
    assert not done.stdout
    assert done.stderr


@world.in_world(mqueue=True)
def test_on_a_terminal_it_fits():
    world.limit("kernel.shmmni", 1)
    world.shmget(4096)
    for words in (("explain",), ("explain", "shmget"), ("explain", "mq_open", "EINVAL")):
        for width in (80, 120):
            text = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal(*words, width=width))
            assert max(map(len, text.splitlines())) <= width
            assert "SHMMNI" in text or "msg_max" in text
