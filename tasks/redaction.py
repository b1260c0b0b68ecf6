"""What no log line, error or answer may contain: the secrets that this process has decrypted, in any form.

The last line behind the rule that nobody writes them there. Filled whenever a secret is decrypted.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterable, Mapping
from urllib.parse import quote, quote_plus

REMOVED = "•••"
SHORTEST = 6  # a shorter one would take harmless words out of every sentence
MOST = 2000

# Names whose values are credentials, whoever made them up; in headers any kind of key is one.
_NAMES = (
    r"token|secret|passw|credential|signature|authori[sz]ation|assertion|cookie|auth[-_]?data|jwt|otp|pin\b"
)
_KEYS = r"(?:api|access|master|private|client|rest|session|encryption)[-_]?key"
_HEADER = re.compile(f"{_NAMES}|{_KEYS}|key|session|authenticat", re.IGNORECASE)
# The lengths are bounded: what a system answers must not make the search slow.
_IN_JSON = re.compile(
    rf'("[^"\\]{{0,100}}(?:{_NAMES}|{_KEYS})[^"\\]{{0,100}}"\s*:\s*)'
    r'(?:"(?:[^"\\]|\\.)*(?:"|\\?$)|[^\s"\[{,}\]]+)',
    re.IGNORECASE,
)
_IN_FORM = re.compile(
    rf"((?:^|[?&])[^=&?\s]{{0,100}}(?:{_NAMES}|{_KEYS})[^=&\s]{{0,100}}=)[^&\s]+", re.IGNORECASE
)


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


def masked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a call as they may be kept: credentials go by their names, known ones everywhere."""
    return {
        name: REMOVED if _HEADER.search(name) else clean(masked_form(value))
        for name, value in headers.items()
    }


def masked_body(text: str) -> str:
    """What a call carried as it may be kept: JSON or a form, whole or cut off at its end."""
    return masked_form(_IN_JSON.sub(rf'\g<1>"{REMOVED}"', clean(text)))


def masked_form(text: str) -> str:
    """The same for the query of an address."""
    return _IN_FORM.sub(rf"\g<1>{REMOVED}", clean(text))


def _forms(text: str) -> Iterable[str]:
    yield text
    yield quote(text, safe="")
    yield quote_plus(text)
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    raw = text.encode()
    for encoded in (base64.b64encode(raw), base64.urlsafe_b64encode(raw)):
        yield encoded.decode().rstrip("=")
