"""Settings: what the workspace is called, and what the environment sets for the installation."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from tasks import telling
from web.auth import needs, person
from web.database import ctx
from web.live import page
from web.reads import installation

bp = Blueprint("settings", __name__)


@bp.get("/settings")
@needs("administer")
def show() -> ResponseReturnValue:
    """The inside of the installation is for who keeps it; a workspace in it may belong to somebody else."""
    settings = ctx().settings
    keeps = settings.is_local or person().email in settings.admin_emails
    return page(
        "settings/show.html",
        settings=settings,
        installation=installation.of(ctx()) if keeps else None,
        alerts_go_to=installation.host_of(settings.alert_webhook_url),
        untold=telling.trouble(ctx()),
        queue_answers=ctx().queue_answers(),
    )
