"""The response headers that every answer carries."""

from __future__ import annotations

from flask import Flask, Response

# Bootstrap's style sheet embeds its small arrows as data: images. Nothing else may come from elsewhere.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
ONE_YEAR = 365 * 24 * 3600


def install(app: Flask, *, https: bool) -> None:
    """Put the headers on every answer of the app; HSTS only where people come by https."""

    def add(response: Response) -> Response:
        headers = response.headers
        headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        headers["X-Content-Type-Options"] = "nosniff"
        headers["X-Frame-Options"] = "DENY"  # for what predates frame-ancestors
        # Flask-WTF compares the referrer on https: "no-referrer" would refuse every form.
        headers["Referrer-Policy"] = "same-origin"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
        if https:
            headers["Strict-Transport-Security"] = f"max-age={ONE_YEAR}; includeSubDomains"
        # Only the files under a hash may be kept; whatever shows somebody's records may not.
        headers.setdefault("Cache-Control", "no-store")
        return response

    app.after_request(add)
