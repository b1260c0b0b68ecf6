"""Files that hang on a record: which of two are the same, and what becomes of them on both sides.

A file is what it is by its hash, else by its name and size, else by its id; never by its address, which
systems sign anew with every answer. Sides are compared file by file, so that one file that cannot be carried
keeps no other back, and is tried again by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sync.records import SIDES, Side, other
from sync.values import MISSING, Value

File = Mapping[str, Any]


def same_file(one: File, two: File) -> bool:
    if one.get("hash") and two.get("hash"):
        return bool(one["hash"] == two["hash"])
    if one.get("size") is not None and two.get("size") is not None:
        return (one.get("name"), one["size"]) == (two.get("name"), two["size"])
    if one.get("id") is not None and one.get("id") == two.get("id"):
        return True
    unsized = one.get("size") is None or two.get("size") is None
    return unsized and bool(one.get("name")) and one.get("name") == two.get("name")


def among(item: File, files: Value) -> bool:
    return any(same_file(item, other_) for other_ in _all(files))


def missing(wanted: Value, there: Value) -> list[File]:
    """Those of the wanted files that are not there."""
    return [item for item in _all(wanted) if not among(item, there)]


def same_files(one: Value, two: Value) -> bool:
    if one is MISSING or two is MISSING:
        return one is two
    return not missing(one, two) and not missing(two, one)


def too_large(files: Value, limit: int | None) -> list[File]:
    if limit is None:
        return []
    return [item for item in _all(files) if (item.get("size") or 0) > limit]


def that_fit(files: Value, limit: int | None) -> Value:
    """The files without those that are too large for the other side."""
    if limit is None or not files:
        return files
    return tuple(item for item in files if (item.get("size") or 0) <= limit)


def arrived_nowhere(side: Side, now: Mapping[Side, Value], shadows: Mapping[Side, Value]) -> bool:
    """Whether a file of `side` is not on the other one, and nobody there has removed it."""
    return any(
        not all(among(item, shadows[each]) for each in SIDES) for item in missing(now[side], now[other(side)])
    )


def merged(
    now: Mapping[Side, Value],
    shadows: Mapping[Side, Value],
    limits: Mapping[Side, int | None],
    removes: Mapping[Side, bool],
) -> dict[Side, tuple[File, ...]]:
    """Both sides' files once what either has added is on both, and what one has removed is on neither,
    unless its removals stay its own (`removes[side]` is false)."""
    result: dict[Side, list[File]] = {side: list(_all(now[side])) for side in SIDES}
    for side in SIDES:
        for item in missing(now[side], now[other(side)]):
            if all(among(item, shadows[each]) for each in SIDES):
                if removes[other(side)]:
                    result[side] = [file for file in result[side] if not same_file(file, item)]
            elif not too_large([item], limits[other(side)]):
                result[other(side)].append(item)
    return {side: tuple(result[side]) for side in SIDES}


def names(files: Sequence[File]) -> str:
    shown = ", ".join(f"'{item.get('name') or item.get('id')}'" for item in files[:3])
    return shown + (f" and {len(files) - 3} more" if len(files) > 3 else "")


def _all(files: Value) -> Sequence[File]:
    return () if files is MISSING or files is None else files
