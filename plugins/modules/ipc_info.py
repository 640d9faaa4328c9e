# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What ipc_info takes and returns; the action plugin of the same name does it (as with ansible.builtin.template)."""

DOCUMENTATION = r"""
module: ipc_info
short_description: Gather what there is of IPC on a host, and what is wrong with it
version_added: 0.1.0
description:
  - Returns what C(ipcops audit), C(ipcops list) and C(ipcops limits show) say in JSON, all of it in one task.
  - Looks and changes nothing. No object is attached or opened in a way that leaves a trace.
  - Findings do not make the task fail; what they mean for you is yours to assert.
options:
  gather:
    description:
      - V(audit) is what is wrong, by the rules; V(objects) is every object with its verdict and holders; V(limits) is
        every kernel limit with its value, its default, its use and where it is set.
    type: list
    elements: str
    choices: [audit, objects, limits]
    default: [audit]
  kinds:
    description:
      - Only these kinds, such as V(shm), V(sem), V(msg), V(posix-shm), V(posix-sem), V(posix-mq), V(fifo), V(pipe),
        V(unix), V(inet), V(lock). Without any, all of them, and the host's settings with V(audit).
    type: list
    elements: str
  rules:
    description: With V(audit), only these rules, such as V(SHM-001).
    type: list
    elements: str
  min_severity:
    description: With V(audit), only findings at least this grave.
    type: str
  profiles:
    description:
      - With V(audit), profiles of what runs here, such as V(postgresql-18:max_connections=500); the limits are held
        against them.
      - Without any those of the policy's C([limits]) count.
    type: list
    elements: str
  samples:
    description: With V(audit), how often to look; what needs two looks is certain only then.
    type: int
    default: 1
  interval:
    description: The time between two looks, such as V(2s) or V(1m).
    type: str
    default: 1s
  verdicts:
    description: With V(objects), only these verdicts, such as V(orphan).
    type: list
    elements: str
  owner:
    description: With V(objects), only those of this user, by name or number.
    type: str
  all_namespaces:
    description: Whether to look into every IPC, mount and network namespace of the host, so into containers, too.
    type: bool
    default: false
  require_complete:
    description: Whether the task fails when anything could not be seen, as without root. What was seen is returned.
    type: bool
    default: false
  deadline:
    description: How long looking may take, such as V(30s). The default is the policy's, or 10 seconds.
    type: str
  policy:
    description: A policy file on the host in the place of C(/etc/ipcops/ipcops.conf).
    type: path
attributes:
  check_mode:
    description: It looks, as it does without.
    support: full
  diff_mode:
    description: Nothing changes.
    support: none
  async:
    support: none
    description: A look ends with its deadline.
requirements:
  - Python 3.9 or newer on the host. Nothing needs to be installed there.
notes:
  - Without root the holders of other users' objects cannot be seen, and verdicts that need them are C(unknown). The
    report says so in C(scan).
seealso:
  - module: ipcops.linux.ipc_clean
  - module: ipcops.linux.ipc_limits
author:
  - The ipcops contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: See what is wrong
  ipcops.linux.ipc_info:
    profiles: [postgresql-18:max_connections=500]
    require_complete: true
  register: ipc

- name: Stop where anything grave is found
  ansible.builtin.assert:
    that: ipc.audit.summary.critical + ipc.audit.summary.high == 0
    fail_msg: "{{ ipc.audit.findings | map(attribute='remedy') | join('; ') }}"

- name: Gather the limits, and the orphans among the segments
  ipcops.linux.ipc_info:
    gather: [objects, limits]
    kinds: [shm, posix-shm]
    verdicts: [orphan]
"""

RETURN = r"""
audit:
  description:
    - With V(audit) in O(gather). C(findings), worst first, each with its rule, severity, confidence, object, owner,
      evidence, reason and remedy; C(summary) counts them by severity; C(host), C(scan), C(limits) and C(usage).
    - Numbers are numbers, keys are texts such as C(0x0020e224), modes are octal texts.
  type: dict
  returned: when gathered
  sample:
    schema: ipcops.audit/1
    summary: {critical: 0, high: 0, medium: 1, low: 0, info: 0}
    findings:
      - {rule: SHM-001, severity: medium, confidence: certain, kind: shm, id: 4, key: "0x0020e224", remedy: ipcrm -m 4}
objects:
  description:
    - With V(objects) in O(gather). C(objects), each with kind, id or path, key, owner, creator, mode, verdict, reasons,
      protection and holders, and the fields of its kind by the kernel's names; C(host) and C(scan).
  type: dict
  returned: when gathered
  sample:
    schema: ipcops.objects/1
    objects: [{kind: shm, id: 4, key: "0x0020e224", verdict: orphan, nattch: 0, size: 4096}]
limits:
  description:
    - With V(limits) in O(gather). C(parameters), each with name, current value, kernel's default and the file and line
      that set it; C(overrides) for what another file wins over; C(host) and C(scan).
  type: dict
  returned: when gathered
  sample:
    schema: ipcops.limits/1
    parameters: [{name: kernel.shmmni, current: 4096, kernel_default: 4096, persisted: null}]
"""
