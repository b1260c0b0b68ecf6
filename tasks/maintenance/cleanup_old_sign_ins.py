"""Forgets what can sign nobody in any more, and processes that ended without a goodbye."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import delete

from models.people import SignInLink, WebSession
from models.processes import Process
from tasks.jobs import Duty, Job, JobOptions
from tasks.people import SESSION_IDLE
from tasks.runs import count

_PROCESS_SILENT = timedelta(days=1)


def cleanup_old_sign_ins(duty: Duty, _options: JobOptions) -> Mapping[str, int]:
    with duty.ctx.sessions.begin() as db:
        now = duty.ctx.db_now(db)
        over = (WebSession.expires_at < now) | (WebSession.last_seen_at < now - SESSION_IDLE)
        return {
            "sessions": count(db.execute(delete(WebSession).where(over))),
            "links": count(db.execute(delete(SignInLink).where(SignInLink.expires_at < now))),
            "processes": count(db.execute(delete(Process).where(Process.beat_at < now - _PROCESS_SILENT))),
        }


JOB = Job(
    name="cleanup-old-sign-ins",
    sentence="Forgets ended sign-ins, unused sign-in links, and processes that are gone.",
    work=cleanup_old_sign_ins,
    options=JobOptions,
    cron="30 2 * * *",
)
