#!/usr/bin/python
# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run a request to the core on a host. The action plugins of this collection send it, nobody else does.

No module of AnsibleModule's kind: those are sent with all that they import as source, which the host has to
compile in each task (docs/adr/0012-carrier.md).
"""

DOCUMENTATION = r"""
module: carrier
short_description: Run a request to the core of ipcops
version_added: 0.1.0
description:
  - What the other modules of this collection are carried by. It is of no use in a task.
options:
  archive:
    description: The core as a zip archive, in base64.
    type: str
  path:
    description: Where the core lies, on the controller itself.
    type: path
  request:
    description: What is asked of it, or a list of that.
    type: raw
    required: true
attributes:
  check_mode:
    support: full
    description: A request says itself whether anything is to be changed.
  diff_mode:
    support: none
    description: The modules that it carries have it.
author:
  - The ipcops contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Never by itself
  ansible.builtin.debug:
    msg: See ipcops.linux.ipc_limits
"""

RETURN = r"""
report:
  description: What the core answers.
  type: dict
  returned: success
status:
  description: The exit status that ipcops would have.
  type: int
  returned: always
answers:
  description: Report and status of each request of a list.
  type: list
  elements: dict
  returned: success
"""

import sys

ARGUMENTS = r"""<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>"""


def main():
    if sys.version_info < (3, 9):  # this file itself is read by any Python
        version = ".".join(str(number) for number in sys.version_info[:3])
        return (
            '{"failed": true, "status": 3, "msg": "ipcops needs Python 3.9 or newer on the host, and %s is %s;'
            ' set ansible_python_interpreter to a newer one"}' % (sys.executable, version)
        )
    import gc
    import json

    gc.disable()  # one short run that only grows
    arguments = json.loads(ARGUMENTS)
    sys.path.insert(0, arguments.get("path") or unpacked(arguments["archive"]))
    try:
        from core.errors import IpcopsError
        from core.records import json_text
        from core.run import run, status

        try:
            asked = meant(arguments["request"])
            answers = []
            for request in asked if isinstance(asked, list) else [asked]:
                report = run(request)
                answers.append('{"status": %d, "report": %s}' % (status(request, report), "".join(json_text(report))))
            return '{"answers": [%s]}' % ", ".join(answers) if isinstance(asked, list) else answers[0]
        except IpcopsError as error:
            return json.dumps({"failed": True, "status": error.exit_status, "msg": str(error)})
    except Exception as error:
        import traceback

        told = "a defect in ipcops: %s: %s; please report it with the output of -vvv" % (type(error).__name__, error)
        return json.dumps({"failed": True, "status": 70, "msg": told, "exception": traceback.format_exc()})


def unpacked(archive):
    import base64
    import os

    descriptor = os.memfd_create("ipcops-core")  # no file, so none is left behind
    with open(descriptor, "wb", closefd=False) as memory:
        memory.write(base64.b64decode(archive))
    return "/proc/self/fd/%d" % descriptor


# A file name need not be UTF-8. The core writes each byte that is not as \udcXX, half a character, which Ansible
# refuses to read. So between it and the core these six letters stand for themselves.


def plain(text):
    if "\\udc" not in text:
        return text
    import re

    half = r"(?<!\\ud[89ab][0-9a-f][0-9a-f])(?<!\\)((?:\\\\)*)\\(?=udc[89a-f][0-9a-f])"
    return re.sub(half, r"\1\\\\", text)


def meant(value):
    if isinstance(value, dict):
        return {meant(name): meant(one) for name, one in value.items()}
    if isinstance(value, list):
        return [meant(one) for one in value]
    if not isinstance(value, str) or "\\udc" not in value:
        return value
    import re

    return re.sub(r"\\u(dc[89a-f][0-9a-f])", lambda found: chr(int(found.group(1), 16)), value)


if __name__ == "__main__":
    sys.stdout.write(plain(main()) + "\n")
