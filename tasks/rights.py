"""What people may do: capabilities, and the roles that are names for bundles of them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from models.people import Role


class Capability(StrEnum):
    READ = "read"
    REVEAL = "reveal"  # what the calls of a run carried: more of a person than a sync takes part in
    EXPORT = "export"
    RUN = "run"
    CANCEL = "cancel"
    PAUSE = "pause"
    RETRY = "retry"
    RESOLVE = "resolve"
    APPROVE = "approve"
    EDIT = "edit"
    CONNECT = "connect"
    ADMINISTER = "administer"


_READS = frozenset({Capability.READ, Capability.EXPORT})
_WORKS = _READS | {
    Capability.REVEAL,
    Capability.RUN,
    Capability.CANCEL,
    Capability.PAUSE,
    Capability.RETRY,
    Capability.RESOLVE,
    Capability.APPROVE,
}

MAY: Mapping[Role, frozenset[Capability]] = {
    Role.VIEWER: _READS,
    Role.OPERATOR: _WORKS,
    Role.ADMIN: frozenset(Capability),
}
