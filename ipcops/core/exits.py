"""The exit statuses of every command, in one place (docs: README, "Exit status")."""

DONE = 0
FINDINGS = 1
WRONG_INPUT = 2
UNDETERMINED = 3
PARTLY_FAILED = 4
DEFECT = 70
INTERRUPTED = 130
