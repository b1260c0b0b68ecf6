"""The memory connector keeps the contract; its store is what tests edit."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from connectors.base import Access, Connector, StreamOptions, Write
from connectors.errors import OptionsError
from connectors.memory import Memory, MemoryOptions, MemoryStream
from sync.records import Field
from sync.values import FieldType, Value
from tests.connectors.contract import FIELDS, ConnectorContract, Desk, typed


class MemoryDesk(Desk):
    def __init__(self) -> None:
        self.access = Access()
        self.connector = self.again()
        self.store = MemoryStream(FIELDS)
        self.access.memory["default"][self.stream_name] = self.store

    def again(self) -> Connector:
        return Memory(MemoryOptions(), self.access)

    def put(self, fields: Mapping[str, Value]) -> str:
        return self.store.put(fields)

    def edit(self, id: str, fields: Mapping[str, Value]) -> None:
        self.store.change(id, fields)

    def remove(self, id: str) -> None:
        self.store.remove(id)

    def truth(self) -> dict[str, dict[str, Value]]:
        return {id: typed(row) for id, row in self.store.rows.items()}

    def make_read_only(self) -> None:
        self.store.writable = False


@pytest.fixture
def desk() -> Desk:
    return MemoryDesk()


class TestMemory(ConnectorContract):
    pass


def memory(*fields: Field) -> tuple[Memory, MemoryStream]:
    access = Access()
    connector = Memory(MemoryOptions(space="tests"), access)
    connector.space["people"] = MemoryStream(fields)
    return connector, connector.space["people"]


def write(connector: Memory, *batch: Write) -> list[tuple[str, str]]:
    stream = connector.stream("people", StreamOptions())
    outcomes = connector.write(stream, StreamOptions(), batch)
    return [(outcome.status, outcome.code) for outcome in outcomes]


def test_the_field_contract_is_enforced() -> None:
    connector, store = memory(
        Field("email", FieldType.TEXT, nullable=False, unique=True, max_length=9),
        Field("stage", FieldType.TEXT, options=("lead", "won")),
        Field("total", FieldType.DECIMAL, writable=False),
    )
    store.put({"email": "a@b.c"}, "r1")
    assert write(
        connector,
        Write("1", "create", None, {"stage": "lead"}),
        Write("2", "create", None, {"email": "a@b.c"}),
        Write("3", "create", None, {"email": "abc@def.gh"}),
        Write("4", "update", "r1", {"stage": "lost"}),
        Write("5", "update", "r1", {"total": 1}),
        Write("6", "update", "r1", {"email": None}),
        Write("7", "update", "r1", {"email": "a@b.c", "stage": "won"}),
    ) == [
        ("rejected", "required"),
        ("rejected", "unique"),
        ("rejected", "too_long"),
        ("rejected", "option"),
        ("rejected", "read_only"),
        ("rejected", "required"),
        ("done", ""),
    ]


def test_a_unique_value_is_free_again_after_an_edit_or_a_delete() -> None:
    connector, store = memory(Field("email", FieldType.TEXT, unique=True))
    store.put({"email": "a"}, "r1")
    store.put({"email": "b"}, "r2")
    store.edit("r1", email="c")
    store.remove("r2")
    assert write(
        connector,
        Write("1", "create", None, {"email": "a"}),
        Write("2", "create", None, {"email": "b"}),
        Write("3", "create", None, {"email": "c"}),
    ) == [("done", ""), ("done", ""), ("rejected", "unique")]


def test_an_id_is_never_given_twice() -> None:
    _, store = memory(Field("n", FieldType.INTEGER))
    first = store.put({"n": 1})
    store.remove(first)
    assert store.put({"n": 2}) != first


def test_a_typed_over_id_is_another_record() -> None:
    _, store = memory(Field("n", FieldType.INTEGER))
    store.put({"n": 1}, "A")
    store.rekey("A", "B")
    assert store.rows == {"B": {"n": 1}}


def test_two_connections_of_one_space_see_the_same_records() -> None:
    connector, store = memory(Field("n", FieldType.INTEGER))
    store.put({"n": 1})
    other = Memory(MemoryOptions(space="tests"), connector.access)
    assert other.check() == "The space 'tests' holds 1 streams."


def test_a_foreign_cursor_is_refused() -> None:
    connector, _ = memory(Field("n", FieldType.INTEGER))
    stream = connector.stream("people", StreamOptions())
    with pytest.raises(OptionsError, match="full sync"):
        list(connector.read(stream, StreamOptions(), "2026-01-01"))
