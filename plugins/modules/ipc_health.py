# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What ipc_health takes and returns; the action plugin of the same name does it (as with ansible.builtin.template)."""

DOCUMENTATION = r"""
module: ipc_health
short_description: Assert that IPC on a host is well
version_added: 0.1.0
description:
  - Fails on findings from a severity on, on metrics outside of given ranges, on jobs of ipcops that failed or are
    overdue, and on what could not be seen. All of it is told at once, each with its remedy. Nothing is changed.
  - Reads what the job monitor wrote, where that is fresh, and asks the kernel where it is not, by the agent that is
    installed. The host is reached once. Where neither is there, the core is sent and run from memory.
options:
  fail_on:
    description:
      - The least severity that is a failure. V(none) takes no finding and no metric for one.
      - A metric outside of its O(warning) range counts as V(medium), of its O(critical) range as V(critical).
    type: str
    choices: [critical, high, medium, low, info, none]
    default: medium
  warning:
    description:
      - Ranges by metric, as C(ipcops check --warning) takes them, such as V(shm_segments_used) with V(60).
      - C(docs/metrics.md) lists the metrics. How near a limit may come is judged by rules already, by the host's
        policy (C([audit] near_limit)).
    type: dict
    default: {}
  critical:
    description: Likewise, as C(ipcops check --critical) takes them.
    type: dict
    default: {}
  allow_unseen:
    description: Whether something may stay unseen. It is told then, and is no failure.
    type: bool
    default: false
  overdue:
    description:
      - Seconds by job from which on it is overdue where it is scheduled. Of the monitor its page tells.
      - What is left out is V(900) for C(monitor), V(172800) for C(cleanup) and C(health).
    type: dict
    default: {}
  max_age:
    description: Seconds up to which what the monitor wrote is fresh. With V(0) the kernel is always asked.
    type: float
    default: 300
  deadline:
    description: Seconds that a look at the kernel may take.
    type: float
    default: 10
  fail:
    description: Whether failures fail the task. With V(false) only a host that cannot be asked does.
    type: bool
    default: true
  policy:
    description: A policy file on the host in the place of C(/etc/ipcops/ipcops.conf).
    type: path
  lib:
    description: Where the agent lies on the host, if it is installed.
    type: path
    default: /usr/local/lib/ipcops
  state_dir:
    description:
      - Where the jobs keep how they ended, in C(jobs).
      - By default as the jobs were installed, else C(/var/lib/ipcops).
    type: path
  textfiles:
    description: The directory of the monitor's page C(ipcops.prom). By default as the monitor was installed.
    type: path
attributes:
  check_mode:
    support: full
    description: It changes nothing.
  diff_mode:
    support: none
    description: It changes nothing.
  async:
    support: none
    description: It takes a fraction of a second.
requirements:
  - Python 3.9 or newer and root on the host; any Python where the monitor's page is fresh. Nothing needs to be
    installed there.
seealso:
  - module: ipcops.linux.ipc_summary
author:
  - The ipcops contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Assert that nothing grave is wrong, not even for a minute
  ipcops.linux.ipc_health:
    fail_on: high
    max_age: 0

- name: Allow no semaphore set to be left behind, and warn of segments early
  ipcops.linux.ipc_health:
    fail_on: low
    warning:
      shm_segments_used: 60
      orphans: 0
"""

RETURN = r"""
msg:
  description: How the host is, in a line.
  type: str
  returned: always
report:
  description: All that is known, C(ipcops.health/1) as C(docs/fleet.md) describes it.
  type: dict
  returned: when the host could be asked
  contains:
    healthy:
      description: Whether there is no failure.
      type: bool
    source:
      description: V(monitor) or V(kernel).
      type: str
    observed_at:
      description: When that look began, in epoch seconds.
      type: int
    failures:
      description: Each with its rule, metric or job, its severity, what it is, how often, and the remedy. Worst first.
      type: list
      elements: dict
    unseen:
      description: What could not be seen, and why.
      type: list
      elements: dict
"""
