"""What every command and option means, said once for the CLI and for the agent."""

from __future__ import annotations

from .model import KINDS, SEVERITIES, VERDICTS

HELP = {
    "ipcops": "Audit and list the inter-process communication objects of this host.",
    "audit": "Tell what is wrong with IPC here, who left it, and how sure that is.",
    "list": "List the objects, with verdicts and holders.",
    "show": "Tell all that is known of an object: its holders and waiters, its verdict and why.",
    "rules": "List the rules; tell those that are named in full.",
    "explain": "Tell why a call fails on this host now: which limit is reached, who uses it, what to do.",
    "render": "Render a template; 'policy' is the policy file with every setting explained.",
    "template": "The template; --list lists them.",
    "list_templates": "List the templates.",
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
    "sort": "Order by id, size, age or owner.",
    "call": "The call: semget, shmget, msgget, semop, msgsnd, mq_open, shm_open, pipe or fcntl. Without one,"
    " the limits that are closest.",
    "errno": "The error it gives, such as ENOSPC; without one, all of them.",
    "object": "The object: by id (shm:32768), by key (sem:0x1111) or by name (posix-shm:/psm_1a2b3c4d, fifo:/run/x).",
}
