"""Whether a request came from our own page: the form's token, and what the browser itself says.

A call by API token or cron secret brings no cookie that could be abused, and needs neither.
"""

from __future__ import annotations

from flask import Flask, abort, request
from flask_wtf.csrf import CSRFProtect

from web import auth

_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_OWN = frozenset({"same-origin", "none"})


def install(app: Flask) -> None:
    protect = CSRFProtect()
    app.config["WTF_CSRF_CHECK_DEFAULT"] = False  # `protect` is called below, for the requests it is for
    protect.init_app(app)

    def from_our_page() -> None:
        if request.method not in _UNSAFE or request.endpoint is None or auth.comes_without_cookie():
            return
        # Absent on plain http and from old browsers: then the token alone decides.
        said = request.headers.get("Sec-Fetch-Site")
        if said is not None and said not in _OWN:
            abort(403)
        protect.protect()

    app.before_request(from_our_page)
