"""What a failure's code means to people: what happened, who can do something, whether it heals by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from web.languages import _, mark
from web.words import plain


@dataclass(frozen=True, slots=True)
class Cause:
    title: str
    who: str  # who must act
    heals: str  # whether it heals by itself, and when
    by_itself: bool = False


_NEXT_RUN = mark("Yes. The next run tries it again with fresh data.")
_AFTER_THE_FIX = mark("No. It goes on by itself with the first run after the fix.")

_ADMIN = mark("An administrator: correct the setting that the message names.")
_DATA = mark("Whoever keeps the data: correct the value that the message names.")
_ACCESS = mark("Whoever keeps the system: give the connection the access that the message names.")
_FILE = mark("Whoever keeps the file: put right what the message names.")
_OPERATOR = mark("The operator of Syncline: look into its log.")
_NOBODY_YET = mark("Nobody yet. If it goes on for an hour, ask the system's operator.")
_WITH_THE_VALUE = mark("When the value changes, it is tried again by itself.")

_CAUSES: Mapping[str, Cause] = {
    "address": Cause(
        mark("The address may not be reached"),
        _ADMIN,
        _AFTER_THE_FIX,
    ),
    "ambiguous_key": Cause(
        mark("More than one record has the same match value"),
        mark(
            "Whoever keeps the data: leave one record with this value, tell them apart, or link the right two"
            " on the record's page."
        ),
        _AFTER_THE_FIX,
    ),
    "auth": Cause(
        mark("The system refuses our credentials"),
        mark("An administrator: enter the credentials of the connection again."),
        _AFTER_THE_FIX,
    ),
    "bad_answer": Cause(
        mark("The system's answer made no sense"),
        _NOBODY_YET,
        _NEXT_RUN,
        by_itself=True,
    ),
    "bad_value": Cause(
        mark("A value cannot be read as its type"),
        _DATA,
        _WITH_THE_VALUE,
    ),
    "base": Cause(
        mark("The base is not one that the connection may use"),
        _ADMIN,
        _AFTER_THE_FIX,
    ),
    "broken_quotes": Cause(
        mark("A quote in the file has no end"),
        _FILE,
        _AFTER_THE_FIX,
    ),
    "bug": Cause(
        mark("Something went wrong inside Syncline"),
        _OPERATOR,
        mark("The next run tries it again. If it ends alike, the log has the details under the error id."),
    ),
    "changed": Cause(
        mark("The record changed while we worked on it"),
        mark("Nobody. The newer value is respected and decided on again."),
        _NEXT_RUN,
        by_itself=True,
    ),
    "client": Cause(
        mark("The system does not know this installation"),
        mark("The operator of Syncline: check the client id and its secret in the environment."),
        _AFTER_THE_FIX,
    ),
    "container_changed": Cause(
        mark("The table or file was replaced by another one"),
        mark("Somebody who knows whether that was meant: look at the held changes."),
        _AFTER_THE_FIX,
    ),
    "credentials": Cause(
        mark("The credentials of the connection cannot be used"),
        mark("An administrator: enter the credentials of the connection again."),
        _AFTER_THE_FIX,
    ),
    "cursor": Cause(
        mark("The place up to which was read is not valid any more"),
        mark("An administrator: read everything again, or correct the cursor."),
        _AFTER_THE_FIX,
    ),
    "database": Cause(
        mark("Syncline's own database did not answer"),
        mark("The operator of Syncline, if it goes on."),
        _NEXT_RUN,
        by_itself=True,
    ),
    "definition": Cause(
        mark("The definition of the sync does not fit its two ends"),
        _ADMIN,
        _AFTER_THE_FIX,
    ),
    "does_not_fit": Cause(
        mark("The other side cannot hold this value"),
        mark("Whoever keeps the data: choose a value that fits, or let the other side take it."),
        _WITH_THE_VALUE,
    ),
    "drift": Cause(
        mark("Somebody edited what this sync only writes"),
        mark("Whoever edited there: make the edit at the source, or take it back."),
        mark("When both sides hold the same again."),
    ),
    "duplicate_field": Cause(
        mark("A column is named twice"),
        _ADMIN,
        _AFTER_THE_FIX,
    ),
    "duplicate_header": Cause(
        mark("Two columns have the same name"),
        _FILE,
        _AFTER_THE_FIX,
    ),
    "duplicate_id": Cause(
        mark("Two records carry the same id"),
        mark("Whoever keeps the data: a row was probably copied. Empty the id of the copy."),
        _AFTER_THE_FIX,
    ),
    "edited_meanwhile": Cause(
        mark("The record was changed before it was corrected"),
        mark(
            "Whoever asked for the correction: look at the record, and correct it again if it is still wrong."
        ),
        mark("Nothing is left to heal: the newer value stands, and flows."),
    ),
    "encoding": Cause(
        mark("The file is not in its encoding"),
        _FILE,
        _AFTER_THE_FIX,
    ),
    "field_gone": Cause(
        mark("A field is not there any more"),
        mark("Whoever keeps the system: bring the field back, or take it out of the mapping."),
        _AFTER_THE_FIX,
    ),
    "file_missing": Cause(
        mark("A file did not arrive"),
        mark("Nobody yet. If it goes on, look at the file that the message names."),
        _NEXT_RUN,
        by_itself=True,
    ),
    "file_too_large": Cause(
        mark("A file is too large for the other side"),
        mark("Whoever keeps the data: put a smaller file in its place."),
        _WITH_THE_VALUE,
    ),
    "forbidden": Cause(
        mark("The connection may not do this in the system"),
        _ACCESS,
        _AFTER_THE_FIX,
    ),
    "formula": Cause(
        mark("A formula fills the cell"),
        mark("Whoever keeps the sheet: take the formula out, or let the field flow out of the sheet only."),
        _AFTER_THE_FIX,
    ),
    "grant_ended": Cause(
        mark("The sign-in to the system has ended"),
        mark("An administrator: reconnect it, under Connections. The paused syncs then go on."),
        _AFTER_THE_FIX,
    ),
    "interrupted": Cause(
        mark("The worker stopped three times in the middle of this run"),
        mark("The operator: look at the worker's memory and its log, then retry."),
        mark("No. The next scheduled run begins anew."),
    ),
    "lossy": Cause(
        mark("The other side keeps only a part of the value"),
        mark("Nobody has to: the whole value stays where it is. A shorter one, or more room there, ends it."),
        mark("When the value fits."),
    ),
    "lost_access": Cause(
        mark("A record can no longer be read"),
        _ACCESS,
        _AFTER_THE_FIX,
    ),
    "markers": Cause(
        mark("The table for our marks cannot be used"),
        mark(
            "Whoever keeps the database: let the connection make and write that table, or leave markers out."
        ),
        _AFTER_THE_FIX,
    ),
    "missing": Cause(
        mark("The record to change is not there any more"),
        mark("Nobody. The next run sees it as deleted and follows the sync's rules."),
        _NEXT_RUN,
        by_itself=True,
    ),
    "monthly_cap": Cause(
        mark("The calls of this month are used up"),
        mark("Whoever keeps the account: wait for the next month, or choose a larger plan."),
        mark("Yes, when the next month begins."),
        by_itself=True,
    ),
    "new_field": Cause(
        mark("Both sides have a field that is not in the mapping"),
        mark("An administrator: add it to the mapping, or let new fields be added."),
        mark("No. Nothing is lost: the field is left alone."),
    ),
    "no_base": Cause(
        mark("The connection names no base"),
        _ADMIN,
        _AFTER_THE_FIX,
    ),
    "no_header": Cause(
        mark("The file has no line of headings"),
        _FILE,
        _AFTER_THE_FIX,
    ),
    "no_key": Cause(
        mark("Records without a key"),
        mark("Whoever keeps the data: fill in the key, and the record takes part."),
        _AFTER_THE_FIX,
    ),
    "no_linked_record": Cause(
        mark("The record that it links to has no partner"),
        mark("Nobody yet. It follows when the linked record is there; otherwise look why that one is not."),
        _NEXT_RUN,
        by_itself=True,
    ),
    "not_a_spreadsheet": Cause(
        mark("The address is no spreadsheet"),
        _ADMIN,
        _AFTER_THE_FIX,
    ),
    "not_done": Cause(
        mark("A write did not happen"),
        mark("Nobody. It was looked up, and is decided on again."),
        _NEXT_RUN,
        by_itself=True,
    ),
    "not_retained": Cause(
        mark("The system took the value and did not keep it"),
        mark("Whoever keeps the system: something there puts the old value back, or ignores the field."),
        _WITH_THE_VALUE,
    ),
    "not_signed_in": Cause(
        mark("Nobody has signed in to the system yet"),
        mark("An administrator: connect it, under Connections."),
        _AFTER_THE_FIX,
    ),
    "not_text": Cause(
        mark("A text is broken"),
        _DATA,
        _WITH_THE_VALUE,
    ),
    "options": Cause(
        mark("A setting of the connection or the sync is wrong"),
        _ADMIN,
        _AFTER_THE_FIX,
    ),
    "owner": Cause(
        mark("The owner of the sync may not run it any more"),
        mark("An administrator: make somebody else its owner."),
        _AFTER_THE_FIX,
    ),
    "path": Cause(
        mark("The system is not under this address"),
        _ADMIN,
        _AFTER_THE_FIX,
    ),
    "ping_pong": Cause(
        mark("A value comes back changed each time"),
        mark(
            "Whoever keeps the system: find what writes the field there too, or take it out of the mapping."
        ),
        _AFTER_THE_FIX,
    ),
    "preview_gone": Cause(
        mark("What the preview showed is kept no longer"),
        mark("Whoever wanted it carried out: make a new preview."),
        mark("No. The sync goes on by its schedule without it."),
    ),
    "protected": Cause(
        mark("The cells are protected"),
        _ACCESS,
        _AFTER_THE_FIX,
    ),
    "query_limit": Cause(
        mark("The query takes too long or returns too much"),
        _ADMIN,
        _AFTER_THE_FIX,
    ),
    "query_refused": Cause(
        mark("The query is not allowed"),
        _ADMIN,
        _AFTER_THE_FIX,
    ),
    "ragged_row": Cause(
        mark("A line of the file has another number of cells"),
        _FILE,
        _AFTER_THE_FIX,
    ),
    "rate_limited": Cause(
        mark("The system asked us to slow down"),
        mark("Nobody."),
        mark("Yes. The run goes on when the system's pause is over."),
        by_itself=True,
    ),
    "read_incomplete": Cause(
        mark("A side could not be read to its end"),
        mark("Nobody yet: nothing is deleted after an incomplete look. If it goes on, read the message."),
        _NEXT_RUN,
        by_itself=True,
    ),
    "redirect": Cause(
        mark("The address leads elsewhere"),
        _ADMIN,
        _AFTER_THE_FIX,
    ),
    "refused": Cause(
        mark("The system refuses what was asked"),
        mark("Whoever keeps the system: the message says what it wants."),
        _AFTER_THE_FIX,
    ),
    "rejected": Cause(
        mark("The system refuses these values"),
        _DATA,
        _WITH_THE_VALUE,
    ),
    "schema": Cause(
        mark("A field of the two ends is not as it was"),
        mark("An administrator: look at the mapping; the message says what changed."),
        _AFTER_THE_FIX,
    ),
    "secret_unreadable": Cause(
        mark("The stored credentials cannot be decrypted"),
        mark("An administrator: enter the credentials of the connection again, or restore the key."),
        _AFTER_THE_FIX,
    ),
    "sign_in": Cause(
        mark("The system refuses the sign-in"),
        mark("An administrator: reconnect it, under Connections."),
        _AFTER_THE_FIX,
    ),
    "spreadsheet_gone": Cause(
        mark("The spreadsheet is not there, or not shared with us"),
        _ACCESS,
        _AFTER_THE_FIX,
    ),
    "stream_gone": Cause(
        mark("A table, sheet or file is not where it was"),
        mark("An administrator: bring it back, or point the sync to its new place."),
        _AFTER_THE_FIX,
    ),
    "time_zone": Cause(
        mark("A time cannot be told without its zone"),
        _ADMIN,
        _AFTER_THE_FIX,
    ),
    "too_large": Cause(
        mark("The value or the record is too large for the system"),
        mark("Whoever keeps the data: make it smaller."),
        _WITH_THE_VALUE,
    ),
    "unavailable": Cause(
        mark("The system could not be reached"),
        mark("Nobody yet. If it goes on, look whether the system is up."),
        _NEXT_RUN,
        by_itself=True,
    ),
    "unknown_connector": Cause(
        mark("The connector is not installed"),
        mark("The operator of Syncline: install what the connection needs."),
        _AFTER_THE_FIX,
    ),
    "unknown_field": Cause(
        mark("A field is not there"),
        mark("An administrator: correct the mapping, or bring the field back."),
        _AFTER_THE_FIX,
    ),
    "unknown_outcome": Cause(
        mark("The answer to a write was lost"),
        mark(
            "Nobody: the record is looked up before anything is sent again. Where that cannot tell, look in"
            " the system and say so on the record's page."
        ),
        _NEXT_RUN,
        by_itself=True,
    ),
    "validation": Cause(
        mark("The run is strict, and a record is bad"),
        mark("Whoever keeps the data: correct the records that the message names."),
        _AFTER_THE_FIX,
    ),
    "volatile": Cause(
        mark("The field changes by itself"),
        mark("An administrator: take it out of the mapping."),
        mark("No. The field is left alone."),
    ),
}


def title(code: str) -> str:
    """What happened, in English."""
    known = _CAUSES.get(code)
    return known.title if known is not None else plain(code)


def cause(code: str) -> Cause:
    """The card of this code; a general one where the code is a newer one than this table."""
    # What a system said by a status alone is a refusal too.
    known = _CAUSES.get("rejected" if code.startswith("http_4") else code)
    if known is not None:
        return replace(known, title=_(known.title), who=_(known.who), heals=_(known.heals))
    return Cause(
        plain(code) if code else _("It failed"),
        _("Read the message: it says what to do."),
        _("The next run tries it again."),
    )
