"""A: files that hang on records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sync.records import Field
from sync.values import FieldType, Value
from tests.scenarios.world import Story, Teller

TEXT = FieldType.TEXT
FIELDS = (Field("k", TEXT), Field("x", TEXT), Field("files", FieldType.ATTACHMENTS))
PAIRS = [{"left": name, "right": name} for name in ("k", "x", "files")]


def file(name: str, size: int = 10, **more: Any) -> dict[str, Any]:
    return {"name": name, "size": size, **more}


class Uploads:
    """What a side makes of files: each upload gets an id and an address of its own, some do not arrive."""

    def __init__(self, teller: Teller) -> None:
        self.teller = teller
        self.failing: set[str] = set()
        self.uploaded: list[str] = []
        teller.knobs.normalise["files"] = self.kept
        self.numbers = 0

    def kept(self, value: Value) -> Value:
        found = []
        for item in value or ():
            if not str(item.get("url", "")).startswith(self.teller.told):
                if item["name"] in self.failing:
                    continue
                self.uploaded.append(item["name"])
                self.numbers += 1
                item = {
                    **item, "id": f"{self.teller.told}-{self.numbers}",
                    "url": f"{self.teller.told}://{self.numbers}",
                }  # fmt: skip
            found.append(item)
        return tuple(found)


def shelf(tell: Callable[..., Story], right_fields: Any = None, **said: Any) -> tuple[Story, Uploads]:
    story = tell(fields=FIELDS, right_fields=right_fields or FIELDS)
    story.define(**{"fields": PAIRS, "conflict": "manual", "deletes": "propagate", "guards": "off", **said})
    return story, Uploads(story.right)


def names(teller: Teller, key: str = "k") -> list[str]:
    return sorted(item["name"] for item in teller.get("files", key) or ())


def test_A01_an_address_that_is_signed_anew_is_no_edit(tell: Callable[..., Story]) -> None:
    story, uploads = shelf(tell)
    story.base("k")
    story.left.edit(files=(file("a.pdf", id="l1", url="https://left/1?sig=1"), file("b.pdf", 20, id="l2")))
    story.run()
    assert names(story.right) == ["a.pdf", "b.pdf"]
    story.left.edit(files=(file("b.pdf", 20, id="l2"), file("a.pdf", id="l1", url="https://left/1?sig=2")))
    assert story.run() == "nothing"
    assert uploads.uploaded == ["a.pdf", "b.pdf"]
    # The same name with other content is another file.
    story.left.edit(files=(file("a.pdf", 11, id="l3"), file("b.pdf", 20, id="l2")))
    story.run()
    assert sorted(item["size"] for item in story.right.get("files")) == [11, 20]


def test_A01_a_hash_tells_where_both_sides_have_one(tell: Callable[..., Story]) -> None:
    story, _ = shelf(tell)
    story.base("k")
    story.left.edit(files=(file("a.pdf", hash="1"),))
    story.run()
    story.left.edit(files=(file("a.pdf", hash="2"),))
    story.run()
    assert [item["hash"] for item in story.right.get("files")] == ["2"]
    story.right.edit(files=({"id": "right-1", "name": "a.pdf", "size": 10, "url": "right://9"},))
    assert story.run() == "nothing"


def test_A02_a_file_that_could_not_be_fetched_is_sent_when_it_can(tell: Callable[..., Story]) -> None:
    """Its address ran out before it was uploaded: nothing broken is written, and a new read has a new one."""
    story, uploads = shelf(tell)
    story.base("k")
    story.quiet = False
    uploads.failing = {"a.pdf"}
    story.left.edit(x="b", files=(file("a.pdf", id="l1", url="https://left/1?expired"),))
    story.run(repeat=False)
    assert story.right.get("x") == "b"
    assert names(story.right) == []
    assert [row.code for row in story.issues()] == ["file_missing"]
    uploads.failing = set()
    story.left.edit(files=(file("a.pdf", id="l1", url="https://left/1?fresh"),))
    story.run()
    assert names(story.right) == ["a.pdf"]
    assert not story.issues()


@pytest.mark.parametrize("removals", [None, "propagate", "keep"])
@pytest.mark.parametrize("deletes", ["propagate", "never"])
def test_A04_a_file_is_removed_on_one_side(
    deletes: str, removals: str | None, tell: Callable[..., Story]
) -> None:
    """By the policy of deletes, or by one of the field's own."""
    fields = [*PAIRS[:2], {**PAIRS[2], **({"removals": removals} if removals else {})}]
    story, _ = shelf(tell, fields=fields, deletes=deletes)
    story.base("k")
    story.left.edit(files=(file("a.pdf"), file("b.pdf")))
    story.run()
    story.left.edit(files=(file("a.pdf"),))
    story.run()
    goes = removals == "propagate" or (removals is None and deletes == "propagate")
    assert names(story.right) == (["a.pdf"] if goes else ["a.pdf", "b.pdf"])
    assert names(story.left) == ["a.pdf"]
    story.right.edit(x="later")
    story.run()
    assert names(story.left) == ["a.pdf"]


def test_A04_both_sides_add_a_file(tell: Callable[..., Story]) -> None:
    story, _ = shelf(tell)
    story.base("k")
    story.left.edit(files=(file("a.pdf"),))
    story.right.edit(files=(file("b.pdf"),))
    story.run()
    assert names(story.left) == names(story.right) == ["a.pdf", "b.pdf"]


