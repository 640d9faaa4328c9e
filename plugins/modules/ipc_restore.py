# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What ipc_restore takes and returns; the action plugin of the same name does it (as with ansible.builtin.template)."""

DOCUMENTATION = r"""
module: ipc_restore
short_description: Put back IPC objects that were removed, or undo what was set
version_added: 0.1.0
description:
  - Puts back what a backup of M(ipcops.linux.ipc_clean) holds, with key, owner, mode, contents and, where the kernel
    lets it, the id; or undoes what C(ipcops set) changed. It is what C(ipcops restore) does.
  - Nothing comes back over what is there. An object whose key or name is taken is refused, and the task fails after the
    others came back.
  - What came back from the same backup before, and is as it was then, is no change.
options:
  backup:
    description:
      - The backup on the host, by its name in RV(ipcops.linux.ipc_clean#module:backup) or in C(ipcops journal), or by
        the path of its file.
    type: str
    required: true
  objects:
    description: Only these of its objects, such as V(shm:32768) or V(posix-shm:/psm_1a2b3c4d). Without any, all.
    type: list
    elements: str
  policy:
    description: A policy file on the host in the place of C(/etc/ipcops/ipcops.conf).
    type: path
attributes:
  check_mode:
    description: Tells what would come back, and refuses what is in the way.
    support: full
  diff_mode:
    description: Shows the objects that come back.
    support: full
  async:
    support: none
    description: It takes seconds.
requirements:
  - Python 3.9 or newer on the host, and root for objects of others. Nothing needs to be installed there.
seealso:
  - module: ipcops.linux.ipc_clean
author:
  - The ipcops contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Put back all that a run of ipc_clean removed
  ipcops.linux.ipc_restore:
    backup: "{{ item }}"
  loop: "{{ cleaned.backup.names }}"

- name: Put back one object of a backup
  ipcops.linux.ipc_restore:
    backup: 20260101T000000Z-1a2b3c4d-1
    objects: ["shm:32768"]
"""

RETURN = r"""
restored:
  description: What came back, or would, with its id now, what it was, and in C(note) what is not as it was.
  type: list
  elements: dict
  returned: success
  sample: [{kind: shm, id: 32768, key: "0x5eed0001", path: null, was: {uid: 1000, size: 4096}, note: null}]
refused:
  description: What did not come back, and why.
  type: list
  elements: dict
  returned: success
  sample: [{object: {kind: shm, id: 4, key: "0x5eed0001"}, why: "its key 0x5eed0001 is taken by shm:9 of uid 0"}]
present:
  description: What had come back before and is as it was then.
  type: list
  elements: dict
  returned: success
journal:
  description: The path of the journal on the host; null in check mode.
  type: str
  returned: success
"""
