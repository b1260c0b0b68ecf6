"""What a form sent: trimmed, capped texts."""

from __future__ import annotations

from flask import request

REASON_LENGTH = 500


def text(name: str, limit: int) -> str:
    """A text field on one line, without what lies around it. Never longer than `limit`."""
    return " ".join(request.form.get(name, "").split())[:limit]


def reason() -> str:
    """Why somebody does what they do; may be empty."""
    return text("reason", REASON_LENGTH)


def request_key() -> str | None:
    """The key of the form that was sent: the same form sent twice asks for the same thing once."""
    return text("request_key", 64) or None
