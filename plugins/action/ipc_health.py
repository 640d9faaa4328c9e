# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A task with ipc_health: what a host keeps of its own health comes in one round trip, and the core judges it here."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.ipcops.linux.plugins.plugin_utils.carrying import COLLECTION, Carrier
from ansible_collections.ipcops.linux.plugins.plugin_utils.package import importable

importable()  # before the first import of it, and here: the workers are forks of who loads this file
from ipcops.core import health  # noqa: E402
from ipcops.core.check import Families  # noqa: E402
from ipcops.core.errors import InputError  # noqa: E402
from ipcops.core.jobstate import OVERDUE, JobState  # noqa: E402
from ipcops.core.policy import DEFAULT_PATH, Policy, defaults, parse_policy  # noqa: E402
from ipcops.core.rules.catalogue import BY_ID  # noqa: E402
from ipcops.fleet.page import host_lines  # noqa: E402

NEVER = -1.0
"""An age that no page has."""


class ActionModule(Carrier):
    """What is well is decided by the core alone."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the task."""
        result = super().run(tmp, task_vars)
        options = self.options()
        try:
            terms = terms_of(options)
            answer = self._read(options, options["max_age"], task_vars)
            if answer.get("failed"):
                return {**result, **answer}
            policy = policy_of(answer["policy"], options["policy"])
            health.ranges_of(terms, policy)
            families, damage = page_of(answer["monitor"])
            source = "kernel" if families is None else "monitor"
            if families is None:
                report = answer["kernel"].get("report") or self._ask_kernel(options, task_vars)
                if report.get("failed"):
                    return {**result, **report}
                families = report["families"]
            report = health.health_report(seen_of(answer), source, families, damage, terms, policy)
        except InputError as error:
            raise AnsibleActionFail(str(error).removeprefix("--")) from error
        if report["failures"] and task_vars:
            self._display.display("".join(host_lines(task_vars["inventory_hostname"], report)).rstrip("\n"))
        result.update(changed=False, report=report, msg=health.headline(report))
        return {**result, "failed": True} if report["failures"] and options["fail"] else result

    def _read(self, options: dict[str, Any], max_age: float, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        words = {
            "lib": options["lib"],
            "policy": options["policy"] or DEFAULT_PATH,
            "states": options["state_dir"] and f"{options['state_dir']}/jobs",
            "textfiles": options["textfiles"],
            "max_age": max_age,
            "request": request_of(options),
        }
        return self._execute_module(f"{COLLECTION}.reader", words, task_vars=task_vars)

    def _ask_kernel(self, options: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Return what the kernel says, asked by the core that is carried there, or a failed result."""
        answer = self.ask(request_of(options), task_vars)
        return answer.get("report") or {**answer, "failed": True}


def request_of(options: dict[str, Any]) -> dict[str, Any]:
    """Return what the kernel is asked: the same that the job monitor asks."""
    return {"command": "metrics", "policy": options["policy"], "deadline": options["deadline"]}


def terms_of(options: dict[str, Any]) -> health.Terms:
    """Return what is asked of the host. Raise InputError."""
    terms = health.Terms(
        fail_on=options["fail_on"],
        warning=words_of(options["warning"]),
        critical=words_of(options["critical"]),
        allow_unseen=options["allow_unseen"],
        overdue={**OVERDUE, **numbers_of("overdue", options["overdue"])},
    )
    health.check_terms(terms)
    return terms


def words_of(ranges: dict[str, Any] | None) -> tuple[str, ...]:
    """Return thresholds as the command line has them: METRIC=RANGE."""
    return tuple(f"{name}={text}" for name, text in (ranges or {}).items())


def numbers_of(option: str, given: dict[str, Any] | None) -> dict[str, float]:
    """Return a dictionary of seconds. Raise InputError."""
    found = {}
    for name, value in (given or {}).items():
        try:
            found[name] = float(value)
        except (TypeError, ValueError) as error:
            raise InputError(f"{option}: {name} is {value!r}; write seconds, such as 900") from error
    return found


def policy_of(read: dict[str, Any], path: str | None) -> Policy:
    """Return the policy of the host, which knows what its thresholds are relative to. Raise InputError."""
    if "why" in read:
        raise InputError("policy '%s' cannot be read: %s" % (path or DEFAULT_PATH, read["why"]))
    if "text" not in read:
        if path is not None:
            raise InputError("policy '%s': there is no such file" % path)
        return defaults()
    return parse_policy(read["text"], path or DEFAULT_PATH, BY_ID)


def page_of(monitor: dict[str, Any]) -> tuple[Families | None, str | None]:
    """Return the families of the monitor's page where it is fresh, and what is wrong with it where it is damaged."""
    if "text" not in monitor:
        return None, None
    try:
        return health.monitored(monitor["text"]), None
    except ValueError as error:
        return None, str(error)


def seen_of(answer: dict[str, Any]) -> health.Seen:
    """Return what came from the host as the core takes it."""
    monitor = answer["monitor"]
    jobs = {
        name: JobState(name, one["scheduled_at"], one.get("text"), one.get("why"))
        for name, one in answer["jobs"].items()
    }
    page = health.Monitor(monitor["path"], monitor.get("text"), monitor.get("why"), monitor.get("scanned_at"))
    return health.Seen(answer["host"], answer["now"], page, jobs)
