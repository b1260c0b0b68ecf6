"""A second line behind the form's token: what the browser itself says of where a request came from."""

from __future__ import annotations

from flask import Flask, abort, request

_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_OWN = frozenset({"same-origin", "none"})


def install(app: Flask) -> None:
    app.before_request(_refuse_other_sites)


def _refuse_other_sites() -> None:
    # Absent on plain http and from old browsers: then the token alone decides.
    said = request.headers.get("Sec-Fetch-Site")
    if request.method in _UNSAFE and said is not None and said not in _OWN:
        abort(403)
