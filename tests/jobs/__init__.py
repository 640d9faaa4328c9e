"""The rendered scripts and the bundle where they run: real hosts, with a real cron and a real systemd."""
