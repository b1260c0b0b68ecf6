"""The language of a page: which there are, which one this request gets, and where its texts come from.

English stands in the sources. Every other language is a file web/translations/NAME/LC_MESSAGES/messages.po,
read as it is when somebody first asks for it: nothing is compiled, nothing is built. `en-XA` is the proof:
English with accents, longer and in brackets, so that a text that nobody marked shows at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path
from threading import Lock

from babel import Locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent
from babel.support import NullTranslations, Translations
from flask import Flask, Response, g, has_request_context, request
from markupsafe import Markup

ENGLISH, PROOF = "en", "en-XA"
# By their own names: whoever cannot read the page finds their language.
LANGUAGES: Mapping[str, str] = {ENGLISH: "English", "de": "Deutsch"}
LANGUAGE_COOKIE = "language"
FOLDER = Path(__file__).with_name("translations")


def install(app: Flask) -> None:
    app.jinja_env.globals.update(_=_in_template, ngettext=_counted_in_template, counted=counted)
    app.jinja_env.filters.update(number=number, size=size, inside=inside)
    app.context_processor(lambda: {"language": language()})
    app.after_request(_told)


def language() -> str:
    """The language of this request: as chosen, else what the browser asks for, else English.

    Programs are always answered in English, and so is whoever asks outside of a request.
    """
    if not has_request_context():
        return ENGLISH
    found: str | None = g.get("language")
    if found is None:
        g.language = found = _wanted()
    return found


def _wanted() -> str:
    if request.path == "/api" or request.path.startswith("/api/"):
        return ENGLISH
    chosen = request.cookies.get(LANGUAGE_COOKIE, "")
    if is_known(chosen):
        return chosen
    return request.accept_languages.best_match([*LANGUAGES, PROOF], default=ENGLISH)


def is_known(name: str) -> bool:
    return name in LANGUAGES or name == PROOF


def locale() -> str:
    """The rules for numbers and plurals of this request's language; the proof has those of English."""
    found = language()
    return ENGLISH if found == PROOF else found


def mark(text: str) -> str:
    """A text that a table holds, to be translated where it is used."""
    return text


def forms(one: str, many: str) -> tuple[str, str]:
    """Both forms of a text that a table holds, for `counted`."""
    return one, many


def _(text: str, /, **named: object) -> str:
    """The text in the language of this request, its named places filled in."""
    said: str = _texts(language()).ugettext(text)
    return said % named if named else said


def counted(one: str, many: str, num: int, /, **named: object) -> str:
    """The form for this number, which stands in it as `%(num)s`: `1 record`, `1,204 records`."""
    said: str = _texts(language()).ungettext(one, many, num)
    return said % {"num": number(num), **named}


def _in_template(text: str, /, **named: object) -> Markup:
    """The text with the tags that it has itself; what is named is escaped. `%%` is a percent sign."""
    said = language()
    return Markup(_texts(said).ugettext(text)) % named if named else _without_places(said, text)  # noqa: S704


def _counted_in_template(one: str, many: str, num: int, /) -> Markup:
    return Markup(_texts(language()).ungettext(one, many, num)) % {"num": num}  # noqa: S704


@lru_cache(maxsize=4096)
def _without_places(language: str, text: str) -> Markup:
    return Markup(_texts(language).ugettext(text)) % {}  # noqa: S704


def number(value: int) -> str:
    """A whole number as this language groups it: `1,204`."""
    return f"{value:,}".replace(",", _signs(locale())["group"])


def decimal(value: float) -> str:
    """A number with one place after the sign that this language has for it: `0.4`."""
    return f"{value:.1f}".replace(".", _signs(locale())["decimal"])


def percent(share: float | Decimal) -> str:
    """`12%`, `12 %`."""
    return _percent(share, locale())


def amount(value: Decimal) -> str:
    """Any number, with all its places: `1,250.50`."""
    said: str = format_decimal(value, locale=locale(), decimal_quantization=False)
    return said


def size(number: int) -> str:
    """So many bytes: `31 Bytes`, `38.4 kB`."""
    if number < 1000:
        return counted("%(num)s Byte", "%(num)s Bytes", number)
    places = next(place for place in (1, 2, 3) if number < 1000 ** (place + 1) or place == 3)
    return f"{decimal(number / 1000**places)} {('kB', 'MB', 'GB')[places - 1]}"


def inside(text: str) -> str:
    """A state as it stands within a sentence. Languages name states by words that are no nouns."""
    return text[:1].lower() + text[1:]


def weekday(moment: datetime) -> str:
    """`Mon`."""
    return _weekdays(locale())[moment.weekday()]


def month(moment: datetime) -> str:
    """`Nov`."""
    return _months(locale())[moment.month]


def day_of_week(number: int) -> str:
    """`Monday`; Monday is 0."""
    return _days(locale())[number]


def month_of_year(number: int) -> str:
    """`November`; January is 1."""
    return _year(locale())[number]


@lru_cache(maxsize=4096)
def _percent(share: float | Decimal, name: str) -> str:
    said: str = format_percent(share, "#,##0%" if name == ENGLISH else None, locale=name)
    return said


@cache
def _signs(name: str) -> Mapping[str, str]:
    return dict(Locale.parse(name).number_symbols["latn"])


@cache
def _weekdays(name: str) -> Mapping[int, str]:
    return dict(Locale.parse(name).days["format"]["abbreviated"])


@cache
def _days(name: str) -> Mapping[int, str]:
    return dict(Locale.parse(name).days["format"]["wide"])


@cache
def _year(name: str) -> Mapping[int, str]:
    return dict(Locale.parse(name).months["format"]["wide"])


@cache
def _months(name: str) -> Mapping[int, str]:
    return dict(Locale.parse(name).months["format"]["abbreviated"])


def in_proof(text: str) -> str:
    """The text as the proof shows it: named places and tags stay, the rest is accented and a third longer."""
    pieces = _KEPT.split(text)
    return "⟦" + "".join(piece if n % 2 else _accented(piece) for n, piece in enumerate(pieces)) + "⟧"


_KEPT = re.compile(r"(%\(\w+\)s|%%|<[^>]*>|&\w+;)")
_ACCENTS = str.maketrans("aeioucdhlnrstyzAEIOUCDLNRSTYZ", "áéíóúçđħłñřšťýžÁÉÍÓÚÇĐŁÑŘŠŤÝŽ")


def _accented(text: str) -> str:
    return re.sub("([aeiou])", r"\1\1", text).translate(_ACCENTS)


class _Proof(NullTranslations):
    def ugettext(self, message: str) -> str:
        return in_proof(message)

    def ungettext(self, singular: str, plural: str, num: int) -> str:
        return in_proof(singular if num == 1 else plural)


_LOADED: dict[str, NullTranslations] = {ENGLISH: NullTranslations(), PROOF: _Proof()}
_LOADING = Lock()


def _texts(name: str) -> NullTranslations:
    """The catalogue of a language, read once per process."""
    found = _LOADED.get(name)
    if found is None:
        with _LOADING:
            found = _LOADED.get(name) or _read(FOLDER / name / "LC_MESSAGES" / "messages.po")
            _LOADED[name] = found
    return found


def _read(path: Path) -> Translations:
    with path.open("rb") as file:
        catalogue = read_po(file)
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return Translations(compiled)


def _told(response: Response) -> Response:
    if response.mimetype == "text/html":
        response.headers["Content-Language"] = language()
        response.vary.add("Accept-Language")
    return response
