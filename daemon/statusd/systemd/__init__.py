"""The daemon towards systemd: notifications and log lines for the journal."""
