"""A full disk."""

from __future__ import annotations

from typing import Any


def fault_run() -> dict[str, Any]:
    return {}
