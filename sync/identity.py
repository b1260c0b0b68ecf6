"""Who is who: which new records meet, which is an old one under a new id, and who stays apart.

Identity is the link table over the systems' own ids. Match fields serve first contact and healing
only. Ambiguity never guesses: what could be meant twice is set aside with its reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sync.mapping import FieldMapping, Seen
from sync.plan import Tie
from sync.records import SIDES, Problem, Side, other
from sync.values import MISSING, short

RENAME_SHARE = 0.8  # of the other fields must be equal for a new key to be a rename
REUSE_SHARE = 0.5  # below this, the same id with another key is another record


@dataclass(slots=True)
class Pairing:
    pairs: list[tuple[Seen, Seen]] = field(default_factory=list)  # new on both sides, same key
    single: dict[Side, list[Seen]] = field(default_factory=lambda: {"left": [], "right": []})
    relinked: list[tuple[Tie, Side, Seen]] = field(default_factory=list)  # an old record, a new id
    renames: list[tuple[Tie, Side, Seen]] = field(default_factory=list)  # proposed: same values, new key
    rejoined: list[tuple[Tie, Side, Seen]] = field(default_factory=list)  # meets who was left alone
    keyless: list[tuple[Side, Seen]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    set_aside: set[tuple[Side, str]] = field(default_factory=set)  # records that take no part
    waiting: set[int | None] = field(default_factory=set)  # links whose lost record may be one of them
    notes: list[str] = field(default_factory=list)


def pair_up(
    new: Mapping[Side, Iterable[Seen]],
    lost: Mapping[Side, Iterable[Tie]],
    survivors: Mapping[Side, Mapping[str, list[Tie]]],
    taken: Mapping[Side, dict[str, str]],
    mapping: FieldMapping,
    *,
    called: Mapping[Side, Mapping[str, list[Tie]]],
    stable_ids: Mapping[Side, bool],
) -> Pairing:
    """Decide who is who among the records that no link knows.

    `new`: unlinked records per side. `lost`: links whose record on that side was not returned.
    `survivors`: links dissolved on purpose whose record still stands on that side alone, by the key that it
    has now. `taken`: for each side the match keys that linked records hold now, with their labels.
    `called`: links whose record on that side is gone for sure, by the key that the other one has been given
    since.
    """
    pairing = Pairing()
    fresh: dict[Side, dict[str, list[Seen]]] = {"left": defaultdict(list), "right": defaultdict(list)}
    keyed = bool(mapping.match)
    lost_by_key: dict[Side, dict[str, list[Tie]]] = {
        side: _by_key(lost[side], side, mapping) for side in SIDES
    }
    for side in SIDES:
        for seen in new[side]:
            if seen.problems:
                pairing.single[side].append(seen)  # reported by reconcile, record by record
                continue
            if not keyed:
                pairing.single[side].append(seen)
                continue
            key = mapping.match_key(side, seen.values)
            if key is None:
                pairing.keyless.append((side, seen))
            else:
                fresh[side][key].append(seen)
    if not keyed:
        return pairing

    def losers(side: Side, key: str) -> list[int | None]:
        return [tie.id for tie in (*lost_by_key[side].get(key, ()), *called[side].get(key, ()))]

    _note_near_duplicates(fresh, mapping, pairing)
    for side in SIDES:
        for key, items in list(fresh[side].items()):
            if len(items) > 1:
                _ambiguous(pairing, side, items, mapping)
                # The partner of an ambiguous key waits too: it is neither created nor changed.
                # So does a link that lost its record: one of them may be it, under a new id.
                for partner in fresh[other(side)].pop(key, []):
                    pairing.set_aside.add((other(side), partner.id))
                    pairing.waiting.update(losers(other(side), key))
                pairing.waiting.update(losers(side, key))
                del fresh[side][key]
    for side in SIDES:
        for key, items in list(fresh[side].items()):
            seen = items[0]
            old = lost_by_key[side].get(key, [])
            if len(old) == 1:
                pairing.relinked.append((old[0], side, seen))
                taken[side][key] = seen.id
                del fresh[side][key]
            elif old:
                _ambiguous(pairing, side, items, mapping, of=len(old))
                pairing.waiting.update(losers(side, key))
                del fresh[side][key]
            elif key in taken[side]:
                _duplicate(pairing, side, seen, taken[side][key], mapping)
                del fresh[side][key]
    found = {(tie.id, side) for tie, side, _ in pairing.relinked}
    for side in SIDES:
        for key, items in list(fresh[side].items()):
            alone = [tie for tie in called[side].get(key, ()) if (tie.id, side) not in found]
            if len(alone) == 1:
                # Renamed on one side, made anew under that name on the other: one record. What it held
                # before says nothing about the new one, so the two meet as if for the first time.
                pairing.rejoined.append((alone[0], side, items[0]))
                del fresh[side][key]
            elif alone:
                _ambiguous(pairing, side, items, mapping, of=len(alone))
                pairing.waiting.update(tie.id for tie in alone)
                del fresh[side][key]
    found |= {(tie.id, side) for tie, side, _ in pairing.rejoined}
    for side in SIDES:
        if not stable_ids[side]:
            left_over = [tie for tie in lost[side] if (tie.id, side) not in found]
            _propose_renames(pairing, side, fresh[side], left_over, mapping)
    for side in SIDES:
        for key, items in list(fresh[side].items()):
            alone = survivors[other(side)].get(key, [])
            if len(alone) == 1:
                pairing.rejoined.append((alone[0], side, items[0]))
                del fresh[side][key]
            elif alone:
                _ambiguous(pairing, side, items, mapping, of=len(alone))
                del fresh[side][key]
    for key in list(fresh["left"]):
        if key in fresh["right"]:
            pairing.pairs.append((fresh["left"].pop(key)[0], fresh["right"].pop(key)[0]))
    for side in SIDES:
        for key, items in fresh[side].items():
            if key in taken[other(side)]:
                # The other side holds this key in a record that is linked elsewhere: a second one
                # may not be made there.
                _duplicate(pairing, side, items[0], taken[other(side)][key], mapping)
            else:
                pairing.single[side].extend(items)
    return pairing


def _by_key(ties: Iterable[Tie], side: Side, mapping: FieldMapping) -> dict[str, list[Tie]]:
    found: dict[str, list[Tie]] = defaultdict(list)
    for tie in ties:
        key = mapping.match_key(side, tie.shadow(side))
        if key is not None:
            found[key].append(tie)
    return found


def _ambiguous(
    pairing: Pairing, side: Side, items: list[Seen], mapping: FieldMapping, *, of: int = 0
) -> None:
    """More records of one key than can be told apart: among the new ones, or `of` ones that are gone."""
    label = mapping.label(side, items[0].values, items[0].id)
    for seen in items:
        pairing.set_aside.add((side, seen.id))
        pairing.problems.append(
            Problem(
                "ambiguous_key",
                f"{max(len(items), of)} records on {side} have the same {' + '.join(mapping.match)}"
                f" {short(label)}; which one is meant cannot be told. Make it unique, or link by hand.",
                side=side,
                key=label,
                operation="match",
                extra={"id": seen.id},
            )
        )


def _duplicate(pairing: Pairing, side: Side, seen: Seen, of: str, mapping: FieldMapping) -> None:
    label = mapping.label(side, seen.values, seen.id)
    pairing.set_aside.add((side, seen.id))
    pairing.problems.append(
        Problem(
            "ambiguous_key",
            f"The record {short(seen.id)} on {side} is a duplicate of {short(of)}: both have the same"
            f" {' + '.join(mapping.match)} {short(label)}. The linked one is kept in step, this one waits.",
            side=side,
            key=label,
            operation="match",
            extra={"id": seen.id},
        )
    )


def _propose_renames(
    pairing: Pairing,
    side: Side,
    fresh: dict[str, list[Seen]],
    lost: list[Tie],
    mapping: FieldMapping,
) -> None:
    """Where an id is a visible cell, a missing record and a new one with equal values are one, renamed."""
    if not lost or not fresh:
        return
    fields = [pair.name for pair in mapping.pairs if pair.name not in mapping.match]
    # Bucket by each field's value, so that few candidates are compared and not all with all.
    buckets: dict[tuple[str, str], list[tuple[str, Seen]]] = defaultdict(list)
    for key, items in fresh.items():
        for name in fields:
            value = items[0].get(name)
            if value is not MISSING and value is not None:
                buckets[name, repr(mapping.pair(name).comparable(side, value))].append((key, items[0]))
    claims: dict[str, list[int]] = defaultdict(list)
    by_tie: dict[int, tuple[Tie, set[str]]] = {}
    for number, tie in enumerate(lost):
        scores: dict[str, int] = defaultdict(int)
        present = [name for name in fields if tie.shadow(side).get(name) is not None]
        if not present:
            continue
        for name in present:
            value = tie.shadow(side)[name]
            for key, _ in buckets.get((name, repr(mapping.pair(name).comparable(side, value))), ()):
                scores[key] += 1
        good = {key for key, score in scores.items() if score >= RENAME_SHARE * len(present)}
        by_tie[number] = (tie, good)
        for key in good:
            claims[key].append(number)
    for tie, good in by_tie.values():
        if len(good) == 1 and len(claims[key := next(iter(good))]) == 1:
            pairing.renames.append((tie, side, fresh.pop(key)[0]))


def without_case(key: str) -> str:
    """A match key without what people overlook: capitals and blanks."""
    return " ".join(key.casefold().split()).replace('" ', '"').replace(' "', '"')


def _note_near_duplicates(
    fresh: Mapping[Side, Mapping[str, list[Seen]]], mapping: FieldMapping, pairing: Pairing
) -> None:
    """Keys that differ only in capitals and blanks are two records; a person is told once per pair."""
    loose: dict[str, set[str]] = defaultdict(set)
    for side in SIDES:
        for key in fresh[side]:
            loose[without_case(key)].add(key)
    for keys in loose.values():
        if len(keys) > 1:
            pairing.notes.append(
                "near-duplicate keys: "
                + ", ".join(sorted(short(key.strip('"')) for key in keys))
                + "; add canon: [trim, lower] if they mean the same"
            )


def doubled(of: str, here: Side, seen: Seen, mapping: FieldMapping) -> Problem:
    """Why a record that is gone on the other side is not made there again: `of` has its key."""
    label, there = mapping.label(here, seen.values, seen.id), other(here)
    return Problem(
        "ambiguous_key",
        f"The record {short(seen.id)} on {here} is gone on {there} and would be made there again, but"
        f" {short(of)} has the same {' + '.join(mapping.match)} {short(label)}. A second one is not made:"
        " give one of the two another key, or link them by hand.",
        side=here,
        key=label,
        operation="match",
        extra={"id": seen.id},
    )


def is_reused_id(tie: Tie, side: Side, seen: Seen, mapping: FieldMapping) -> bool:
    """Whether the record under a linked id is another one: other key, and most other values differ."""
    if not mapping.match:
        return False
    shadow = tie.shadow(side)
    if all(
        seen.get(name) is not MISSING and seen.get(name) == shadow.get(name, MISSING)
        for name in mapping.match
    ):
        return False
    old, new = mapping.match_key(side, shadow), mapping.match_key(side, seen.values)
    if old is None or new is None or old == new:
        return False
    others = [
        pair
        for pair in mapping.pairs
        if pair.name not in mapping.match
        and shadow.get(pair.name, MISSING) is not MISSING
        and seen.get(pair.name) is not MISSING
    ]
    if not others:
        return False
    equal = sum(pair.same(side, shadow[pair.name], seen.get(pair.name)) for pair in others)
    return equal < REUSE_SHARE * len(others)
