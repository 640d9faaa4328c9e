"""Prometheus' text format: what is written reads back, whatever users and queues are called."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Tuple

from hypothesis import given
from hypothesis import strategies as st

from ipcops.core.exposition import escaped_help, exposition
from ipcops.core.families import FAMILIES, PREFIX

SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)\Z", re.DOTALL)
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[n"\\])*)"(?:,|\Z)')


def read(text: str) -> Dict[str, List[Tuple[Dict[str, str], float]]]:
    """Return what a text says; the grammar is that of the format's own page, written anew here."""
    found: Dict[str, List[Tuple[Dict[str, str], float]]] = {}
    name = ""
    assert not text or text.endswith("\n")
    for line in text.split("\n")[:-1]:
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in found, "a family in two pieces"
            found[name] = []
        elif line.startswith("# TYPE "):
            assert line == "# TYPE %s gauge" % name
        else:
            sample = SAMPLE.match(line)
            assert sample, line
            assert sample["name"] == name
            labels, rest = {}, sample["labels"] or ""
            while rest:
                label = LABEL.match(rest)
                assert label, rest
                labels[label[1]] = re.sub(r"\\(.)", lambda one: {"n": "\n"}.get(one[1], one[1]), label[2])
                rest = rest[label.end() :]
            found[name].append((labels, float(sample["value"])))
    return found


VALUES = st.one_of(st.integers(0, 1 << 64), st.floats(0, 1e12, allow_nan=False))
WORDS = st.one_of(
    st.text(st.characters(blacklist_categories=("Cs",)), max_size=20),
    st.sampled_from(['"', "\\", "\n", '\\"', "a\\", "},{", 'x="y"', "# HELP", " ", "", "ü", "\r", "\u2028", "\x85"]),
)


@st.composite
def reports(draw: Any) -> Dict[str, Any]:
    """Return a report with some of the families."""
    chosen = draw(st.lists(st.sampled_from(FAMILIES), unique=True, max_size=6))
    families = {}
    for name, labels, _ in chosen:
        rows = draw(st.lists(st.tuples(*([WORDS] * len(labels))), unique=True, min_size=1, max_size=4))
        families[PREFIX + name] = [{"labels": dict(zip(labels, row)), "value": draw(VALUES)} for row in rows]
    return {"families": families}


@given(reports())
def test_what_is_written_reads_back(report):
    found = read("".join(exposition(report)))
    assert found == {
        name: [(sample["labels"], float(sample["value"])) for sample in samples]
        for name, samples in report["families"].items()
    }


def test_families_without_samples_are_left_out():
    assert "".join(exposition({"families": {"ipcops_orphans": []}})) == ""


def test_a_byte_that_is_no_utf8_does_not_spoil_the_page():
    report = {"families": {"ipcops_series_cap": [{"labels": {"label": "a\udcff"}, "value": 1}]}}
    assert 'label="a?"' in "".join(exposition(report)).encode().decode()


def test_help_is_one_line():
    assert escaped_help("a\\b\nc") == "a\\\\b\\nc"
