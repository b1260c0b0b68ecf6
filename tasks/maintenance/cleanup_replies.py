"""Deletes the kept replies of API calls when their Idempotency-Key is too old to come again."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import delete

from models.people import Reply
from tasks.jobs import Duty, Job, JobOptions
from tasks.replies import KEPT_FOR
from tasks.runs import count


def cleanup_replies(duty: Duty, _options: JobOptions) -> Mapping[str, int]:
    with duty.ctx.sessions.begin() as db:
        old = Reply.created_at < duty.ctx.db_now(db) - KEPT_FOR
        return {"replies": count(db.execute(delete(Reply).where(old)))}


JOB = Job(
    name="cleanup-replies",
    sentence="Deletes the kept replies of API calls after a day.",
    work=cleanup_replies,
    options=JobOptions,
    cron="40 * * * *",
)
