"""Our answer to which line counts at boot is that of the loaders themselves.

This machine's and those of the Debian releases whose versions differ; nothing but an IPC namespace of its
own can be written to by any of them (tests/loaders.py).
"""

from __future__ import annotations

import pytest

from ipcops.core.collect.sysctld import read_tree
from ipcops.core.fs import Directory
from ipcops.core.limits.loaders import PROCPS, SYSTEMD, bounds_of, load, settle, standings
from ipcops.core.limits.parameters import Machine
from tests import containers
from tests.core.sysctl_cases import CASES, DEFAULT, ETC, KEY, SPELLINGS
from tests.loaders import KEYS, Ground, enter_container, some_files
from tests.world import GONE, as_uid, here, in_world, needs_root

MACHINE = Machine((6, 12), 4096, wide=True, ipcmni=1 << 15, memory=None, swap=None)
BOUNDS = bounds_of(MACHINE)
TREES = 150
FEW = 24
SUITES = {"bullseye": (247, 3), "bookworm": (252, 4), "trixie": (257, 4)}


def foretold(loaded, defaults):
    """Return what the settings are to have."""
    found = {}
    for key in KEYS:
        numbers = zip(settle(loaded.writes.get(key, ()), BOUNDS[key]).numbers, defaults[key], strict=True)
        found[key] = tuple(default if number is None else number for number, default in numbers)
    return found


def compare(ground, seeds, *, split=False):
    """Compare all settings after each loader; return how often each was, and how often the two ended alike."""
    defaults = ground.defaults()
    compared, alike, doubtful = {SYSTEMD: 0, PROCPS: 0}, 0, 0
    for seed in seeds:
        files = some_files(seed, split=split)
        ground.fill(files)
        ends = []
        for loader, loaded in load(ground.tree(), KEYS).items():
            if loaded.gaps:
                doubtful += 1
                continue
            compared[loader] += 1
            told, real = foretold(loaded, defaults), ground.load(loader)
            wrong = {key: (told[key], real[key]) for key in KEYS if told[key] != real[key]}
            assert not wrong, f"seed {seed}, {loader}, told and real: {wrong}\n{files}\n{loaded}"
            ends.append(real)
        alike += len(ends) == 2 and ends[0] == ends[1] != defaults
    assert doubtful < sum(compared.values()) / 3
    assert min(compared.values()) > len(seeds) / 2
    return alike


@pytest.mark.parametrize("split", [False, True], ids=["/lib is a link", "/lib is a directory"])
@in_world(timeout=120)
def test_random_trees(split):
    needs_root()
    seeds = range(1000 * split, 1000 * split + TREES)
    alike = compare(Ground(here(), split=split), seeds, split=split)
    assert TREES / 10 < alike < TREES * 9 / 10, "the loaders must agree on some trees, and on some not"


OURS = {"kernel.shmmni": (12345,), "kernel.sem": (11, 22, 33, 44), "fs.mqueue.msg_max": (77,)}


@in_world(timeout=120)
def test_what_is_foretold_of_our_file_is_so():
    needs_root()
    ground = Ground(here())
    text = "".join(f"{key} = {' '.join(map(str, numbers))}\n" for key, numbers in OURS.items()).encode()
    fates = []
    for seed in range(3000, 3000 + TREES):
        path = ETC + ("zz-ipcops.conf" if seed % 2 else "60-ipcops.conf")
        files = some_files(seed, keys=tuple(OURS))
        ground.fill({**files, path: text})
        tree = ground.tree()
        assert tree == ground.tree().with_file(path, text)
        real = {loader: ground.load(loader) for loader in (SYSTEMD, PROCPS)}
        for key, standing in standings(tree, path, MACHINE).items():
            if not standing.gaps:
                found = {fate.loader: fate.wins for fate in standing.fates}
                assert found == {one: real[one][key] == OURS[key] for one in found}, f"seed {seed}, {key}\n{files}"
                assert standing.disagree == (len({values[key] for values in real.values()}) > 1), f"seed {seed}, {key}"
                fates += found.values()
    assert len(fates) / 5 < sum(fates) < len(fates) * 4 / 5, "ours must win sometimes, and sometimes not"


@in_world(timeout=120)
def test_the_cases_are_what_the_loaders_do():
    needs_root()
    ground = Ground(here())
    for case in CASES:
        ground.fill(case.files)
        for loader, (number, _) in ((SYSTEMD, case.systemd), (PROCPS, case.procps)):
            assert ground.load(loader)[KEY] == (number,), f"{case.name}: {loader}"


@in_world(timeout=120)
def test_the_spellings_are_what_the_loaders_read():
    needs_root()
    ground = Ground(here())
    procps = ground.tree().procps
    for text, *numbers in SPELLINGS:
        ground.fill({ETC + "a.conf": text})
        for loader, number in zip((SYSTEMD, PROCPS), numbers, strict=True):
            if loader == SYSTEMD or procps == 4:
                wanted = DEFAULT if number is None else number
                assert ground.load(loader)[KEY] == (wanted,), f"{text!r}: {loader}"


@in_world()
def test_what_a_user_may_not_read_is_told():
    ground = Ground(here())
    ground.fill({ETC + "secret.conf": b"x", ETC + "open.conf": b"y", "/run/sysctl.d/a.conf": b"z"})
    (ground.root / "etc/sysctl.d/secret.conf").chmod(0)
    (ground.root / "run/sysctl.d").chmod(0)
    tree = as_uid(GONE, lambda: read_tree(Directory.open(str(ground.root))))
    assert {name: file.text for name, file in tree.directories["/etc/sysctl.d"].items()} == {
        "secret.conf": None, "open.conf": b"y",
    }  # fmt: skip
    assert [(gap.what, gap.why) for gap in tree.gaps] == [("/run/sysctl.d", "Permission denied")]


@pytest.mark.parametrize("suite", SUITES)
def test_random_trees_in_containers(suite):
    with containers.container(suite) as box:

        @in_world(timeout=120)
        def body():
            needs_root()
            ground = Ground(enter_container(box.pid))
            tree = ground.tree()
            assert (tree.systemd, tree.procps) == SUITES[suite]
            compare(ground, range(5000, 5000 + FEW))

        body()
