"""What failures, conflicts and held changes mean for the business: of the columns that a sync names, as far
as their values are known.

A value is that of the change that was refused or is held, else what both sides last agreed on. Nothing of it
is stored: it is read when it is shown, for a bounded number of records.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

from pydantic import ValidationError
from sqlalchemy import select

from models.issues import Conflict, Issue
from models.journal import NOT_THROUGH, Change, ChangeState
from models.links import Link, LinkState, Shadow
from models.sync_configs import SyncConfig
from sync.definition import ImpactSpec
from sync.values import decode_fields, display
from web.database import db
from web.languages import amount, counted, number
from web.reads.records import key_forms
from web.words import plain

MOST = 2_000  # records that are looked at for one page
AT_ONCE = 500

Cause = tuple[str, str]  # sync and code
Held = tuple[str, str | None, str, str]  # sync, guard, side and operation
Place = TypeVar("Place", bound=Hashable)
Record = tuple[str, str]  # sync and key


@dataclass(frozen=True, slots=True)
class Impact:
    """Of some records of one sync."""

    spec: ImpactSpec
    who: int  # different ones
    large: int  # records with an amount above
    capped: bool = False

    @property
    def words(self) -> str:
        """`12 customers, 2 records with total above 1,000`; empty where nothing is known."""
        spec, more = self.spec, "+" if self.capped else ""
        said = []
        if self.who:
            word = plain(spec.who or "").lower() if self.who == 1 else spec.called or spec.who
            said.append(f"{number(self.who)}{more} {word}")
        if self.large and spec.above is not None:
            said.append(
                counted(
                    "%(num)s record with %(field)s above %(amount)s",
                    "%(num)s records with %(field)s above %(amount)s",
                    self.large,
                    field=spec.amount,
                    amount=amount(spec.above),
                )
            )
        return ", ".join(said)

    @property
    def weight(self) -> tuple[int, int]:
        """Larger is worse: first by large amounts, then by how many are hit."""
        return self.large, self.who


def of_causes(causes: Sequence[Cause], conditions: Sequence[Any]) -> dict[Cause, Impact]:
    """What the issues of these causes mean, where their sync names columns for it."""
    codes = {code for _config, code in causes}
    issues = select(Issue.config_id, Issue.key, Issue.link_id, Issue.code).where(
        *conditions, Issue.code.in_(codes)
    )
    return _of({config for config, _code in causes}, [(Issue, issues)], lambda row: (row.config_id, row.code))


def of_conflicts(ids: Iterable[str], conditions: Sequence[Any]) -> dict[str, Impact]:
    """What the conflicts of these syncs mean."""
    return _of(set(ids), [(Conflict, _conflicts(conditions))], lambda row: str(row.config_id))


def of_held(ids: Iterable[str], conditions: Sequence[Any]) -> dict[Held, Impact]:
    """What held changes mean, by sync, guard, side and operation."""
    return _of(
        set(ids),
        [(Change, _changes(conditions))],
        lambda row: (row.config_id, row.guard, row.side, row.operation),
    )


def of_syncs(
    ids: Iterable[str], issues: Sequence[Any], conflicts: Sequence[Any], held: Sequence[Any]
) -> dict[str, Impact]:
    """What all that waits for somebody in these syncs means, each record once."""
    chosen = select(Issue.config_id, Issue.key, Issue.link_id).where(*issues)
    waiting: list[tuple[Any, Any]] = [
        (Issue, chosen), (Conflict, _conflicts(conflicts)), (Change, _changes(held))
    ]  # fmt: skip
    return _of(set(ids), waiting, lambda row: str(row.config_id))


def of_records(rows: Sequence[Any]) -> dict[Record, str]:
    """What is known of single records, by sync and key: `C-17, 1250.00`.

    `rows` have config_id, key and link_id.
    """
    specs = _specs({row.config_id for row in rows})
    values = _values([row for row in rows if row.config_id in specs]) if specs else {}
    return {
        record: ", ".join(
            display(held)
            for name in (specs[record[0]].who, specs[record[0]].amount)
            if name and (held := known.get(name)) is not None
        )
        for record, known in values.items()
    }


def _conflicts(conditions: Sequence[Any]) -> Any:
    return select(Conflict.config_id, Conflict.key, Conflict.link_id).where(*conditions)


def _changes(conditions: Sequence[Any]) -> Any:
    named = (Change.config_id, Change.key, Change.link_id, Change.guard, Change.side, Change.operation)
    return select(*named).where(*conditions)


def _of(
    ids: set[str], queries: Sequence[tuple[Any, Any]], place: Callable[[Any], Place]
) -> dict[Place, Impact]:
    """A constant number of queries; one where no sync names columns. Of each model the newest rows count."""
    specs = _specs(ids)
    if not specs:
        return {}
    rows: list[Any] = []
    capped = False
    for model, query in queries:
        mine = query.where(model.config_id.in_(specs)).order_by(model.id.desc()).limit(MOST + 1)
        found = db.session.execute(mine).all()
        capped = capped or len(found) > MOST
        rows += found[:MOST]
    values = _values(rows)
    records: dict[Place, set[Record]] = defaultdict(set)
    spec_of: dict[Place, ImpactSpec] = {}
    for row in rows:
        records[place(row)].add((row.config_id, row.key))
        spec_of[place(row)] = specs[row.config_id]
    return {
        found: _impact(spec_of[found], [values.get(record, {}) for record in group], capped)
        for found, group in records.items()
    }


def _specs(ids: set[str]) -> dict[str, ImpactSpec]:
    """What these syncs say of impact; a definition of another release says nothing."""
    rows = db.session.execute(
        select(SyncConfig.id, SyncConfig.definition["impact"].label("impact")).where(SyncConfig.id.in_(ids))
    )
    found = {}
    for row in rows:
        if isinstance(row.impact, dict):
            try:
                found[row.id] = ImpactSpec.model_validate(row.impact)
            except ValidationError:
                continue
    return found


def _impact(spec: ImpactSpec, values: Sequence[Mapping[str, Any]], capped: bool) -> Impact:
    who = {display(found) for value in values if spec.who and (found := value.get(spec.who)) is not None}
    amounts = [value.get(spec.amount) for value in values if spec.amount]
    large = sum(1 for amount in amounts if spec.above is not None and _above(amount, spec.above))
    return Impact(spec, len(who), large, capped)


def _above(amount: Any, limit: Decimal) -> bool:
    return isinstance(amount, int | Decimal) and not isinstance(amount, bool) and amount > limit


def _values(rows: Sequence[Any]) -> dict[Record, dict[str, Any]]:
    """What is known of each record: what was last agreed on, and over it what was refused or is held."""
    found: dict[Record, dict[str, Any]] = defaultdict(dict)
    by_link = {row.link_id: (row.config_id, row.key) for row in rows if row.link_id is not None}
    for ids in _parts(list(by_link)):
        for link_id, left in db.session.execute(
            select(Shadow.link_id, Shadow.left).where(Shadow.link_id.in_(ids))
        ):
            found[by_link[link_id]] = decode_fields(left)
    wanted = {(row.config_id, row.key) for row in rows if row.key}
    configs = {config for config, _key in wanted}
    # What was set aside before it was planned names no link: it is found by its key.
    forms = {form: row.key for row in rows if row.link_id is None and row.key for form in key_forms(row.key)}
    for part in _parts(list(forms)):
        for config_id, form, left in db.session.execute(
            select(Link.config_id, Link.key, Shadow.left)
            .join(Shadow, Shadow.link_id == Link.id)
            .where(Link.config_id.in_(configs), Link.key.in_(part), Link.state != LinkState.TOMBSTONE)
        ):
            if (record := (config_id, forms[form])) in wanted:
                found[record] = decode_fields(left) | found[record]
    for keys in _parts(sorted({key for _config, key in wanted})):
        changes = db.session.execute(
            select(Change.config_id, Change.key, Change.after)
            .where(
                Change.config_id.in_(configs),
                Change.key.in_(keys),
                Change.state.in_((*NOT_THROUGH, ChangeState.HELD)),
            )
            .order_by(Change.id)
        )
        for config_id, key, after in changes:
            if (config_id, key) in wanted:
                found[config_id, key] |= decode_fields(after or {})
    return found


def _parts(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[at : at + AT_ONCE] for at in range(0, len(items), AT_ONCE))
