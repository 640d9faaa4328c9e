# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What ipc_agent takes and returns; the action plugin of the same name does it (as with ansible.builtin.template)."""

DOCUMENTATION = r"""
module: ipc_agent
short_description: Install the agent of ipcops, its command and its policy
version_added: 0.1.0
description:
  - Installs ipcops on a host that has a system Python and nothing else. The agent is unpacked and compiled there, with
    the command C(ipcops), the policy, rotation of the jobs' logs, and directories that only root may enter.
  - No user is made. The jobs run as root, since nobody else sees who uses an object.
  - All or nothing. Everything is written beside its place and checked first; if something fails on the way, all that
    was replaced is put back.
  - Keeps the record of C(install.sh) of a bundle. C(install.sh --verify) and C(--uninstall) on the host know what
    Ansible did, and what they installed is taken over.
  - What an older version left and this one has not is removed. What was edited on the host is replaced, and a copy of
    it kept; RV(backups) says where.
  - Jobs that are at work are waited for.
options:
  state:
    description:
      - With V(present) everything is there, and as it should be.
      - With V(absent) everything is removed, also every job of M(ipcops.linux.ipc_job), but the journal and the
        backups; with O(purge) these, too.
    type: str
    choices: [present, absent]
    default: present
  policy:
    description:
      - The text of the policy file, such as C(lookup('ansible.builtin.file', 'ipcops.conf')). The file on the host will
        be as it says. A wrong one is refused, with line and nearest valid word, before anything is written.
      - Without it the default policy is put there if there is no file; a file that is there stays, and is checked.
    type: str
  policy_example:
    description: One of the policies that come with ipcops, in the place of O(policy).
    type: str
    choices: [web-server, batch-node, gpu-node, database-host]
  policy_path:
    description: The policy file on the host.
    type: str
    default: /etc/ipcops/ipcops.conf
  lib:
    description: Where the agent and the scripts lie; nothing else may lie there.
    type: str
    default: /usr/local/lib/ipcops
  bin:
    description: Where the command C(ipcops) lies.
    type: str
    default: /usr/local/sbin
  state_dir:
    description:
      - Where journal and backups lie.
      - Where the policy has C(state) in its section C([clean]), that counts; leave this out then.
    type: str
    default: /var/lib/ipcops
  log:
    description: Where the jobs write what they did.
    type: str
    default: /var/log/ipcops
  keep:
    description: How many weeks of logs logrotate keeps.
    type: int
    default: 12
  wait:
    description: Seconds that a job which is at work is waited for.
    type: int
    default: 600
  purge:
    description:
      - With O(state=absent) whether the journal and the backups are removed, too.
      - What M(ipcops.linux.ipc_limits) did is in the journal; take it back before.
    type: bool
    default: false
attributes:
  check_mode:
    description: Tells what would be done, also on a host where nothing is installed.
    support: full
  diff_mode:
    description: Shows the texts; not the agent, which is none.
    support: full
  async:
    support: none
    description: It takes a second.
requirements:
  - Python 3.9 or newer and root on the host.
seealso:
  - module: ipcops.linux.ipc_job
author:
  - The ipcops contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Install the agent with the default policy
  ipcops.linux.ipc_agent:

- name: Install it with a policy of our own
  ipcops.linux.ipc_agent:
    policy: |
      [remove web]
      kind = sem
      owner = www-data
      accept = strong

- name: Leave nothing behind
  ipcops.linux.ipc_agent:
    state: absent
    purge: true
"""

RETURN = r"""
installed:
  description: The files that were written, or would be; the directory of the agent for all that is in it.
  type: list
  elements: str
  returned: success
  sample: [/etc/ipcops/ipcops.conf, /usr/local/lib/ipcops/agent, /usr/local/sbin/ipcops]
removed:
  description: The files that were removed, or would be.
  type: list
  elements: str
  returned: success
directories:
  description: The directories that were made, or would be.
  type: list
  elements: str
  returned: success
backups:
  description: The copies of what was edited on the host and then replaced or removed.
  type: list
  elements: str
  returned: success
  sample: [/var/lib/ipcops/backups/ipcops.conf.20261129T031700]
started:
  description: The timers that were started; none here.
  type: list
  elements: str
  returned: success
stopped:
  description: The timers that were stopped; none here.
  type: list
  elements: str
  returned: success
policy:
  description: Where the policy lies, and whether this task decides what is in it.
  type: dict
  returned: with O(state=present)
  sample: {path: /etc/ipcops/ipcops.conf, managed: true}
said:
  description: What was said when everything was removed.
  type: list
  elements: str
  returned: with O(state=absent)
"""
