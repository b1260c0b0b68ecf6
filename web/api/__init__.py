"""The API: what the panel does, for programs. One file per resource; `wire` declares operations."""

from __future__ import annotations

from flask import Flask


def install(app: Flask) -> None:
    from web.api import (
        account,
        audit,
        bulk,
        configs,
        conflicts,
        connections,
        drafts,
        held,
        issues,
        jobs,
        outside,
        people,
        questions,
        records,
        reference,
        runs,
        schedules,
        sync_jobs,
        tokens,
        workspaces,
    )

    for module in (
        workspaces,
        connections,
        questions,
        configs,
        drafts,
        runs,
        conflicts,
        held,
        records,
        schedules,
        jobs,
        issues,
        bulk,
        audit,
        people,
        account,
        tokens,
        sync_jobs,
        outside,
        reference,
    ):
        app.register_blueprint(module.bp)