@pytest.mark.parametrize("is_new", [False, True], ids=["an old record", "a new record"])
@pytest.mark.parametrize("direction", ["bidirectional", "left_to_right"])
@pytest.mark.parametrize("has_receipts", [True, False], ids=["receipts", "read back"])
def test_A05_one_of_three_uploads_fails(
    is_new: bool, direction: str, has_receipts: bool, tell: Callable[..., Story]
) -> None:
    """The record lands, the file is an issue, and only that file is sent again."""
    story, uploads = shelf(tell, direction=direction)
    story.base(*([] if is_new else ["k"]))
    story.right.knobs.has_receipts = has_receipts
    story.quiet = False
    uploads.failing = {"c.pdf"}
    files = tuple(file(f"{name}.pdf", number) for number, name in enumerate("abc", 1))
    if is_new:
        story.left.put("k", x="b", files=files)
    else:
        story.left.edit(x="b", files=files)
    story.run(repeat=False)
    assert (story.right.get("x"), names(story.right)) == ("b", ["a.pdf", "b.pdf"])
    assert [row.code for row in story.issues()] == ["file_missing"]
    assert "'c.pdf'" in story.issues()[0].message
    assert names(story.left) == ["a.pdf", "b.pdf", "c.pdf"]
    uploads.failing, uploads.uploaded = set(), []
    story.quiet = True
    story.run()
    assert uploads.uploaded == ["c.pdf"]
    assert names(story.left) == names(story.right) == ["a.pdf", "b.pdf", "c.pdf"]
    assert not story.issues()


@pytest.mark.parametrize("is_new", [False, True], ids=["an old record", "a new record"])
def test_A05_an_upload_fails_and_the_answer_is_lost(is_new: bool, tell: Callable[..., Story]) -> None:
    """What did not arrive is not taken for removed there, and so is not removed where it came from."""
    story, uploads = shelf(tell)
    story.base(*([] if is_new else ["k"]))
    story.right.knobs.lost_answers = 1
    uploads.failing = {"c.pdf"}
    files = tuple(file(f"{name}.pdf", number) for number, name in enumerate("abc", 1))
    if is_new:
        story.left.put("k", x="b", files=files)
    else:
        story.left.edit(x="b", files=files)
    story.run(repeat=False)
    assert names(story.right) == ["a.pdf", "b.pdf"]
    assert [row.code for row in story.issues()] == ["file_missing"]
    uploads.failing, uploads.uploaded = set(), []
    story.run()
    assert uploads.uploaded == ["c.pdf"]
    assert names(story.left) == names(story.right) == ["a.pdf", "b.pdf", "c.pdf"]


def test_A05_an_upload_that_never_works_is_given_up_and_explained(tell: Callable[..., Story]) -> None:
    story, uploads = shelf(tell)
    story.base("k")
    story.quiet = False
    uploads.failing = {"c.pdf"}
    story.left.edit(files=(file("a.pdf"), file("c.pdf")))
    for _ in range(5):
        story.run(repeat=False, preview=False)
    written = len(story.right.system.log)
    story.run(repeat=False, preview=False)
    assert len(story.right.system.log) == written
    assert {row.code for row in story.issues()} & {"ping_pong", "file_missing"}
    assert names(story.left) == ["a.pdf", "c.pdf"]


@pytest.mark.parametrize("is_new", [False, True], ids=["an old record", "a new record"])
def test_A07_a_file_that_is_too_large(is_new: bool, tell: Callable[..., Story]) -> None:
    right = (*FIELDS[:2], Field("files", FieldType.ATTACHMENTS, max_bytes=100))
    story, uploads = shelf(tell, right_fields=right)
    story.base(*([] if is_new else ["k"]))
    files = (file("small.pdf"), file("large.pdf", 101))
    if is_new:
        story.left.put("k", x="b", files=files)
    else:
        story.left.edit(x="b", files=files)
    assert "issue(file_too_large)" in story.run()
    assert (story.right.get("x"), names(story.right)) == ("b", ["small.pdf"])
    assert uploads.uploaded == ["small.pdf"]
    # What the right side does with its own files takes nothing away from the left.
    story.right.edit(files=(*story.right.get("files"), file("new.pdf")))
    story.run()
    assert names(story.left) == ["large.pdf", "new.pdf", "small.pdf"]
    # Not tried again until it has changed.
    story.left.edit(files=(file("small.pdf"), file("new.pdf"), file("large.pdf", 99)))
    story.run()
    assert names(story.right) == ["large.pdf", "new.pdf", "small.pdf"]
    assert not story.issues()


def test_A04_a_merge_is_refused_on_one_side(tell: Callable[..., Story]) -> None:
    """What one side did not take is not taken for removed there."""
    story, _ = shelf(tell)
    story.base("k")
    story.quiet = False
    story.left.edit(files=(file("a.pdf"),))
    story.right.edit(files=(file("b.pdf"),))
    story.left.knobs.protected.add(story.left.id("k"))
    story.run(repeat=False)
    assert (names(story.left), names(story.right)) == (["a.pdf"], ["a.pdf", "b.pdf"])
    story.left.knobs.protected.clear()
    story.wait(days=2)
    story.run(repeat=False)
    assert names(story.left) == names(story.right) == ["a.pdf", "b.pdf"]
