"""schemathesis sends what the API's own document allows, and what it does not, to a panel that listens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.security.service import CANARY, CRON, listening
from tests.web.test_doors import dump
from tests.web.world import OWN

pytestmark = [pytest.mark.security, pytest.mark.timeout(1500)]

# They end the token or the person that the requests are sent with; tests/web tries them one by one.
ENDS_THE_CALLER = ("tokens.revoke", "people.remove", "people.set_role", "account.end")
SETTINGS = Path(__file__).parent / "schemathesis.toml"


def fuzz(
    folder: Path, address: str, token: str, *more: str, phases: str, examples: int
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(SETTINGS),
            "run", f"{address}/api/v1/openapi.json",
            "--header", f"Authorization: Bearer {token}",
            "--header", f"X-Cron-Key: {CRON}", *more,
            *(word for name in ENDS_THE_CALLER for word in ("--exclude-operation-id", name)),
            "--checks", "all", "--phases", phases,
            "--max-examples", str(examples), "--seed", "7", "--no-color", "--workers", "1",
        ],
        cwd=folder,  # where it keeps its notes
        capture_output=True, text=True, timeout=740, check=False,
    )  # fmt: skip


def test_two_people_in_two_workspaces_break_nothing_and_see_nothing_of_each_other(tmp_path: Path) -> None:
    with listening(tmp_path) as service:
        before = _of_acme(dump(service.world))
        done = fuzz(
            tmp_path,
            service.address,
            service.charlie,
            "--exclude-tag",
            "outside",
            phases="coverage,fuzzing",
            examples=6,
        )
        assert service.leaks == []
        assert service.broken == []
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        assert _of_acme(dump(service.world)) == before, "somebody else's rows were touched"
        done = fuzz(tmp_path, service.address, service.alice, phases="fuzzing", examples=6)
        assert service.broken == []
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def _of_acme(rows: list[tuple[str, list[tuple[object, ...]]]]) -> list[str]:
    """What of the database belongs to Alice's workspace."""
    return sorted(
        f"{name}: {row}"
        for name, found in rows
        for row in found
        if (CANARY in str(row) or f"'{OWN}'" in str(row)) and name not in ("processes", "maintenance_jobs")
    )
