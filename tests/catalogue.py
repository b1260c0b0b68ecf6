"""The texts of the panel, gathered from its sources, and the language files that follow them.

`python -m tests.catalogue` brings every file of web/translations/ up to date: new texts come in empty, the
ones that no page uses go out, what is translated stays. `python -m tests.catalogue fr` begins a language;
its name in `web.languages.LANGUAGES` offers it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from babel import Locale
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from connectors import catalog as connectors
from settings import VARIABLES
from sync.guard import SENTENCES
from tasks import jobs
from web.languages import FOLDER
from web.words import first_sentence, plain

WEB = FOLDER.parent
KEYWORDS = {
    "_": None, "mark": None, "gettext": None, "ngettext": (1, 2), "counted": (1, 2), "forms": (1, 2),
}  # fmt: skip
_METHODS = [("templates/api/**", "ignore"), ("templates/**.html", "jinja2"), ("**.py", "python")]
_OPTIONS = {"templates/**.html": {"trim_blocks": "true", "lstrip_blocks": "true", "newstyle_gettext": "true"}}


def extracted() -> Catalog:
    """Every text that the panel can say, in the order of the files that say it."""
    found = Catalog(charset="utf-8", fuzzy=False)
    rows = extract_from_dir(WEB, _METHODS, _OPTIONS, KEYWORDS, comment_tags=("Translators:",))
    for name, _line, message, comments, context in sorted(rows, key=lambda row: (row[0], row[1])):
        # Without line numbers: an edit elsewhere in a file is no change of its texts.
        found.add(message, None, [(f"web/{name}", 0)], auto_comments=comments, context=context)
    for place, message in _foreign():
        found.add(message, None, [(place, 0)])
    return found


def _foreign() -> Iterator[tuple[str, str]]:
    """Fixed sentences of other floors, which know nothing of languages, that the panel shows."""
    for sentence in SENTENCES.values():
        yield "sync/guard.py", sentence
    for meaning in VARIABLES.values():
        yield "settings.py", meaning
    for job in jobs.registry().values():
        yield "tasks/maintenance", plain(job.name)
        yield "tasks/maintenance", job.sentence
    for name in connectors.names():
        kind = connectors.get(name)
        yield f"connectors/{name}.py", kind.title
        if summary := first_sentence(kind.__doc__):
            yield f"connectors/{name}.py", summary
        for model in (kind.Options, kind.StreamOptions):
            for option, info in model.model_fields.items():
                yield f"connectors/{name}.py", info.title or plain(option)
                if info.description:
                    yield f"connectors/{name}.py", info.description


def languages() -> list[Path]:
    """The language files there are."""
    return sorted(FOLDER.glob("*/LC_MESSAGES/messages.po"))


def read(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, locale=path.parts[-3])


def brought_up_to_date(path: Path) -> bytes:
    """What the language file should hold: this text for text, with the translations that it has."""
    found = read(path) if path.exists() else Catalog(locale=Locale.parse(path.parts[-3]), charset="utf-8")
    found.update(extracted(), no_fuzzy_matching=True, update_creation_date=False)
    found.obsolete.clear()
    found.fuzzy = False
    found.header_comment = f"# The texts of the panel: {found.locale.english_name if found.locale else ''}."
    found.project, found.version, found.msgid_bugs_address = "Syncline", "", ""
    found.last_translator = found.language_team = ""
    written = BytesIO()
    write_po(written, found, width=100, include_lineno=False)
    return written.getvalue()


def untranslated(found: Catalog) -> list[str]:
    """The texts that a language file does not say."""
    missing = []
    for message in found:
        said = message.string if isinstance(message.string, list | tuple) else [message.string]
        if message.id and not all(said):
            missing.append(str(message.id))
    return missing


def main() -> None:
    print(f"{len(extracted())} texts are marked")
    for name in sys.argv[1:]:
        (FOLDER / name / "LC_MESSAGES").mkdir(parents=True, exist_ok=True)
    begun = [FOLDER / name / "LC_MESSAGES" / "messages.po" for name in sys.argv[1:]]
    for path in [*languages(), *begun]:
        path.write_bytes(brought_up_to_date(path))
        empty = untranslated(read(path))
        print(f"{path}: {len(read(path))} texts, {len(empty)} to translate")


if __name__ == "__main__":
    main()
