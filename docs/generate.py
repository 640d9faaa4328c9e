"""Write the pages that are made from the code: one per rule, their index, the policy's settings, the metrics.

``make docs``; ``--check`` only says which pages are out of date.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

from ipcops.core.check import METRICS, thresholds  # noqa: E402
from ipcops.core.families import COUNTERS, FAMILIES, OTHER, PREFIX  # noqa: E402
from ipcops.core.policy import PROTECT_KEYS, REMOVE_KEYS, SETTINGS, defaults  # noqa: E402
from ipcops.core.rules.base import Rule  # noqa: E402
from ipcops.core.rules.catalogue import RULES  # noqa: E402

MADE = "<!-- made by docs/generate.py from the rule itself; edit that -->"


def rule_page(rule: Rule) -> str:
    """Return the page of one rule."""
    facts = f"Severity {rule.severity} · about {', '.join((rule.kind, *rule.also))} · topic {rule.topic}"
    if rule.samples > 1:
        facts += f" · needs `--samples {rule.samples}` to be sure"
    parts = [f"# {rule.id}: {rule.title}", MADE, facts]
    for heading, text in (
        ("Why it matters", rule.rationale),
        ("How it decides", rule.decides),
        ("What to do", rule.remedy),
        ("Source", rule.source),
    ):
        parts += [f"## {heading}", textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)]
    return "\n\n".join(parts) + "\n"


def index_page() -> str:
    """Return the list of all rules."""
    rows = [f"| [{rule.id}]({rule.id}.md) | {rule.severity} | {rule.kind} | {rule.title} |" for rule in RULES]
    head = ["# Rules", "", MADE, "", "| rule | severity | kind | title |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *rows]) + "\n"


BUILT_IN_WORDS = textwrap.dedent("""\
    ## What goes without a policy

    A policy without any `[remove NAME]`, or no policy at all, lets go, where it is certain and they were
    unused for 24 hours and seen so twice: segments that nobody has attached, and files in `/dev/shm` whose
    names belong to one run of a known program. Nobody may run a process whom their mode lets use them.

    ## Examples

    | `ipcops render` | for |
    | --- | --- |
    | `policy-web-server` | semaphore sets of a server that was killed and runs again as the same user |
    | `policy-batch-node` | what jobs leave, at their end or hours later |
    | `policy-gpu-node` | leaked `/dev/shm` files while other jobs of the same user run |
    | `policy-database-host` | hardly anything; how to lift a protection for one key |
    """).splitlines()


def policy_page() -> str:
    """Return the table of settings."""
    lines = [
        "# The policy file",
        "",
        MADE.replace("the rule itself", "ipcops/core/policy/settings.py"),
        "",
        "`/etc/ipcops/ipcops.conf`, or `--policy FILE`. `ipcops render policy` prints it with everything explained.",
        "",
        "| section | key | default | unit | meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    for setting in SETTINGS:
        default = f"`{setting.default}`" if setting.default else "(none)"
        lines.append(
            f"| `[{setting.section}]` | `{setting.name}` | {default} | {setting.unit} | {setting.meaning} |"
        )
    for key, meaning in REMOVE_KEYS.items():
        lines.append(f"| `[remove NAME]` | `{key}` | (none) | | {meaning} |")
    for key, meaning in PROTECT_KEYS.items():
        lines.append(f"| `[protect NAME]` | `{key}` | (none) | | {meaning} |")
    lines += ["", *BUILT_IN_WORDS]
    return "\n".join(lines) + "\n"


METRICS_WORDS = textwrap.dedent(f"""\
    `ipcops metrics` prints these in Prometheus' text format; [monitoring.md](monitoring.md) tells how they get into
    a monitoring system. All are gauges. What could not be seen is absent, never 0, and `source_success` tells why.

    | label | values |
    | --- | --- |
    | `owner` | the user's name; the number of a uid without one |
    | `kind` | `shm` `sem` `msg` `posix-shm` `posix-sem` `posix-mq` `pipe`, and what else `[metrics] kinds` names |
    | `id`, `key` | of a System V queue; the key as `0x0000002a` |
    | `queue` | the name of a POSIX queue, with its slash |
    | `source` | a kind, or a sort of evidence: `counters` `limits` `processes` `maps` `descriptors` `blocked` … |
    | `metric` | the name of a metric; of `crosscheck_…` one of {" ".join(f"`{PREFIX}{name}`" for name in COUNTERS)} |

    At most `[metrics] owners` users and `[metrics] queues` queues of a metric are told one by one, those with the
    most; the others are summed with the label value `{OTHER}`. `series_cap` tells the bounds, `series_capped` how many
    were summed.

    | metric | labels | meaning |
    | --- | --- | --- |
    """).splitlines()


CHECK_WORDS = textwrap.dedent("""\
    ## What `ipcops check` measures

    The default thresholds are those of the policy: `[audit] near_limit` and `at_limit`, `shm_full_high` and
    `shm_full_critical`. A metric without thresholds is only in the performance data, where `U` is a value that could
    not be had. Metrics of a kind that `[metrics] kinds` leaves out are not there.

    | metric | unit | warning | critical | meaning |
    | --- | --- | --- | --- | --- |
    """).splitlines()


def metrics_page() -> str:
    """Return the list of metrics."""
    lines = ["# Metrics", "", MADE.replace("the rule itself", "ipcops/core/families.py"), "", *METRICS_WORDS]
    for name, labels, meaning in FAMILIES:
        lines.append(f"| `{PREFIX}{name}` | {' '.join(f'`{label}`' for label in labels)} | {meaning} |")
    lines += ["", *CHECK_WORDS]
    for metric in METRICS:
        first, last = thresholds((), (), defaults())[metric.name][:2]
        shown = [f"`{one.text}`" if one else "" for one in (first, last)]
        lines.append(f"| `{metric.name}` | {metric.unit} | {shown[0]} | {shown[1]} | {metric.meaning} |")
    return "\n".join(lines) + "\n"


def pages() -> dict[Path, str]:
    """Return every page that is made, by its place."""
    made = {DOCS / "rules" / f"{rule.id}.md": rule_page(rule) for rule in RULES}
    made[DOCS / "rules" / "README.md"] = index_page()
    made[DOCS / "policy.md"] = policy_page()
    made[DOCS / "metrics.md"] = metrics_page()
    return made


def main() -> int:
    """Write the pages, or with --check say which differ."""
    made = pages()
    stale = [path for path, text in made.items() if not path.exists() or path.read_text("utf-8") != text]
    left = [path for path in (DOCS / "rules").glob("*.md") if path not in made]
    for path in stale + left:
        print(path.relative_to(DOCS.parent))
    if "--check" in sys.argv:
        return 1 if stale or left else 0
    for path in stale:
        path.write_text(made[path], "utf-8")
    for path in left:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
