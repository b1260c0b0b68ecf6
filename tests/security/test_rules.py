"""The code keeps the house's own rules of safety: semgrep by our rules, bandit, and what neither reads."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.security, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
ROOMS = ("connectors", "models", "sync", "tasks", "web")
SEMGREP = ROOT / ".venv-semgrep" / "bin" / "semgrep"  # its pins are no part of ours
CONTROL = "tests/security/semgrep_control.py"


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, int, str]]:
    """File, line and rule of everything that semgrep finds in our code and in the control."""
    if not SEMGREP.exists():
        if os.environ.get("CI"):
            pytest.fail("CI must not leave out semgrep: make test-security installs it", pytrace=False)
        pytest.skip("no semgrep: make test-security installs it")
    done = subprocess.run(
        [
            str(SEMGREP), "scan", "--config", "tests/security/semgrep.yaml", "--metrics", "off",
            "--disable-version-check", "--json", "--quiet", "--no-git-ignore",
            *ROOMS, "cli.py", "settings.py", CONTROL,
        ],
        cwd=ROOT,
        # It keeps notes at home, and must get along without any network.
        env={"PATH": f"{SEMGREP.parent}:{os.environ['PATH']}", "HOME": str(tmp_path_factory.mktemp("home"))}
        | dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:1"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr[-4000:]
    told = json.loads(done.stdout)
    assert told["errors"] == [], "what it cannot read, it cannot judge"
    return {
        (item["path"], item["start"]["line"], item["check_id"].rpartition(".")[2]) for item in told["results"]
    }


def test_the_code_keeps_the_rules(findings: set[tuple[str, int, str]]) -> None:
    assert sorted(item for item in findings if item[0] != CONTROL) == []


def test_the_rules_see_what_they_are_for(findings: set[tuple[str, int, str]]) -> None:
    """The negative control: each of its lines is found, by the rules that it names."""
    expected = set(_marked())
    assert {item for item in findings if item[0] == CONTROL} == expected
    rules = re.findall(r"^  - id: (\S+)", (ROOT / "tests/security/semgrep.yaml").read_text(), re.MULTILINE)
    assert {rule for _, _, rule in expected} == set(rules)


def _marked() -> Iterator[tuple[str, int, str]]:
    for number, line in enumerate((ROOT / CONTROL).read_text(encoding="utf-8").splitlines(), start=1):
        _, _, rules = line.partition("# ruleid: ")
        yield from ((CONTROL, number, rule) for rule in rules.split(", ") if rule)


def test_no_template_lets_text_through_unescaped() -> None:
    for path in sorted((ROOT / "web" / "templates").rglob("*.html")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*safe\b|autoescape\s+false|\son[a-z]+=|\sstyle=", text), path


def test_bandit_finds_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bandit", "-q", "-r", *ROOMS, "cli.py", "settings.py", "-ll", "-f", "txt",
         # ruff's S104, S301, S608 and S704 are the same checks, with the reason where one is left out.
         "--skip", "B104,B301,B608,B704"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
