"""Forgets what lets nobody in any more, and processes that ended without a goodbye."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import delete

from models.grants import Consent
from models.people import Invitation, SignInLink, WebSession
from models.processes import Process
from tasks.jobs import Duty, Job, JobOptions
from tasks.people import SESSION_IDLE
from tasks.runs import count
from tasks.signing_in import LIFE as CONSENT_LIFE

_PROCESS_SILENT = timedelta(days=1)
_INVITATION_KEPT = timedelta(days=30)  # after its end: until then the list says that it ran out


def cleanup_old_sign_ins(duty: Duty, _options: JobOptions) -> Mapping[str, int]:
    with duty.ctx.sessions.begin() as db:
        now = duty.ctx.db_now(db)
        over = (WebSession.expires_at < now) | (WebSession.last_seen_at < now - SESSION_IDLE)
        return {
            "sessions": count(db.execute(delete(WebSession).where(over))),
            "links": count(db.execute(delete(SignInLink).where(SignInLink.expires_at < now))),
            "invitations": count(
                db.execute(delete(Invitation).where(Invitation.expires_at < now - _INVITATION_KEPT))
            ),
            "consents": count(db.execute(delete(Consent).where(Consent.created_at < now - CONSENT_LIFE))),
            "processes": count(db.execute(delete(Process).where(Process.beat_at < now - _PROCESS_SILENT))),
        }


JOB = Job(
    name="cleanup-old-sign-ins",
    sentence="Forgets ended sign-ins, unused links and invitations, and processes that are gone.",
    work=cleanup_old_sign_ins,
    options=JobOptions,
    cron="30 2 * * *",
)
