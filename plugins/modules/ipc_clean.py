# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What ipc_clean takes and returns; the action plugin of the same name does it (as with ansible.builtin.template)."""

DOCUMENTATION = r"""
module: ipc_clean
short_description: Remove abandoned IPC objects by policy, or those of an approved plan
version_added: 0.1.0
description:
  - Removes what the host's policy lets go and what is proven abandoned, backed up first and written into a journal, as
    C(ipcops clean --apply --yes) does. In use, unknown or protected it stays, whatever is asked for.
  - In check mode it returns the plan. Given back as O(plan), nothing outside it is removed.
  - Every removal is checked against the kernel once more at the moment it happens. What changed since the plan stays.
options:
  plan:
    description:
      - The plan that was approved. It is RV(plan) of a run in check mode on the same host, or the content of a file
        that C(ipcops clean --output) wrote there.
      - It carries the options that it was made with, so none of them goes with it. It is refused after a boot and under
        another policy.
      - An object of it that is gone by now counts as done. One that changed stays, and the task fails.
    type: dict
  objects:
    description:
      - Only these, by id (V(shm:32768)), key (V(sem:0x1111)) or name (V(posix-shm:/psm_1a2b3c4d)).
      - One that is named may be idle as well as orphan, and of any age. One that is not there counts as done. One that
        has to stay makes the task fail.
    type: list
    elements: str
  kinds:
    description: Only these kinds, V(shm), V(sem), V(msg), V(posix-shm), V(posix-sem) or V(posix-mq).
    type: list
    elements: str
  owner:
    description: Only objects of this user, by name or number.
    type: str
  min_age:
    description: Only what has been unused for at least this long, such as V(2h) or V(7d), in the place of the policy's.
    type: str
  job_ended:
    description:
      - Removes what a finished job of this user left. The user must run no process; age and second sighting are not
        asked for.
    type: str
  max_removals:
    description: Remove no more than this many. The default is the policy's, or 100.
    type: int
  with_data:
    description: Whether queues that hold messages go, too; they are backed up first.
    type: bool
    default: false
  notify:
    description:
      - Whether to mail the owners of what would go. A later run with it removes only what was announced.
      - In check mode nobody is told.
    type: bool
    default: false
  backup:
    description: A directory on the host for backups, in the place of the one in the state directory.
    type: path
  no_backup:
    description: Whether to back nothing up. What is removed cannot be put back then.
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
    description:
      - Returns the plan and removes nothing. As C(ipcops clean) does, the host notes in its state directory what was
        seen, since a policy wants a second sighting before anything goes.
    support: partial
  diff_mode:
    description: Shows the objects that go.
    support: full
  async:
    support: none
    description: It takes seconds, even for thousands of objects.
requirements:
  - Python 3.9 or newer on the host, and root for objects of others. Nothing needs to be installed there.
notes:
  - Without a policy on the host only C(shm) orphans that are certain and files of known families in C(/dev/shm) may go,
    after 24 hours and two sightings.
seealso:
  - module: ipcops.linux.ipc_info
  - module: ipcops.linux.ipc_restore
author:
  - The ipcops contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: See what would go
  ipcops.linux.ipc_clean:
    kinds: [shm, posix-shm]
  check_mode: true
  register: planned

- name: Ask
  ansible.builtin.pause:
    prompt: "{{ planned.plan.counts.remove }} objects would go; go on with return, or stop with ctrl-c and a"
  when: planned.plan.remove | length > 0

- name: Remove what was shown, and nothing else
  ipcops.linux.ipc_clean:
    plan: "{{ planned.plan }}"
  register: cleaned

- name: Put it back where that was a mistake
  ipcops.linux.ipc_restore:
    backup: "{{ item }}"
  loop: "{{ cleaned.backup.names if cleaned.backup else [] }}"
  when: regretted | default(false)

- name: Remove the segments that a program was known to leave
  ipcops.linux.ipc_clean:
    objects: ["shm:0x5eed0001", "posix-shm:/psm_1a2b3c4d"]
"""

RETURN = r"""
plan:
  description:
    - What goes and what stays. C(remove) has each object with its section of the policy and its reasons, C(keep) has
      every other with the reason, C(counts) counts them. C(boot_id), C(namespace), C(policy_hash) and C(asked) say
      where it holds.
  type: dict
  returned: success
  sample:
    remove: [{kind: shm, id: 4, key: "0x0020e224", section: orphans, confidence: certain, bytes: 4096}]
    keep: [{kind: shm, id: 5, verdict: in-use, why: "2 processes have it attached"}]
    counts: {remove: 1, keep: 1, bytes: 4096}
removed:
  description: What was removed, each with what C(ipcops restore) on the host takes for it. Empty in check mode.
  type: list
  elements: dict
  returned: success
  sample: [{kind: shm, id: 4, saved: "20260101T000000Z-1a2b3c4d-1:23"}]
not_removed:
  description:
    - What was to go and did not, each with the reason. C(gone) is true for what was not there any more, which is no
      failure.
  type: list
  elements: dict
  returned: success
  sample: [{kind: shm, id: 5, why: "a process has it attached", gone: false}]
journal:
  description: The path of the journal on the host; null in check mode.
  type: str
  returned: success
backup:
  description:
    - Where the backups lie on the host (C(directory)), and what M(ipcops.linux.ipc_restore) takes for each
      (C(names)); null where there is none.
  type: dict
  returned: success
  sample: {directory: /var/lib/ipcops/backups, names: ["20260101T000000Z-1a2b3c4d-1"]}
notified:
  description: Who was told by mail, of how many objects, and what went wrong.
  type: list
  elements: dict
  returned: success
notes:
  description: What else is to be known, such as users of the policy that this host does not have.
  type: list
  elements: str
  returned: success
"""
