"""Deletes the accounts whose people asked for it thirty days ago and did not come back."""

from __future__ import annotations

from collections.abc import Mapping

from tasks import farewell
from tasks.jobs import Duty, Job, JobOptions


def delete_accounts(duty: Duty, _options: JobOptions) -> Mapping[str, int]:
    return {"accounts": farewell.purge(duty.ctx)}


JOB = Job(
    name="delete-accounts",
    sentence="Deletes accounts thirty days after their people asked for it.",
    work=delete_accounts,
    options=JobOptions,
    cron="20 4 * * *",
)
