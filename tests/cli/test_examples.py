"""The example policies: each is a policy, says what it is for, and takes what it was written for."""

from __future__ import annotations

import fnmatch
import re

import pytest

from ipcops.core.known.families import family_of
from ipcops.core.policy import Candidate, parse_policy
from ipcops.core.rules.catalogue import BY_ID
from ipcops.show.templates import EXAMPLES, rendered
from tests.cli.command import ipcops

NAMES = ["/psm_0123abcd", "/torch_12_34", "/torch_12_34_5", "/nccl-AbC123", "/vader_segment.h.1", "/open_mpi.0000"]


def sections(name):
    """Return the remove sections of an example, its commented part included."""
    text = rendered(f"policy-{name}")
    part = re.compile(r"^# (\[(?:remove|protect) .*\]|[a-z_]+ = .*)$", re.MULTILINE)
    plain, whole = (parse_policy(one, name, BY_ID) for one in (text, part.sub(r"\1", text)))
    assert set(plain.remove) <= set(whole.remove)
    return plain, whole


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_a_policy_and_its_comments_are_too(name):
    plain, _ = sections(name)
    assert plain.remove
    assert ipcops("render", f"policy-{name}").stdout == rendered(f"policy-{name}")


def test_render_lists_the_examples():
    listed = ipcops("render", "--list").stdout
    assert all(f"policy-{name} " in listed for name in EXAMPLES)


@pytest.mark.parametrize("name", NAMES)
def test_the_globs_of_the_families_match_their_names(name):
    family = family_of(name)
    assert family is not None
    assert fnmatch.fnmatchcase(name, family.glob)
    plain, _ = sections("gpu-node")
    assert any(one.covers(Candidate("posix-shm", 1000, "alice", path=name), {}) for one in plain.remove)


def test_the_examples_take_what_they_are_for():
    mutexes = sections("web-server")[0].remove[0]
    assert (mutexes.kinds, mutexes.owner_gone, mutexes.accept) == (("sem",), "unit", "strong")
    assert mutexes.covers(Candidate("sem", 33, "www-data"), {})
    assert not mutexes.covers(Candidate("sem", 26, "postgres"), {})
    files = sections("gpu-node")[0].remove[0]
    assert (files.kinds, files.owner_gone) == (("posix-shm",), "ignore")
    assert sections("batch-node")[0].job_accept == "strong"
    plain, lifted = sections("database-host")
    cluster = Candidate("shm", 26, "postgres", key=0x0052E2C1)
    assert plain.protection(cluster, {}) is not None
    assert lifted.protection(cluster, {}) is None
    assert lifted.protection(cluster._replace(key=0x0052E2C2), {}) is not None
    assert [one.name for one in lifted.remove if one.covers(cluster, {})] == ["segments", "dropped-cluster"]
