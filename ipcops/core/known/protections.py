"""Objects that ipcops never removes unless the administrator's policy lifts the section.

Each entry is what a ``[protect NAME]`` section of a policy would say.
"""

from __future__ import annotations

SHIPPED = {
    "oracle": {
        "owner": "oracle grid",
        "reason": "Oracle Database and Grid keep segments and sets between restarts; removing one"
        " crashes an instance. Use sysresv and the instance's own shutdown.",
    },
    "sap": {
        "owner": "???adm",
        "reason": "SAP instances keep segments between restarts. Use cleanipc and showipc of that instance.",
    },
    "db2": {
        "owner": "db2* dasusr*",
        "reason": "Db2 panics when its semaphores or queues go. Use db2_kill and ipclean of that instance.",
    },
    "ibm-mq": {
        "owner": "mqm",
        "reason": "without its semaphores a second queue manager can start on the same data and destroy it."
        " Use amqiclen as IBM support advises.",
    },
    "postgresql": {
        "owner": "postgres",
        "reason": "PostgreSQL uses its segment to tell whether another server still runs on the same data;"
        " starting the server again removes it.",
    },
    "postgresql-dsm": {
        "kind": "posix-shm",
        "name": "/PostgreSQL.*",
        "reason": "dynamic shared memory of a PostgreSQL server, whatever user runs it; the server removes"
        " it when it starts again.",
    },
    "informix": {
        "owner": "informix",
        "reason": "Informix keeps its segments until onmode -ky or onclean.",
    },
    "sybase": {
        "owner": "sybase",
        "reason": "SAP ASE finds its segments again by its .krg files; verify with the owner first.",
    },
    "zabbix": {
        "owner": "zabbix",
        "reason": "Zabbix daemons share semaphore sets that are rarely operated; they come anew with the daemon.",
    },
    "podman": {
        "kind": "posix-shm",
        "name": "/libpod_lock /libpod_rootless_lock_*",
        "reason": "podman's live lock table, which no process keeps open; without it podman breaks until reset.",
    },
}
