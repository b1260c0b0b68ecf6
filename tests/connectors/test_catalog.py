"""Connectors are found by looking; a typo is answered with the right word."""

from __future__ import annotations

import subprocess
import sys

import pytest

from connectors import catalog
from connectors.base import Connector
from connectors.errors import OptionsError


def test_the_kit_is_not_a_connector() -> None:
    assert {"csv", "memory", "sql"} <= set(catalog.names())
    assert not {"base", "catalog", "errors", "files", "addresses", "dialects"} & set(catalog.names())


@pytest.mark.parametrize("name", catalog.names())
def test_each_module_holds_the_connector_of_its_name(name: str) -> None:
    found = catalog.get(name)
    assert issubclass(found, Connector)
    assert found.name == name
    assert found.title
    assert found.__doc__


def test_a_typo_is_answered_with_the_nearest_word() -> None:
    with pytest.raises(OptionsError, match="Did you mean 'memory'"):
        catalog.get("Memroy")


def test_an_unknown_name_is_a_key_error_with_a_readable_sentence() -> None:
    with pytest.raises(KeyError) as caught:
        catalog.get("zzz")
    assert str(caught.value).startswith("There is no connector 'zzz'. The connectors are: ")


def test_names_imports_no_connector() -> None:
    code = (
        "import sys; from connectors import catalog; catalog.names();"
        "sys.exit(any(f'connectors.{name}' in sys.modules for name in catalog.names()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class _Point:
    def __init__(self, name: str, loaded: object) -> None:
        self.name, self.value, self._loaded = name, f"acme:{name}", loaded

    def load(self) -> object:
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    points: dict[str, object] = {}

    def entry_points(*, group: str) -> list[_Point]:
        assert group == "syncline.connectors"
        return [_Point(name, loaded) for name, loaded in points.items()]

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    return points


def test_a_third_party_connector_is_found_by_its_entry_point(installed: dict[str, object]) -> None:
    memory = catalog.get("memory")
    installed["acme"] = memory
    assert "acme" in catalog.names()
    assert catalog.get("acme") is memory


def test_a_third_party_cannot_take_the_place_of_our_own(installed: dict[str, object]) -> None:
    installed["memory"] = object
    assert catalog.get("memory").name == "memory"


@pytest.mark.parametrize("loaded", [object, ImportError("no module named acme")])
def test_a_broken_third_party_is_named(installed: dict[str, object], loaded: object) -> None:
    installed["acme"] = loaded
    with pytest.raises(OptionsError, match=r"acme.*Reinstall"):
        catalog.get("acme")
