"""The two ends of the demo: `crm.db`, a customer database, and `sheets/customers.csv`, a sheet.

Every value follows from its number, so two seeds are the same to the byte.
"""

from __future__ import annotations

import csv
import sqlite3
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

PEOPLE = 230  # 1 to 50 are only in the database, 51 to 200 in both, 201 to 230 only in the sheet
LAST_IN_DATABASE = 200
FIRST_IN_SHEET = 51

FIRST_NAMES = (
    "Zoë", "Anders", "José", "Chloé", "Björn", "María", "Łukasz", "Aoife", "Søren", "Inès", "Jürgen", "Ana",
    "Émile", "Freya", "Tomáš", "Noor", "Ágnes", "Luca", "Siân", "Mehmet", "Ingrid", "Renée", "Matteo",
)  # fmt: skip
LAST_NAMES = (
    "Müller", "García", "Nováková", "O’Brien", "Lindström", "Dubois", "Kowalski", "Ferreira", "Øverland",
    "Rossi", "Çelik", "Van Dijk", "Szabó", "Fernández", "MacLeod", "Björk", "Lefèvre", "Weiß", "Popescu",
)  # fmt: skip
COMPANIES = (
    "Café Marée", "Nordlys AS", "Bäckerei Huber", "Atelier Québec", "Señal Telecom", "Tilde & Co.",
    'Hotel "Zur Post"', "Ravn Logistik", "Óptica Lisboa", "Smith, Jones and Sons", "Fjord Outdoor",
)  # fmt: skip
NOTES = (
    "Prefers to be called in the afternoon",
    "Invoice to the head office; copy to accounting",
    'Asked for the "green" catalogue',
    "Déménage à Lyon en mars",
    "Pays by bank transfer, 30 days",
)
SEGMENTS = ("Retail", "Wholesale", "Partner")

SCHEMA = """
CREATE TABLE customers (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT NOT NULL UNIQUE,
    company TEXT,
    balance NUMERIC(12, 2),
    since DATE,
    active BOOLEAN NOT NULL DEFAULT 1,
    notes TEXT,
    updated_at DATETIME
)
"""
SHEET_COLUMNS = (
    "E-mail",
    "Customer",
    "Segment",
    "Account balance",
    "Company",
    "Customer since",
    "Active",
    "Remarks",
)


@dataclass(frozen=True, slots=True)
class Person:
    number: int
    name: str
    email: str
    company: str | None
    balance: Decimal | None
    since: date | None
    active: bool
    notes: str | None


def person(number: int) -> Person:
    """The person of this number, as the customer database knows them."""
    first = FIRST_NAMES[number % len(FIRST_NAMES)]
    last = LAST_NAMES[number % len(LAST_NAMES)]
    return Person(
        number=number,
        name=f"{first} {last}",
        email=f"{_plain(first)}.{_plain(last)}{number}@example.com",
        company=COMPANIES[number % len(COMPANIES)] if number % 7 else None,
        balance=Decimal(number * 7919 % 900_000 - 20_000).scaleb(-2) if number % 11 else None,
        since=date(2015, 1, 5) + timedelta(days=number * 17) if number % 13 else None,
        active=number % 9 != 0,
        notes=NOTES[number % len(NOTES)] if number % 4 == 0 else None,
    )


def as_in_sheet(known: Person) -> Person:
    """The same person as the sheet knows them: here and there somebody kept only one side up to date."""
    changed = known
    if known.number % 15 == 0 and known.balance is not None:
        changed = replace(changed, balance=known.balance + Decimal("12.50"))
    if known.number % 20 == 3:
        changed = replace(changed, company=f"{known.company or 'Atelier'} (new)")
    if known.number % 25 == 8:
        changed = replace(changed, notes=None if known.notes else "Met at the spring fair")
    return changed


def in_database() -> Iterator[Person]:
    return map(person, range(1, LAST_IN_DATABASE + 1))


def in_sheet() -> Iterator[Person]:
    return (as_in_sheet(person(number)) for number in range(FIRST_IN_SHEET, PEOPLE + 1))


def make(folder: Path) -> bool:
    """Put both ends into `folder`; what is there already stays as it is. Says whether it made anything."""
    made = False
    for path, write in ((database_in(folder), _write_database), (sheet_in(folder), _write_sheet)):
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f".{path.name}.new")  # a killed seed leaves no half of an end
        half.unlink(missing_ok=True)
        write(half)
        half.replace(path)
        made = True
    return made


def database_in(folder: Path) -> Path:
    return folder / "crm.db"


def sheet_in(folder: Path) -> Path:
    return folder / "sheets" / "customers.csv"


def notes_in_database(folder: Path) -> dict[str, str | None]:
    """E-mail -> note, as the database has them."""
    with closing(sqlite3.connect(database_in(folder))) as db:
        return dict(db.execute("SELECT email, notes FROM customers"))


def note_in_database(folder: Path, email: str, note: str) -> None:
    """Write a note about someone, as a person with a database tool would."""
    with closing(sqlite3.connect(database_in(folder))) as db, db:
        db.execute(
            "UPDATE customers SET notes = ?, updated_at = datetime('now') WHERE email = ?", (note, email)
        )


def notes_in_sheet(folder: Path) -> dict[str, str | None]:
    """E-mail -> remark, as the sheet has them."""
    return {row["E-mail"]: row["Remarks"] for row in _rows(sheet_in(folder))}


def note_in_sheet(folder: Path, email: str, note: str) -> None:
    """Write a remark about someone, as a person with a spreadsheet program would: it saves a new file."""
    path = sheet_in(folder)
    rows = [row | {"Remarks": note} if row["E-mail"] == email else row for row in _rows(path)]
    saved = path.with_name(f".{path.name}.saved")
    with saved.open("w", encoding="utf-8", newline="") as file:
        sheet = csv.DictWriter(file, list(rows[0]), delimiter=";")
        sheet.writeheader()
        sheet.writerows(rows)
    saved.replace(path)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=";"))


def _write_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(SCHEMA)
        db.executemany(
            "INSERT INTO customers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    each.number,
                    each.name,
                    each.email,
                    each.company,
                    None if each.balance is None else str(each.balance),
                    None if each.since is None else each.since.isoformat(),
                    int(each.active),
                    each.notes,
                    (datetime(2026, 1, 5, 8, 30) + timedelta(minutes=37 * each.number)).isoformat(" "),  # noqa: DTZ001
                )
                for each in in_database()
            ),
        )


def _write_sheet(path: Path) -> None:
    """As a spreadsheet program exports it: semicolons, CRLF, quotes where they are needed."""
    with path.open("w", encoding="utf-8", newline="") as file:
        sheet = csv.writer(file, delimiter=";")
        sheet.writerow(SHEET_COLUMNS)
        for each in in_sheet():
            sheet.writerow(
                (
                    each.email,
                    each.name,
                    SEGMENTS[each.number % len(SEGMENTS)],  # a column that nothing maps: it stays as it is
                    "" if each.balance is None else str(each.balance),
                    each.company or "",
                    "" if each.since is None else each.since.isoformat(),
                    "yes" if each.active else "no",
                    each.notes or "",
                )
            )


def _plain(name: str) -> str:
    """The name in ASCII letters, for an address."""
    for letter, ascii_letters in (("Ł", "L"), ("ł", "l"), ("Ø", "O"), ("ø", "o"), ("ß", "ss")):
        name = name.replace(letter, ascii_letters)
    bare = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii")
    return "".join(letter for letter in bare.lower() if letter.isalpha())
