"""Queues all automatic syncs, now: for a person, or for an outside cron."""

from __future__ import annotations

from collections.abc import Mapping

from tasks import due
from tasks.jobs import Duty, Job, JobOptions


def run_auto_syncs(duty: Duty, _options: JobOptions) -> Mapping[str, int]:
    return due.run_auto_syncs(duty.ctx, asked_by=duty.asked_by).counts


JOB = Job(
    name="run-auto-syncs",
    sentence="Starts every sync that is active and automatic, without waiting for its schedule.",
    work=run_auto_syncs,
    options=JobOptions,
    cron=None,
)
