"""A new name changes what a thing is called and nothing else: not what a run does, not who follows whom."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from models.audit import AuditEvent
from models.connections import Connection
from models.people import Membership, User, Workspace
from models.sync_configs import SyncConfig
from tasks import naming, people, saving, workspaces
from tasks.errors import DefinitionError, NotFound, WorkError
from tests.house import House
from tests.tasks.world import World

SYNC = """
connections:
  crm:    {connector: sql, options: {url: "sqlite:///crm.db"}}
  sheets: {connector: csv, options: {folder: sheets}}
syncs:
  people:
    left:  {connection: crm, stream: people}
    right: {connection: sheets, stream: people.csv, create: true}
    match: [email]
    direction: bidirectional
    conflict: left_wins
    deletes: propagate
  later:
    left:  {connection: crm, stream: people}
    right: {connection: sheets, stream: copy.csv, create: true}
    match: [email]
    direction: left_to_right
    after: [people]
"""
WHO = "ada@example.org"


@pytest.fixture
def shop(house: House) -> House:
    house.table(
        "crm.db",
        "CREATE TABLE people (id INTEGER PRIMARY KEY, email TEXT, name TEXT)",
        "INSERT INTO people VALUES (1, 'ann@x.org', 'Ann'), (2, 'bob@x.org', 'Bob')",
    )
    (house.folder / "sheets").mkdir()
    assert house.apply(SYNC).code == 0
    assert house.json("sync", "people")["status"] == "success"
    return house


def definition(house: House, name: str) -> dict[str, Any]:
    with house.ctx().reads() as db:
        return dict(db.scalars(select(SyncConfig).where(SyncConfig.name == name)).one().definition)


def test_a_renamed_connection_and_sync_go_on_where_they_were(shop: House) -> None:
    assert shop.run("rename", "connection", "crm", "warehouse").code == 0
    assert shop.run("rename", "sync", "people", "persons").code == 0
    assert definition(shop, "persons")["left"]["connection"] == "warehouse"
    assert definition(shop, "later")["after"] == ["persons"]
    shop.table("crm.db", "UPDATE people SET name = 'Anna' WHERE id = 1", "DELETE FROM people WHERE id = 2")
    done = shop.json("sync", "persons")
    assert (done["status"], done["right"]["updated"], done["right"]["deleted"], done["held"]) == (
        "success",
        1,
        1,
        0,
    )


def test_another_system_under_a_name_that_was_given_up_is_not_taken_for_the_old_one(shop: House) -> None:
    shop.table("other.db", "CREATE TABLE people (id INTEGER PRIMARY KEY, email TEXT, name TEXT)")
    assert shop.run("rename", "connection", "crm", "warehouse").code == 0
    again = SYNC.replace("crm.db", "other.db").split("  later:")[0]
    assert shop.apply(again).code == 0
    done = shop.json("sync", "people")
    assert done["right"]["deleted"] == 0, "the other database is empty, and that is no reason to delete"
    with shop.ctx().reads() as db:
        rows = {row.name: row.known_as for row in db.scalars(select(Connection))}
    assert rows["warehouse"] == "crm" and rows["crm"] not in (None, "crm")


def test_a_name_that_is_taken_or_no_name_is_refused_and_nothing_changes(shop: House) -> None:
    ctx = shop.ctx()
    with ctx.reads() as db:
        crm = db.scalars(select(Connection.id).where(Connection.name == "crm")).one()
        config = db.scalars(select(SyncConfig.id).where(SyncConfig.name == "people")).one()
    before = shop.dump()
    for rename, id, taken in (
        (naming.rename_connection, crm, "sheets"),
        (naming.rename_config, config, "later"),
    ):
        with pytest.raises(WorkError, match="already"):
            rename(ctx, id, taken, by=WHO)
        for wrong in ("", " ", "two\nlines", "x" * 201):
            with pytest.raises(DefinitionError):
                rename(ctx, id, wrong, by=WHO)
        with pytest.raises(NotFound):
            rename(ctx, "nothing", "x", by=WHO)
    assert not naming.rename_connection(ctx, crm, "crm", by=WHO)
    assert shop.dump() == before


def test_a_rename_is_audited_with_the_old_name(world: World) -> None:
    config = world.config(name="people")
    assert naming.rename_config(world.ctx, config, "persons", by=WHO)
    with world.ctx.reads() as db:
        event = db.scalars(select(AuditEvent).where(AuditEvent.action == "config.renamed")).one()
    assert (event.actor, event.subject, event.detail["old"], event.detail["name"]) == (
        WHO,
        config,
        "people",
        "persons",
    )


def test_names_are_of_one_workspace(world: World) -> None:
    """Renaming here touches nothing of the same name elsewhere."""
    elsewhere = world.add_workspace()
    here, there = world.config(name="people"), world.config(name="people", workspace_id=elsewhere)
    naming.rename_config(world.ctx, here, "persons", by=WHO)
    assert world.config_row(there).name == "people"


def test_a_workspace_is_made_with_its_administrator_and_renamed(world: World) -> None:
    with world.ctx.sessions.begin() as db:
        db.add(User(id="ada", email=WHO, created_at=world.now()))
    made = workspaces.create(world.ctx, "North", "ada", by=WHO)
    with world.ctx.reads() as db:
        assert people.role_in(db, "ada", made) == "admin"
        assert [row.workspace_id for row in db.scalars(select(Membership))] == [made]
    with pytest.raises(WorkError, match="already"):
        workspaces.create(world.ctx, "North", "ada", by=WHO)
    with pytest.raises(NotFound):
        workspaces.create(world.ctx, "South", "nobody", by=WHO)
    with pytest.raises(DefinitionError):
        workspaces.create(world.ctx, "", "ada", by=WHO)
    assert workspaces.rename(world.ctx, made, "South", by=WHO)
    with world.ctx.reads() as db:
        assert db.get_one(Workspace, made).name == "South"
        actions = db.scalars(select(AuditEvent.action).where(AuditEvent.workspace_id == made)).all()
    assert actions == ["workspace.created", "workspace.renamed"]
    assert workspaces.id_of(world.ctx, "South") == made


def test_a_sync_of_a_new_workspace_knows_only_its_own_connections(world: World) -> None:
    with world.ctx.sessions.begin() as db:
        db.add(User(id="ada", email=WHO, created_at=world.now()))
    world.config()
    made = workspaces.create(world.ctx, "North", "ada", by=WHO)
    with world.ctx.reads() as db:
        known = db.scalars(select(Connection.name)).first()
    ends = {side: {"connection": known, "stream": "x"} for side in ("left", "right")}
    with pytest.raises(DefinitionError):
        saving.create_config(world.ctx, made, "s", {**ends, "match": ["id"]}, by=WHO, owner_id="ada")
