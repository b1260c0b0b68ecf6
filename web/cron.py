"""The secret that outside cron set-ups send: in `x-cron-key`, or as a bearer token."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from werkzeug.datastructures import Headers

LONGEST = 1000  # characters of a secret; more is none of ours


def knows_the_secret(secrets: Sequence[str], headers: Headers) -> bool:
    """Whether a request brings one of the secrets: two are valid while they are rotated.

    Every secret is compared with what was sent, in a time that does not depend on how much of it fits.
    """
    sent = headers.getlist("X-Cron-Key")
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if not sent and scheme.lower() == "bearer":
        sent = [token.strip()]
    if len(sent) != 1 or not sent[0] or len(sent[0]) > LONGEST:
        return False
    said = sent[0].encode("utf-8", "surrogateescape")
    fits = [hmac.compare_digest(said, secret.encode()) for secret in secrets]
    return any(fits)
