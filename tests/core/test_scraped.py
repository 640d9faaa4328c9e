"""The monitor's page read again: what was written comes back as it was, and nothing else passes for a page."""

from __future__ import annotations

from typing import Any, Dict, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipcops.core.exposition import exposition
from ipcops.core.families import FAMILIES, PREFIX
from ipcops.core.health import monitored
from ipcops.core.metrics import failed_report
from ipcops.core.model import SEVERITIES
from ipcops.core.scraped import parse_exposition

LABEL = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8)
VALUE = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def pages(draw: Any) -> Dict[str, List[Dict[str, Any]]]:
    """Give families with any labels and numbers."""
    found = {}
    for name, labels, _ in FAMILIES:
        words = {label: st.sampled_from(SEVERITIES) if label == "severity" else LABEL for label in labels}
        sets = draw(st.lists(st.fixed_dictionaries(words), max_size=3, unique_by=lambda one: tuple(one.values())))
        if name in ("build_info", "scan_timestamp_seconds", "scan_success", "scan_complete"):
            sets = [draw(st.fixed_dictionaries(words))]
        if sets:
            found[PREFIX + name] = [{"labels": labels, "value": draw(VALUE)} for labels in sets]
    return found


@given(pages())
def test_what_was_written_comes_back_as_it_was(families):
    text = "".join(exposition({"families": families}))
    read = parse_exposition(text)
    assert read == families
    assert [[type(one["value"]) for one in samples] for samples in read.values()] == [
        [type(one["value"]) for one in samples] for samples in families.values()
    ]
    assert monitored(text) == families


@given(pages(), st.data())
def test_a_page_that_was_cut_off_is_never_taken_for_less(families, data):
    text = "".join(exposition({"families": families}))
    needed = max(text.rindex(PREFIX + "scan_complete "), text.rindex(PREFIX + "scan_success "))
    cut = text[: data.draw(st.integers(0, needed))]
    with pytest.raises(ValueError, match=r"no sample|missing"):
        monitored(cut)


@given(st.text())
def test_any_other_text_is_refused(text):
    with pytest.raises(ValueError, match=r"^(line [0-9]+ |ipcops_[a-z_]+ is missing)"):
        monitored(text)


BAD = [
    ("ipcops_shm_segments", "line 1 is no sample"),
    ("ipcops_shm_segments 1 1790000000", "line 1 is no sample"),
    ("ipcops_shm_segments NaN", "line 1 is no sample"),
    ("ipcops_shm_segments 0x10", "line 1 is no sample"),
    ("# HELP x\n\nipcops_orphans{kind=shm} 1", "line 3 is no sample"),
    ('ipcops_orphans{kind="shm} 1', "line 1 is no sample"),
    ('ipcops_orphans{kind="a\\tb"} 1', "line 1 is no sample"),
    ('ipcops_orphans{kind="shm"}1', "line 1 is no sample"),
    ("ipcops_shm_segments 1\nipcops_shm_segments 2", "line 2 tells a metric a second time"),
]


@pytest.mark.parametrize(("text", "words"), BAD)
def test_what_is_no_page_is_refused_with_its_line(text, words):
    with pytest.raises(ValueError, match=words):
        parse_exposition(text)


@pytest.mark.parametrize(
    "more", ["ipcops_orphans 3\n", 'ipcops_orphans{kind="shm"} 3\n', 'ipcops_findings{rule="X",severity="bad"} 1\n']
)
def test_families_without_their_labels_are_refused(more):
    page = "".join(exposition(failed_report(1.0, 0.1)))
    assert monitored(page)
    with pytest.raises(ValueError, match=r"ipcops_(orphans has not its labels|findings has an unknown severity)"):
        monitored(page + more)


def test_a_page_of_a_later_version_is_read():
    page = "".join(exposition(failed_report(1.0, 0.1)))
    assert "ipcops_novelty" in monitored(page + 'ipcops_novelty{of="it"} 3\n')
