"""Telling people of alerts outside the panel: each change of state is posted once, to one address.

What is to be told is written with its cause, so no alert is lost with a process. It is sent by the tick,
oldest first: an address that does not answer holds up what comes after it, and never a sync.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import httpx
import structlog
from sqlalchemy import select, update

from connectors.errors import ConnectorError, OutcomeUnknown, RateLimited, RetryableError
from connectors.http import Http, Limits, checked_url
from models.issues import Alert, AlertDelivery
from models.sync_configs import SyncConfig
from sync.backoff import back_off
from sync.values import iso
from tasks.context import Context

AT_ONCE = 20  # in one tick: the services take about one message a second
KEPT_TRYING = timedelta(days=2)
_LIMITS = Limits(connect=5, read=10, overall=10, size=100_000)
_LONGEST = 3000  # letters of a message
log = structlog.get_logger(__name__)


def send_due(ctx: Context, *, transport: httpx.BaseTransport | None = None) -> int:
    """Post what is to be told and whose time has come; how much was. Raises nothing of the other side's."""
    url = ctx.settings.alert_webhook_url
    if url is None:
        _give_up_all(ctx)
        return 0
    told = 0
    try:
        with_secrets = checked_url(url, ctx.access).raw_path.decode("ascii")
        http = Http(url, ctx.access, secrets=[with_secrets], limits=_LIMITS, transport=transport)
    except ConnectorError as problem:
        log.warning("alerts.address_refused", error=problem.message)
        return 0
    try:
        for _ in range(AT_ONCE):
            if not _send_next(ctx, http, url):
                break
            told += 1
    finally:
        http.close()
    return told


def trouble(ctx: Context) -> str | None:
    """What keeps alerts from being told, as a sentence; None while all is well."""
    with ctx.reads() as db:
        last = db.scalar(
            select(AlertDelivery)
            .where(AlertDelivery.attempts > 0)
            .order_by(AlertDelivery.settled_at.is_not(None), AlertDelivery.id.desc())
            .limit(1)
        )
    if last is None or last.told or not last.answer:
        return None
    return f"Alerts cannot be delivered to SCHEDULER_ALERT_WEBHOOK_URL: {last.answer}"


def _send_next(ctx: Context, http: Http, url: str) -> bool:
    """Post the oldest that is not told yet. False: there is none, or it has to wait."""
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        row = db.scalar(
            select(AlertDelivery)
            .where(AlertDelivery.settled_at.is_(None))
            .order_by(AlertDelivery.id)
            .limit(1)
            .with_for_update(skip_locked=True, key_share=True)
        )
        if row is None or row.next_at > now:
            return False
        alert = db.get_one(Alert, row.alert_id)
        config = db.get(SyncConfig, alert.config_id) if alert.config_id else None
        body = payload(url, _facts(ctx, alert, row.event, config.name if config else None))
        # Counted before it is sent, and not sent by anybody else meanwhile.
        row.attempts += 1
        row.next_at = now + timedelta(seconds=60)
        delivery_id, attempts, created_at = row.id, row.attempts, row.created_at
    wait, answer, settled = 0.0, "", True
    try:
        http.ask("POST", "", json=body)
    except RateLimited as problem:
        wait, answer, settled = problem.retry_after, problem.message, False
    except (RetryableError, OutcomeUnknown) as problem:
        wait, answer, settled = back_off(attempts, ctx.rand(), first=60), problem.message, False
    except ConnectorError as problem:
        answer = problem.message  # refused: the same again is refused again
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        given_up = not settled and now - created_at > KEPT_TRYING
        values: dict[str, Any] = {"answer": answer[:500], "next_at": now + timedelta(seconds=wait)}
        if settled or given_up:
            values |= {"settled_at": now, "told": not answer}
        db.execute(update(AlertDelivery).where(AlertDelivery.id == delivery_id).values(values))
    if answer:
        log.warning("alert.not_told", attempts=attempts, error=answer)
    return settled or given_up


def _give_up_all(ctx: Context) -> None:
    """Nobody is to be told: an address that is set later does not get what is old by then."""
    with ctx.reads() as db:
        if db.scalar(select(AlertDelivery.id).where(AlertDelivery.settled_at.is_(None)).limit(1)) is None:
            return
    with ctx.sessions.begin() as db:
        db.execute(
            update(AlertDelivery)
            .where(AlertDelivery.settled_at.is_(None))
            .values(settled_at=ctx.db_now(db), answer="")
        )


def _facts(ctx: Context, alert: Alert, event: str, sync: str | None) -> dict[str, Any]:
    link = ctx.settings.public_url
    if link and alert.config_id:
        link = f"{link}/configs/{alert.config_id}"
    return {
        "id": f"alert-{alert.id}",  # the same for what is raised and cleared
        "event": event,
        "kind": alert.kind,
        "sync": sync,
        "message": alert.message[:_LONGEST],
        "raised_at": iso(alert.raised_at),
        "cleared_at": iso(alert.cleared_at) if alert.cleared_at and event == "cleared" else None,
        "link": link,
    }


def payload(url: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What is posted: as Slack and Teams want it by their hosts, else the facts as they are."""
    host = httpx.URL(url).host
    title = "Recovered" if facts["event"] == "cleared" else "Needs attention"
    text = f"{title}: {facts['message']}"
    if host in ("hooks.slack.com", "hooks.slack-gov.com"):
        for sign, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            text = text.replace(sign, written)
        return {"text": text + (f"\n<{facts['link']}|Open in Syncline>" if facts["link"] else "")}
    if host.endswith(".environment.api.powerplatform.com"):
        card: dict[str, Any] = {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "body": [{"type": "TextBlock", "wrap": True, "text": text[:2000]}],
        }
        if facts["link"]:
            card["actions"] = [{"type": "Action.OpenUrl", "title": "Open in Syncline", "url": facts["link"]}]
        kind = "application/vnd.microsoft.card.adaptive"
        return {
            "type": "message",
            "attachments": [{"contentType": kind, "contentUrl": None, "content": card}],
        }
    return dict(facts)
