# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What ipc_summary takes and returns; the action plugin of the same name does it (as with ansible.builtin.debug)."""

DOCUMENTATION = r"""
module: ipc_summary
short_description: Sum up what the hosts of a play brought back, in one document and on one page
version_added: 0.1.0
description:
  - Takes the registered results of M(ipcops.linux.ipc_health), or of another module that returns a C(report), from
    all hosts of the play, and prints one page - how many hosts are well, what is wrong with most of them, which are the
    worst, which could not be asked or reached.
  - Hosts whose task failed are told with the reason. So are unreachable ones where O(ignore:ignore_unreachable) kept
    them in the play, and hosts that were lost earlier, which have no result.
  - It runs once, on the controller, and needs no callback and no setting.
options:
  results:
    description: The variable that the result was registered as.
    type: str
    required: true
  name:
    description: What the files are called, without C(.json) and C(.txt).
    type: str
    required: true
  directory:
    description:
      - The directory on the controller where document (C(ipcops.fleet/1), see C(docs/fleet.md)) and page are
        written, each whole or not at all. It is made. A relative one is taken from where Ansible was started.
      - Without one, and in check mode, nothing is written.
    type: path
  fail_on:
    description: The least severity of a finding with which an audited host has something to mend.
    type: str
    choices: [critical, high, medium, low, info, none]
    default: medium
attributes:
  check_mode:
    support: full
    description: The page is printed, no file is written.
  diff_mode:
    support: none
    description: It changes no host.
  async:
    support: none
    description: It takes a fraction of a second.
  bypass_host_loop:
    support: full
    description: It runs once for all hosts.
notes:
  - A play with C(serial) has a summary for each batch; leave C(serial) out of what only looks.
seealso:
  - module: ipcops.linux.ipc_health
author:
  - The ipcops contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Ask every host, and go on whatever becomes of it
  ipcops.linux.ipc_health:
  register: health
  ignore_errors: true
  ignore_unreachable: true

- name: Sum up the fleet
  ipcops.linux.ipc_summary:
    results: health
    name: health
    directory: ipcops-reports
"""

RETURN = r"""
summary:
  description: The C(summary) of the document.
  type: dict
  returned: always
files:
  description: What was written.
  type: list
  elements: str
  returned: always
"""
