"""Deletes drafts of syncs that nobody went on with."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import delete

from models.drafts import Draft
from tasks.drafts import KEPT_FOR
from tasks.jobs import Duty, Job, JobOptions
from tasks.runs import count


def cleanup_drafts(duty: Duty, _options: JobOptions) -> Mapping[str, int]:
    with duty.ctx.sessions.begin() as db:
        old = Draft.updated_at < duty.ctx.db_now(db) - KEPT_FOR
        return {"drafts": count(db.execute(delete(Draft).where(old)))}


JOB = Job(
    name="cleanup-drafts",
    sentence="Deletes drafts of syncs that nobody touched for thirty days.",
    work=cleanup_drafts,
    options=JobOptions,
    cron="50 2 * * *",
)
