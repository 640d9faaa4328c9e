# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What ipc_limits takes and returns; the action plugin of the same name does it (as with ansible.builtin.template)."""

DOCUMENTATION = r"""
module: ipc_limits
short_description: Set the kernel limits of IPC so that they stay, with a way back
version_added: 0.1.0
description:
  - Sets System V, POSIX queue, pipe and socket backlog limits to what named profiles of programs ask for, or to given
    values, all in one task and all or nothing.
  - Only raises. No limit goes below what it is, the kernel's default, or what is in use. O(force_lower) is the only way
    down, and never below what is in use.
  - Everything is checked before anything is written, then read back. At the first difference all that was touched is
    put back, running values and file.
  - Writes one file in C(/etc/sysctl.d) and tells which other file would win over it at the next boot, by
    C(systemd-sysctl) and by C(sysctl --system).
  - It is what C(ipcops limits apply) does; RV(before) and RV(after) are what C(ipcops journal) on the host remembers.
options:
  profiles:
    description:
      - Profiles, as C(ipcops limits profiles) lists them, such as V(db2-11.5).
      - A profile may have terms, such as V(postgresql-18:max_connections=500).
      - Without any, and without O(values), those of the policy's C([limits]) count.
    type: list
    elements: str
  values:
    description:
      - Limits by name, beside the profiles. A whole C(kernel.sem) takes its four numbers as a text or a list, each of
        them has a name of its own, such as V(kernel.sem.semmni).
      - Numbers only, decimal or hexadecimal after V(0x); no booleans, no units.
    type: dict
  state:
    description:
      - With V(present) the limits are at least what is asked for.
      - With V(absent) everything that was applied on this host is taken back, running values and file. What somebody
        else changed since is left alone, and what is in use by now is not lowered; both are told.
    type: str
    choices: [present, absent]
    default: present
  force_lower:
    description: Whether a limit may go down to what is asked for.
    type: bool
    default: false
  persistent:
    description:
      - Whether to refuse, before anything is written, where another file would win at the next boot. Otherwise that is
        a warning.
    type: bool
    default: false
  batch:
    description:
      - With O(state=absent), a change as RV(batch) named it. That one and all later ones are taken back, earlier
        ones stay.
    type: str
  policy:
    description: A policy file on the host in the place of C(/etc/ipcops/ipcops.conf).
    type: path
attributes:
  check_mode:
    description: Tells what would change, and refuses what cannot be set.
    support: full
  diff_mode:
    description: Shows the settings and the file before and after.
    support: full
  async:
    support: none
    description: It takes a fraction of a second.
requirements:
  - Python 3.9 or newer and root on the host. Nothing needs to be installed there.
notes:
  - A container gets limits when it starts (C(--sysctl), C(securityContext.sysctls)). Where /proc/sys is read-only the
    task fails and RV(unwritable) says why.
seealso:
  - module: ansible.posix.sysctl
author:
  - The ipcops contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Let PostgreSQL 18 and Db2 find what they ask for
  ipcops.linux.ipc_limits:
    profiles:
      - postgresql-18:max_connections=500
      - db2-11.5

- name: Set some limits by themselves
  ipcops.linux.ipc_limits:
    values:
      kernel.shmmni: 8192
      kernel.sem: 32000 1024000000 500 32768
      fs.mqueue.queues_max: 1024
  register: limits

- name: Refuse where another file wins at the next boot
  ipcops.linux.ipc_limits:
    profiles: [oracle-19c]
    persistent: true

- name: Take back everything that was ever applied
  ipcops.linux.ipc_limits:
    state: absent
"""

RETURN = r"""
before:
  description: Each setting and file that changes, or would, to its value or text before; null for no file.
  type: dict
  returned: success
  sample: {kernel.shmmni: 4096, /etc/sysctl.d/99-zz-ipcops.conf: null}
after:
  description: The same afterwards.
  type: dict
  returned: success
  sample: {kernel.shmmni: 8192, /etc/sysctl.d/99-zz-ipcops.conf: "kernel.shmmni = 8192\n"}
parameters:
  description: Each limit that is in question, with what it was, what it is to be, and why.
  type: list
  elements: dict
  returned: success
overridden_by:
  description:
    - Each line of our file that will not count at the next boot, with the file, line and value that will, and the
      loader that has it so.
  type: list
  elements: dict
  returned: success
  sample: [{name: kernel.shmmni, loader: sysctl --system, file: /etc/sysctl.conf, line: 12, value: 4096}]
unwritable:
  description: Each limit that cannot be written from here or that this kernel has not, and why.
  type: list
  elements: dict
  returned: success
  sample: [{name: kernel.shmmni, why: /proc/sys is read-only here}]
manual:
  description: What is no kernel setting, such as the size of /dev/shm, and what to write where.
  type: list
  elements: dict
  returned: success
left:
  description: With O(state=absent) what was not taken back, and why.
  type: list
  elements: dict
  returned: success
batch:
  description: The name of this change in C(ipcops journal); O(batch) and C(ipcops limits rollback) take it.
  type: str
  returned: when something was changed
"""
