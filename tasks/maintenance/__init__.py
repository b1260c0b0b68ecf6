"""Maintenance jobs: one file each, with a `JOB`. `tasks.jobs` finds them here; nothing else is edited."""
