"""What the browser loads: a fixed table of files, each under a URL that holds its own hash.

Bootstrap's style sheet and icons come from the Bootstrap-Flask package, htmx from django-js-lib-htmx:
single files out of site-packages, never their folders. Nothing comes from another host.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from flask import Blueprint, Flask, Response, abort, current_app, request, url_for
from flask.typing import ResponseReturnValue

from web.auth import public

bp = Blueprint("assets", __name__)

# The symbols in use, cut out of a sprite of 1.1 MB. A template that names another one fails its test.
ICONS = (
    "arrow-counterclockwise",
    "arrow-left",
    "arrow-left-right",
    "arrow-repeat",
    "arrow-right",
    "bell",
    "bell-slash",
    "box-arrow-right",
    "calendar3",
    "check-circle-fill",
    "chevron-down",
    "chevron-left",
    "chevron-right",
    "circle-half",
    "clock",
    "clock-history",
    "dash-circle-fill",
    "exclamation-triangle-fill",
    "eye",
    "funnel",
    "hand-index-thumb",
    "hourglass-split",
    "house",
    "info-circle-fill",
    "journal-text",
    "list",
    "moon-stars",
    "pause-circle-fill",
    "pause-fill",
    "people",
    "play-fill",
    "plug",
    "question-circle-fill",
    "search",
    "shield-lock",
    "signpost-split",
    "sliders",
    "skip-forward-fill",
    "slash-circle-fill",
    "stop-circle",
    "sun",
    "wifi-off",
    "x-circle-fill",
    "x-lg",
)

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_A_YEAR = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    body: bytes
    packed: bytes  # the same, gzipped once
    digest: str
    mimetype: str


def install(app: Flask) -> None:
    """Read the files once and serve them; templates say `asset('panel.css')`, `icon_url('x-lg')`."""
    app.extensions["assets"] = _all()
    app.register_blueprint(bp)
    app.jinja_env.globals.update(asset=asset_url, icon_url=icon_url)


def asset_url(name: str) -> str:
    """The address of an asset; it changes with the content."""
    return _url(request.script_root, name, _assets()[name].digest)


@cache
def _url(_script_root: str, name: str, digest: str) -> str:
    """A page names its icons a hundred times over: an address is made once for each place of the panel."""
    return url_for("assets.show", digest=digest, name=name)


def icon_url(name: str) -> str:
    """The address of one symbol of the sprite."""
    if name not in ICONS:
        raise LookupError(f"'{name}' is not in web.assets.ICONS")
    return f"{asset_url('icons.svg')}#{name}"


@bp.get("/assets/<digest>/<name>")
@public
def show(digest: str, name: str) -> ResponseReturnValue:
    asset = _assets().get(name)
    if asset is None:
        abort(404)
    packed = request.accept_encodings.quality("gzip") > 0
    response = Response(asset.packed if packed else asset.body, mimetype=asset.mimetype)
    if packed:
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    # A page from before an update asks under the old hash: it gets today's file, but may not keep it.
    response.headers["Cache-Control"] = _A_YEAR if digest == asset.digest else "no-cache"
    return response


@cache
def _all() -> Mapping[str, Asset]:
    return {name: _asset(name, body) for name, body in _bodies().items()}


def _assets() -> Mapping[str, Asset]:
    found: Mapping[str, Asset] = current_app.extensions["assets"]
    return found


def _bodies() -> dict[str, bytes]:
    bootstrap = files("flask_bootstrap") / "static" / "bootstrap5"
    own = files("web") / "static"
    return {
        "bootstrap.css": _without_map((bootstrap / "css" / "bootstrap.min.css").read_bytes()),
        "htmx.js": (files("js_lib_htmx") / "static" / "htmx" / "htmx.min.js").read_bytes(),
        "icons.svg": _sprite((bootstrap / "icons" / "bootstrap-icons.svg").read_text("utf-8")),
        "logo.svg": (own / "logo.svg").read_bytes(),
        "panel.css": (own / "panel.css").read_bytes(),
        "panel.js": (own / "panel.js").read_bytes(),
    }


def _asset(name: str, body: bytes) -> Asset:
    return Asset(
        body=body,
        packed=gzip.compress(body, mtime=0),
        digest=hashlib.sha256(body).hexdigest()[:16],
        mimetype=_TYPES[name[name.rindex(".") :]],
    )


def _without_map(style: bytes) -> bytes:
    """The style sheet without the note where its source map lies: it is not served."""
    return re.sub(rb"/\*# sourceMappingURL=\S+ \*/", b"", style)


def _sprite(whole: str) -> bytes:
    symbols = dict(re.findall(r'(?s)<symbol[^>]*?(viewBox="[^"]+" id="[^"]+")>(.*?)</symbol>', whole))
    by_id = {re.findall(r'id="([^"]+)"', head)[0]: (head, body) for head, body in symbols.items()}
    missing = [name for name in ICONS if name not in by_id]
    if missing:
        raise LookupError(f"the package's sprite has no symbol {', '.join(missing)}")
    kept = "".join(f"<symbol {head}>{body}</symbol>" for head, body in (by_id[name] for name in ICONS))
    return f'<svg xmlns="http://www.w3.org/2000/svg">{kept}</svg>'.encode()
