"""What no log line, error or answer may contain: the secrets that this process has decrypted, in any form.

The last line behind the rule that nobody writes them there. Filled whenever a secret is decrypted.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

REMOVED = "•••"
SHORTEST = 6  # a shorter one would take harmless words out of every sentence
MOST = 2000

_lock = threading.Lock()
_known: dict[str, None] = {}  # the newest last
_pattern: re.Pattern[str] | None = None


def remember(secrets: Iterable[object]) -> None:
    """Know these secrets from now on, also as base64, in an address and in JSON."""
    global _pattern
    new = [text for text in secrets if isinstance(text, str) and len(text) >= SHORTEST]
    if all(text in _known for text in new):
        return
    with _lock:
        for text in new:
            _known.pop(text, None)
            _known[text] = None
        while len(_known) > MOST:
            del _known[next(iter(_known))]
        forms = {form for text in _known for form in _forms(text)}
        _pattern = re.compile("|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True)))


def clean(text: str) -> str:
    """The text without any secret that this process has decrypted."""
    return _pattern.sub(REMOVED, text) if _pattern is not None else text


def _forms(text: str) -> Iterable[str]:
    yield text
    yield quote(text, safe="")
    yield quote_plus(text)
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    raw = text.encode()
    for encoded in (base64.b64encode(raw), base64.urlsafe_b64encode(raw)):
        yield encoded.decode().rstrip("=")
