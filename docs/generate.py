"""Write what is made from the code: pages of rules, policy and metrics, scripts/, and the roles' tables of variables.

``make docs``; ``--check`` only says which pages are out of date.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import yaml

DOCS = Path(__file__).parent
SCRIPTS = DOCS.parent / "scripts"
ROLES = DOCS.parent / "roles"
sys.path.insert(0, str(DOCS.parent))

from ipcops.bundle.contents import files, manifest  # noqa: E402
from ipcops.core.check import METRICS, thresholds  # noqa: E402
from ipcops.core.families import COUNTERS, FAMILIES, OTHER, PREFIX  # noqa: E402
from ipcops.core.policy import PROTECT_KEYS, REMOVE_KEYS, SETTINGS, defaults  # noqa: E402
from ipcops.core.rules.base import Rule  # noqa: E402
from ipcops.core.rules.catalogue import RULES  # noqa: E402
from ipcops.render.settings import BY_JOB  # noqa: E402
from ipcops.render.settings import SETTINGS as RENDER_SETTINGS  # noqa: E402
from ipcops.render.templates import TEMPLATES, settings_of  # noqa: E402

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


SCRIPTS_IN_WORDS = textwrap.dedent("""\
    For hosts that have nothing but a system Python from 3.9 on. On any machine with ipcops:

    ```
    ipcops bundle DIR                 # agent, scripts, schedules, policy and install.sh
    ```

    Copy DIR to a host, and there, as root:

    ```
    sh install.sh                     # with systemd's timer where systemd runs, else with cron; --cron, --systemd
    sh install.sh --monitor --health  # metrics once a minute and a daily check, too; --no-cleanup leaves cleaning out
    ipcops audit                      # the same command, by the agent
    sh /usr/local/lib/ipcops/install.sh --verify
    sh /usr/local/lib/ipcops/install.sh --uninstall
    ```

    Installing again upgrades: what did not change is not written, and files in /etc that somebody edited are
    kept, and so is which jobs were chosen; `--no-monitor` takes one away again. Uninstalling leaves the journal and the
    backups. `DESTDIR=DIR sh install.sh --cron` installs below DIR,
    for images and packages. `sh scripts/install.sh` does the same from a checkout, with every default.

    **What the cleanup job does.** Once a day it runs `ipcops clean --apply` under a lock, at low priority and at a
    time of the host's own. Without a policy of yours it takes little, and only after it has seen it twice
    ([cleaning](cleaning.md)). It says in syslog what it did, all of it in `/var/log/ipcops/cleanup.log`, and how it
    ended in `/var/lib/ipcops/jobs/cleanup.json`. If anything went wrong it prints everything, so that cron mails
    it and the systemd unit has failed; when the policy is wrong, nothing is removed. To only see what would go,
    render with `--set apply=no`.

    **The monitor job** writes `ipcops.prom` once a minute where node_exporter's textfile collector reads it
    ([monitoring](monitoring.md)); `--set textfiles=DIR` says where that is. The directory must be there. If it cannot
    be written the job ends with status 4 and prints why, and the old file keeps its old time. Uninstalling, or
    `--no-monitor`, removes the file, which would look stale for ever.

    **The health job** audits once a day. What is of severity `fail_on` or above is told on one page, with the reason
    and the command that mends it: cron mails it, or the systemd unit has failed with it in its journal. The status is
    1 then, and 3 where `complete=yes` and something could not be seen. If all is well it prints nothing. The last page
    is `/var/lib/ipcops/jobs/health.txt`, all of them are `/var/log/ipcops/health.log`.

    The jobs share what they rest on: one run of each at a time, `nice` 19, and `jobs/NAME.json` with when the last run
    began and ended and its status. The systemd units let them do no more than that takes: all score 3.0 or better in
    `systemd-analyze security`, and what monitor and health see is what root sees outside of the unit.

    **Slurm.** `slurm-epilog.sh` as `Epilog=` removes what a job left once its user runs nothing on the node,
    `slurm-prolog.sh` as `Prolog=` what was left when an epilog could not run. Both always end with status 0, since
    slurmd drains a node otherwise. `[job] kinds` in the policy says what they take.

    **The agent** is the whole core in one file, `ipcops-agent.pyz`, the same bytes wherever it is built.
    `python3 -I ipcops-agent.pyz audit` runs it where it lies; installing unpacks and compiles it.

    `ipcops render TEMPLATE` prints one of the files alone. Every value is quoted for where it lands; one that
    cannot stand there is refused.""").splitlines()


def scripts_page() -> str:
    """Return what can be rendered, and what can be set in it."""
    lines = [
        "# Scripts, schedules and the bundle",
        "",
        MADE.replace("the rule itself", "ipcops/render"),
        "",
        *SCRIPTS_IN_WORDS,
        "",
        "| template | what it is | what can be set |",
        "| --- | --- | --- |",
    ]
    for name, one in TEMPLATES.items():
        used = ", ".join(f"`{setting}`" for setting in settings_of(name, {}))
        lines.append(f"| `{name}` | {one.about} | {used} |")
    lines += ["", "| setting | default | meaning |", "| --- | --- | --- |"]
    for setting in RENDER_SETTINGS:
        default = f"`{setting.default}`" if setting.default else "(the job's)" if setting.name in BY_JOB else "(none)"
        lines.append(f"| `{setting.name}` | {default} | {setting.meaning} |")
    return "\n".join(lines) + "\n"


def scripts() -> dict[Path, str]:
    """Return the files below scripts/: a bundle with every default, but for the agent, by their place."""
    found = files({})
    made = {SCRIPTS / one.source: one.text for one in found}
    made[SCRIPTS / "MANIFEST"] = manifest(found)
    return made


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


BEGIN, END = "<!-- BEGIN variables -->", "<!-- END variables -->"


def variables(specs: dict[str, Any]) -> str:
    """Return a role's variables as a table, from its argument specs."""
    options = specs["argument_specs"]["main"]["options"]
    lines = ["| variable | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, one in options.items():
        kind = f"list of {one['elements']}" if "elements" in one else one["type"]
        kind += f": {', '.join(f'`{choice}`' for choice in one['choices'])}" if "choices" in one else ""
        default = f"`{_as_yaml(one['default'])}`" if "default" in one else "(required)" if _required(one) else "(unset)"
        told = " ".join([one["description"]] if isinstance(one["description"], str) else one["description"])
        lines.append(f"| `{name}` | {kind} | {default} | {_plain(told)} |")
    return "\n".join(lines)


def _required(one: dict[str, Any]) -> bool:
    return bool(one.get("required"))


def _as_yaml(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)


def _plain(text: str) -> str:
    """Return a text of Ansible's documentation as Markdown for a cell of a table."""
    text = re.sub(r"\bL\(([^,()]*),([^()]*)\)", r"[\1](\2)", text)
    return re.sub(r"\b[CVO]\(([^)]*)\)", r"`\1`", " ".join(text.split())).replace("|", "\\|")


def role_pages() -> dict[Path, str]:
    """Return each role's README with the table of its variables as it should be."""
    made = {}
    for specs in sorted(ROLES.glob("*/meta/argument_specs.yml")):
        readme = specs.parents[1] / "README.md"
        if not readme.exists():  # tests/roles/test_specs.py says so
            continue
        text = readme.read_text("utf-8")
        table = f"{BEGIN}\n{variables(yaml.safe_load(specs.read_text('utf-8')))}\n{END}"
        made[readme] = re.sub(f"{BEGIN}.*?{END}", lambda _, table=table: table, text, flags=re.DOTALL)
    return made


def pages() -> dict[Path, str]:
    """Return every page that is made, by its place."""
    made = {DOCS / "rules" / f"{rule.id}.md": rule_page(rule) for rule in RULES}
    made[DOCS / "rules" / "README.md"] = index_page()
    made[DOCS / "policy.md"] = policy_page()
    made[DOCS / "scripts.md"] = scripts_page()
    made[DOCS / "metrics.md"] = metrics_page()
    return {**made, **scripts(), **role_pages()}


def main() -> int:
    """Write the pages, or with --check say which differ."""
    made = pages()
    stale = [path for path, text in made.items() if not path.exists() or path.read_text("utf-8") != text]
    there = [*(DOCS / "rules").glob("*.md"), *(path for path in SCRIPTS.rglob("*") if path.is_file())]
    left = [path for path in there if path not in made and path.name != "README.md"]
    for path in stale + left:
        print(path.relative_to(DOCS.parent))
    if "--check" in sys.argv:
        return 1 if stale or left else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made[path], "utf-8")
    for one in files({}):
        (SCRIPTS / one.source).chmod(int(one.mode, 8))
    for path in left:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
