"""Language files hold exactly the texts of the panel."""

from __future__ import annotations

import re

import pytest

from tests import catalogue
from web.languages import ENGLISH, LANGUAGES

_PLACE = re.compile(r"%\(\w+\)s")


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
        assert known == {message.id for message in catalogue.extracted()}
        assert catalogue.untranslated(catalogue.read(files[name])) == []
