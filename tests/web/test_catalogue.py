"""Language files hold exactly the texts of the panel."""

from __future__ import annotations

import ast
import re

import pytest

from tests import catalogue
from tests.catalogue import WEB
from web.languages import ENGLISH, LANGUAGES
from web.words import AUDITED

_PLACE = re.compile(r"%\(\w+\)s")
_TAG = re.compile(r"<[^>]*>")


def test_every_text_of_the_panel_is_gathered() -> None:
    found = {str(message.id) for message in catalogue.extracted() if message.id}
    for said in (
        "Needs attention",  # a template and a table
        "The system refuses these values",  # a table of causes
        "Almost every record would be changed in the same field.",  # of the engine
        "Personal access token",  # an option of a connector
        "Set the language",
    ):
        assert said in found
    assert str(("%(num)s record", "%(num)s records")) in found


def test_both_forms_of_a_number_have_the_same_places() -> None:
    for message in catalogue.extracted():
        if isinstance(message.id, tuple):
            one, many = (set(_PLACE.findall(text)) - {"%(num)s"} for text in message.id)
            assert one == many, message.id


@pytest.mark.parametrize("name", sorted(set(LANGUAGES) - {ENGLISH}) or [ENGLISH])
def test_language_files_are_whole_and_up_to_date(name: str) -> None:
    """`make words` mends the first; only a person mends the second."""
    files = {path.parts[-3]: path for path in catalogue.languages()}
    assert set(LANGUAGES) - {ENGLISH} <= set(files)
    if name in files:
        known = {message.id for message in catalogue.read(files[name])}
        here = {message.id for message in catalogue.extracted()}
        assert here - known == set(), f"`make words` brings them into {files[name]}; say them there"
        assert known - here == set(), f"`make words` takes them out of {files[name]}"
        assert catalogue.untranslated(catalogue.read(files[name])) == [], f"say them in {files[name]}"


@pytest.mark.parametrize("name", sorted(set(LANGUAGES) - {ENGLISH}))
def test_translations_keep_the_places_and_the_tags(name: str) -> None:
    """A named place that is missing is a word that nobody reads; one too many ends the page."""
    for message in catalogue.read(next(path for path in catalogue.languages() if path.parts[-3] == name)):
        texts = [message.id] if isinstance(message.id, str) else list(message.id)
        said = [message.string] if isinstance(message.string, str) else list(message.string or ())
        for english, other in zip(texts, said, strict=True):
            assert sorted(_PLACE.findall(english)) == sorted(_PLACE.findall(other)), english
            assert sorted(_TAG.findall(english)) == sorted(_TAG.findall(other)), english


def test_every_act_of_the_audit_has_words() -> None:
    """Acts whose names are put together (of the cron endpoints) are told by their code."""
    found = {
        item.value
        for path in (WEB.parent / "tasks").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and _name(call.func) in ("record", "_record")
        for argument in call.args[1:2]
        for item in ast.walk(argument)
        if isinstance(item, ast.Constant) and re.fullmatch(r"[a-z_]+\.[a-z_]+", str(item.value))
    }
    assert len(found) > 50
    assert found - set(AUDITED) == set()


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
