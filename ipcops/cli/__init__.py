"""The command line: one file per command, each options -> request -> run -> show."""
