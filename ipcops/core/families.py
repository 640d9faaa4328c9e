"""Every metric that ``ipcops metrics`` prints: its name, its labels, its meaning. docs/metrics.md is made from it.

All are gauges: each run looks anew. Names and base units by https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

from typing import Tuple

OTHER = "other"
"""The label value that everything past the bound of a metric is summed under."""

OWNER_LABELS = ("owner",)
KIND_OWNER_LABELS = ("kind", "owner")
MSG_LABELS = ("id", "key", "owner")
MQ_LABELS = ("queue", "owner")

FAMILIES: Tuple[Tuple[str, Tuple[str, ...], str], ...] = (
    ("build_info", ("version",), "The version of ipcops; always 1."),
    # System V segments
    ("shm_segments", (), "System V segments, by SHM_INFO."),
    ("shm_limit_segments", (), "How many there may be: SHMMNI."),
    ("shm_pages", (), "Pages that count against SHMALL, by SHM_INFO: the size of each segment, rounded up to pages."),
    ("shm_limit_pages", (), "How many pages there may be: SHMALL."),
    ("shm_bytes", (), "The sizes of all segments, as their programs asked for them."),
    ("shm_limit_segment_bytes", (), "The largest size of a segment: SHMMAX."),
    ("shm_resident_bytes", (), "What of the segments is in memory, by SHM_INFO."),
    ("shm_swapped_bytes", (), "What of the segments is in swap, by SHM_INFO."),
    # System V semaphores
    ("sem_sets", (), "Semaphore sets, by SEM_INFO."),
    ("sem_limit_sets", (), "How many sets there may be: SEMMNI."),
    ("sem_semaphores", (), "Semaphores in all sets, by SEM_INFO."),
    ("sem_limit_semaphores", (), "How many semaphores there may be: SEMMNS, or SEMMSL x SEMMNI where that is less."),
    ("sem_limit_set_semaphores", (), "How many semaphores a set may have: SEMMSL."),
    # System V queues
    ("msg_queues", (), "System V message queues, by MSG_INFO."),
    ("msg_limit_queues", (), "How many queues there may be: MSGMNI."),
    ("msg_messages", (), "Messages in all queues, by MSG_INFO."),
    ("msg_bytes", (), "Bytes of the messages in all queues."),
    ("msg_limit_queue_bytes", (), "The capacity that a new queue gets: MSGMNB."),
    ("msg_limit_message_bytes", (), "The largest message: MSGMAX."),
    ("msg_queue_messages", MSG_LABELS, "Messages in a queue; the fullest queues one by one."),
    ("msg_queue_bytes", MSG_LABELS, "Bytes of the messages in a queue."),
    ("msg_queue_limit_bytes", MSG_LABELS, "The capacity of a queue; absent where it may not be read."),
    ("msg_queue_last_send_timestamp_seconds", MSG_LABELS, "When a message was last sent to it; 0 is never."),
    (
        "msg_queue_last_receive_timestamp_seconds", MSG_LABELS,
        "When a message was last received from it; where none ever was, when the queue was made or changed.",
    ),
    (
        "msg_unread_since_timestamp_seconds", (),
        "Of all queues that hold messages, the least of those times; absent where all are empty.",
    ),
    # POSIX queues
    ("posix_mq_queues", (), "POSIX queues, those without a name that are still open included."),
    ("posix_mq_limit_queues", (), "How many there may be: fs.mqueue.queues_max."),
    ("posix_mq_messages", (), "Messages in all POSIX queues that have a name."),
    ("posix_mq_limit_queue_messages", (), "How many messages a queue of an ordinary user may take: fs.mqueue.msg_max."),
    ("posix_mq_limit_message_bytes", (), "The largest message of an ordinary user: fs.mqueue.msgsize_max."),
    ("posix_mq_bytes", OWNER_LABELS, "What the queues of a user count against RLIMIT_MSGQUEUE, empty or full."),
    (
        "posix_mq_limit_bytes", OWNER_LABELS,
        "The least RLIMIT_MSGQUEUE of the user's processes; absent where there is none, or no process.",
    ),
    ("posix_mq_queue_messages", MQ_LABELS, "Messages in a POSIX queue; the fullest queues one by one."),
    ("posix_mq_queue_limit_messages", MQ_LABELS, "How many messages that queue takes."),
    (
        "posix_mq_queue_last_use_timestamp_seconds", MQ_LABELS,
        "When a message was last sent to it or received from it; the kernel does not tell which.",
    ),
    (
        "posix_mq_unused_since_timestamp_seconds", (),
        "Of all POSIX queues that hold messages, the least of those times; absent where all are empty.",
    ),
    # /dev/shm
    ("posix_shm_files", (), "POSIX shared memory files in /dev/shm."),
    ("posix_shm_bytes", (), "The memory that they take."),
    ("posix_shm_unlinked_files", (), "Files of /dev/shm without a name that processes still hold."),
    ("posix_shm_unlinked_bytes", (), "The memory that those take."),
    ("posix_sem_semaphores", (), "POSIX named semaphores in /dev/shm."),
    ("dev_shm_used_bytes", (), "How full the file system at /dev/shm is."),
    ("dev_shm_limit_bytes", (), "Its size; absent where it has no bound."),
    ("dev_shm_used_inodes", (), "How many inodes of it are taken."),
    ("dev_shm_limit_inodes", (), "How many inodes it has; absent where there is no bound."),
    # Pipes
    ("pipe_user_pages", OWNER_LABELS, "Pages of a user's pipes, as far as seen; root, who is exempt, is left out."),
    ("pipe_limit_user_soft_pages", (), "Past it new pipes are small: fs.pipe-user-pages-soft; absent for 0."),
    ("pipe_limit_user_hard_pages", (), "Past it there are no new ones: fs.pipe-user-pages-hard; absent for 0."),
    # Whose, and what is wrong
    ("owner_objects", KIND_OWNER_LABELS, "Objects of a kind that a user owns."),
    ("owner_bytes", KIND_OWNER_LABELS, "Sizes of a user's segments, memory of their files, bytes in their queues."),
    ("orphans", KIND_OWNER_LABELS, "Objects with the verdict orphan that the policy neither protects nor exempts."),
    ("orphan_bytes", KIND_OWNER_LABELS, "What these take: sizes of segments, memory of files, bytes in queues."),
    ("orphans_protected", KIND_OWNER_LABELS, "Orphans that a [protect] section covers."),
    ("orphans_suspected", KIND_OWNER_LABELS, "Objects that only processes not seen keep from being orphans."),
    ("orphans_undetermined", ("kind",), "Unused objects, old enough, of which nobody can tell from here: unknown."),
    ("findings", ("rule", "severity"), "Findings of the audit, by rule and severity; absent for none."),
    # The scan itself
    ("scan_timestamp_seconds", (), "When this scan began."),
    ("scan_duration_seconds", (), "How long it took."),
    ("scan_success", (), "0 where the scan failed as a whole; then little else is told."),
    ("scan_complete", (), "Whether everything could be seen, but for what the policy lets stay unseen."),
    ("scan_deadline_exceeded", (), "Whether it ran into its deadline, so that something may be missing."),
    ("scan_processes", (), "Processes that were looked at."),
    ("scan_unreadable_processes", (), "Processes that could not be looked into, [scan] unreadable_ok aside."),
    ("source_success", ("source",), "Whether a source could be read: each kind of object, and each sort of evidence."),
    (
        "crosscheck_difference", ("metric",),
        "How far a counter of the kernel lies from the rows of its table; absent where it moved meanwhile.",
    ),
    ("crosscheck_compared", ("metric",), "Whether the counter stood still, and so was compared with the rows."),
    ("series_cap", ("label",), "How many values of a label are told one by one: [metrics] owners and queues."),
    ("series_capped", ("metric",), "How many label sets of a metric were summed under 'other'; absent for none."),
)  # fmt: skip
"""Name without ``ipcops_``, labels, help."""

PREFIX = "ipcops_"

COUNTERS = (
    "shm_segments", "shm_pages", "shm_resident_bytes", "shm_swapped_bytes", "sem_sets", "sem_semaphores",
    "msg_queues", "msg_messages", "msg_bytes",
)  # fmt: skip
"""The metrics, without ``ipcops_``, that are counters of the kernel and can be compared with rows."""
