"""What every command and option means, said once for the CLI and for the agent."""

from __future__ import annotations

from typing import Optional

from .model import KINDS, REMOVABLE_KINDS, SEVERITIES, VERDICTS

HELP = {
    "ipcops": "Audit, list and clean the inter-process communication objects of this host.",
    "audit": "Tell what is wrong with IPC here, who left it, and how sure that is.",
    "list": "List the objects, with verdicts and holders.",
    "show": "Tell all that is known of an object: its holders and waiters, its verdict and why.",
    "rules": "List the rules; tell those that are named in full.",
    "explain": "Tell why a call fails on this host now: which limit is reached, who uses it, what to do.",
    "metrics": "Print what there is and what is wrong in numbers, in Prometheus' text format.",
    "check": "One line for Nagios, Icinga, Checkmk or Zabbix, with exit status 0, 1, 2 or 3.",
    "clean": "Print what would be removed, what stays, and why; --apply removes what was shown.",
    "backup": "Back objects up; nothing is removed.",
    "restore": "Put removed objects back, or undo what 'set' changed.",
    "journal": "Tell what was removed or changed, by whom and why, newest first.",
    "set": "Change mode, owner or size limit of an object; 'restore' undoes it.",
    "limits": "Kernel limits of IPC: what they are, what programs need, set so that they stay, with a way back.",
    "limits show": "Tell every limit: its value, default and use, where it is set, and what the kernel accepts.",
    "limits profiles": "List the profiles; tell those that are named in full, with their values for this host.",
    "limits plan": "Print what profiles would change and why, and which file wins at the next boot.",
    "limits apply": "Set what the plan says, now and for the next boot; anything that fails undoes all of it.",
    "limits rollback": "Put back what the last 'limits apply' changed, or all since one that is named.",
    "render": "Render a template: a script, a schedule, or the policy file with every setting explained.",
    "bundle": "Write what a host without packages needs: agent, scripts, schedules, policy, install.sh.",
    "content": "What comes with ipcops for Ansible: roles, playbooks and modules.",
    "content path": "Print the directory for ANSIBLE_COLLECTIONS_PATH, where ansible-playbook finds them.",
    "template": "The template; --list lists them.",
    "list_templates": "List the templates, and what can be set in each.",
    "set_value": "Set a value in what is rendered (repeatable); 'ipcops render --list' names them.",
    "rendered_policy": "The policy that the host will have; it is checked, and says where journal and backups lie.",
    "bundle_dir": "Where to write it: a directory that is empty, not there yet, or an earlier bundle.",
    "rules_policy": "Check this policy file, and tell which rules it exempts.",
    "version": "Print the version.",
    "format": "table for a person, json for a program.",
    "output": "Write to FILE instead of standard output, whole or not at all.",
    "debug": "Show the traceback of a defect in ipcops itself.",
    "policy": "The policy file (default: /etc/ipcops/ipcops.conf, if there is one).",
    "deadline": "How long looking may take (default: the policy's, or 10).",
    "all_namespaces": "Look into every IPC, mount and network namespace of this host: containers, too.",
    "probe": "Ask socket files that seem stale whether anybody is bound, by a connection of the wrong type"
    " that no server sees.",
    "kind": "Only this kind (repeatable): %s." % ", ".join(KINDS),
    "rule": "Only this rule (repeatable); the command 'rules' lists them.",
    "rules_named": "The rules to tell in full; without any, all are listed.",
    "min_severity": "Only findings at least this grave: %s." % ", ".join(SEVERITIES),
    "fail_on": "End with status 1 at findings at least this grave; none never fails.",
    "require_complete": "End with status 3 when anything could not be seen.",
    "samples": "Look N times; what needs two looks is certain only then (default: 1).",
    "interval": "Time between two looks.",
    "verdict": "Only this verdict (repeatable): %s." % ", ".join(VERDICTS),
    "owner": "Only objects of this user, by name or number.",
    "removable": "Only this kind (repeatable): %s." % ", ".join(REMOVABLE_KINDS),
    "apply": "Carry out the plan after showing it and asking.",
    "yes": "With --apply: do not ask.",
    "plan": "Take the plan that --output FILE saved earlier; nothing outside it is removed.",
    "min_age": "Only what has been unused for at least this long, such as 2h or 7d.",
    "max_removals": "Remove no more than N objects (default: the policy's, or 100).",
    "with_data": "Also remove queues that hold messages; they are backed up first.",
    "job_ended": "Remove what a finished job of USER left: USER must run no process; age and second sighting"
    " are not asked for.",
    "notify": "Mail the owners of what would go; a later run with --notify removes only what was announced.",
    "backup_dir": "Put backups into DIR instead of the state directory.",
    "no_backup": "Back nothing up. What is removed cannot be put back.",
    "exit_code": "End with status 1 when something would be removed.",
    "named": "The object, such as shm:32768 or posix-shm:/psm_1a2b3c4d. One that is named may be idle as well as"
    " orphan, and of any age; in use, unknown or protected it stays.",
    "saved": "The backup: its name as 'ipcops journal' tells it, or the path of its file.",
    "wanted": "Only these of its objects; without any, all of them.",
    "since": "Only since then: an age such as 2h or 7d, or a day such as 2026-05-01.",
    "journal_kind": "Only this kind: %s, or sysctl and file of 'limits apply'." % ", ".join(REMOVABLE_KINDS),
    "journal_key": "Only objects with this System V key, such as 0x1111.",
    "change": "What to set: mode=0600, owner=USER[:GROUP], qbytes=BYTES.",
    "profile": "A profile of what runs here, NAME or NAME:TERM=NUMBER (repeatable; default: the policy's).",
    "profile_named": "The profiles to tell in full, NAME or NAME:TERM=NUMBER; without any, all are listed.",
    "value": "A limit by itself, such as kernel.shmmni=8192 or kernel.sem='32000 1024000000 500 32768' (repeatable).",
    "force_lower": "Let limits go down to what is asked for, but never below what is in use.",
    "limits_exit_code": "End with status 1 when something would be changed.",
    "limits_yes": "Do not ask.",
    "applied": "Back to before this one, by its name in 'ipcops journal', or before 'all' (default: the last).",
    "sort": "Order by id, size, age or owner.",
    "call": "The call: semget, shmget, msgget, semop, msgsnd, mq_open, shm_open, pipe or fcntl. Without one,"
    " the limits that are closest.",
    "errno": "The error it gives, such as ENOSPC; without one, all of them.",
    "textfile": "Replace this file whole, for node_exporter's textfile collector, which reads NAME.prom.",
    "warning": "WARNING where METRIC is outside RANGE (repeatable), such as shm_segments_used=80 or orphans=0.",
    "critical": "CRITICAL where METRIC is outside RANGE (repeatable): 10, 10:, ~:10, 10:20, or @10:20 for inside.",
    "object": "The object: by id (shm:32768), by key (sem:0x1111) or by name (posix-shm:/psm_1a2b3c4d, fifo:/run/x).",
}


def default_format(command: str, output: Optional[str]) -> str:
    """Return the format where none was asked for: what ``clean`` writes to a file is a plan to come back to."""
    return "json" if command == "clean" and output is not None else "table"
