"""The laws, and for each what takes it out of the code and which tests then turn red.

A cut is as small as the law allows: one value or one piece of one function. The tests named beside it are
ordinary ones of the suite, which hold the law for other reasons than this.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, select, text

from connectors.base import Write
from models import migrate, secrets
from models.people import Workspace
from models.sync_runs import SyncRun
from sync import diff, guard, identity, mapping, planner, readback, reconcile
from tasks import (
    apply,
    batches,
    claims,
    execute,
    intents,
    ledger,
    logs,
    look,
    narrow,
    retries,
    sides,
    summary,
    undo,
    upkeep,
    waiting,
)
from tests.laws.knife import put, rewrite
from web import auth
from web.database import db

LAWS: Mapping[int, str] = {
    1: "SQL is the truth",
    2: "each side is compared only with its own shadow",
    3: "absence is not deletion",
    4: "intent before effect",
    5: "shadows advance only on a confirmed result",
    6: "equal is never a conflict",
    7: "one record's failure touches one record",
    8: "nothing is overwritten or deleted without a copy",
    9: "guards hold, they don't lock out",
    10: "a changed mapping never implies deletes",
    11: "a preview is the same code and leaves no trace",
    12: "at most one run of a config at a time",
    13: "a retry re-reads",
    14: "secrets appear nowhere else",
    15: "the server decides who may",
}


@dataclass(frozen=True)
class Cut:
    law: int
    what: str
    make: Callable[[], None]
    tests: tuple[str, ...]


CUTS: list[Cut] = []


def cut(law: int, what: str, *tests: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def keep(make: Callable[[], None]) -> Callable[[], None]:
        CUTS.append(Cut(law, what, make, tests))
        return make

    return keep


def _in(room: str, *names: str) -> tuple[str, ...]:
    """Tests by file and name, in one orientation where they are told in two."""
    return tuple(f"tests/{room}.py::{name}" for name in names)


READS, VALUES, CRASHES = "scenarios/test_reads", "scenarios/test_values", "scenarios/test_crashes"
FIRST_LOAD = "scenarios/test_first_load"
GUARDS, SCHEMA, UNDO = "scenarios/test_guards", "scenarios/test_schema", "scenarios/test_preview_and_undo"
TABLE, PEOPLE, IDENTITY = "scenarios/test_truth_table", "scenarios/test_people", "scenarios/test_identity"
CLAIMS, SWEEP, RETRIES, DOORS = (
    "tasks/test_claims",
    "tasks/test_upkeep",
    "tasks/test_retries",
    "web/test_doors",
)


def _row(name: str, policy: str) -> str:
    return f"tests/{TABLE}.py::test_row[told-memory-{name}-{policy}]"


# -- 1: SQL is the truth --------------------------------------------------------------------------


@cut(
    1,
    "the sweep that rings again",
    *_in(SWEEP, "test_a_run_that_waits_in_silence_is_rung_again_but_not_all_the_time"),
)
def _() -> None:
    put(upkeep, "_to_ring", lambda ctx, *, expired: [])


@cut(1, "the sweep over expired leases", *_in(SWEEP, "test_what_must_not_start_again_is_ended_by_the_sweep"))
def _() -> None:
    put(upkeep, "_expired", lambda ctx: [])


@cut(
    1, "the commit before the ring", *_in("tasks/test_queue", "test_a_run_is_stored_before_a_worker_is_woken")
)
def _() -> None:
    from tasks import runs

    plain = runs.new_run

    def ring_at_once(ctx: Any, *args: Any, **more: Any) -> Any:
        run = plain(ctx, *args, **more)
        ctx.wake(run.id)
        return run

    put(runs, "new_run", ring_at_once)


# -- 2: own shadows -------------------------------------------------------------------------------


@cut(
    2,
    "own shadows: the right side is compared with the left one's",
    *_in(VALUES, "test_V_a_rendering_is_no_edit"),
)
def _() -> None:
    rewrite(reconcile, "_both", "tie.right.get(name, MISSING)", "tie.left.get(name, MISSING)")


@cut(2, "shadows: each side is compared with the other", _row("T03", "left_wins"))
def _() -> None:
    rewrite(
        reconcile._Pair,
        "changed",
        "self.field.same(side, self.now(side), self.shadow(side))",
        "self.field.same(side, self.now(side), self.now('left' if side == 'right' else 'right'))",
    )


# -- 3: absence -----------------------------------------------------------------------------------


@cut(3, "the proof of completeness", *_in(READS, "test_R01_a_page_in_the_middle_fails"))
def _() -> None:
    put(diff.Scan, "proves_absence", property(lambda scan: True))


@cut(3, "that a read reached its end", *_in(READS, "test_R16_a_list_that_always_expires_is_incomplete"))
def _() -> None:
    rewrite(diff, "scan_pages", "if is_last and (total is None or total == scan.read):", "if True:")


@cut(
    3,
    "the source's own count as part of the proof",
    *_in(READS, "test_R26_the_source_counts_more_than_it_returns"),
)
def _() -> None:
    rewrite(diff, "scan_pages", "total is None or total == scan.read", "True")


@cut(
    3,
    "the read of the parts that do not add up",
    *_in("sync/test_diff", "test_who_reads_only_the_parts_that_do_not_add_up_finds_what_a_whole_read_finds"),
)
def _() -> None:
    rewrite(diff, "moved_parts", "there.get(part) != known.get(part)", "False")


@cut(3, "the second read of what is no snapshot", *_in(READS, "test_R04_missing_in_two_complete_reads"))
def _() -> None:
    put(diff, "absence_is_sure", lambda **facts: True)


@cut(
    3,
    "the time that a late-showing write has",
    *_in(READS, "test_R04_our_own_late_showing_write_is_not_missed"),
)
def _() -> None:
    rewrite(diff, "absence_is_sure", "not consistent and", "False and")


@cut(3, "what may not be seen is not gone", *_in(READS, "test_R05_missing_and_not_to_be_seen"))
def _() -> None:
    rewrite(look, "_side_facts", "probed[record_id] = Unknown(", "probed[record_id] = Gone() or Unknown(")


@cut(
    3,
    "a field that was not returned is not empty",
    *_in(VALUES, "test_V11_a_field_is_missing_in_one_answer_only"),
)
def _() -> None:
    rewrite(mapping.FieldMapping, "see", "if omits_empty and name not in vanished", "if True")


@cut(3, "an old record is found under its new id", *_in(IDENTITY, "test_K17_a_table_is_numbered_anew"))
def _() -> None:
    put(planner, "_relink", lambda *args: set())


@cut(
    3,
    "an id that is another's is let go of",
    *_in(IDENTITY, "test_K17_who_took_an_id_of_a_pair_that_waits_is_made_all_the_same"),
)
def _() -> None:
    put(ledger, "retie", lambda db, retied: None)


# -- 4: intent before effect ----------------------------------------------------------------------


@cut(4, "intent before effect", *_in(CRASHES, "test_C01_C02_killed_around_the_call_that_creates"))
def _() -> None:
    put(apply, "_mark_sent", lambda work, batch: None)


@cut(
    4,
    "intent before effect, by the batch",
    *_in(FIRST_LOAD, "test_a_batch_that_a_dead_process_left_is_in_the_journal_of_the_next"),
)
def _() -> None:
    put(batches, "_packed", lambda creates: zlib.compress(b"[]"))


@cut(4, "the look-up of an unknown create", *_in(CRASHES, "test_C04_a_create_times_out_and_did_happen"))
def _() -> None:
    put(apply, "_look_for_create", lambda work, db, change, side, unknown: apply._not_done(change))


@cut(
    4,
    "the block on a second try of an unknown create",
    *_in(CRASHES, "test_C05_an_unknown_create_where_nothing_can_be_looked_up"),
)
def _() -> None:
    put(execute, "_block_unknown_creates", lambda work, outlook: None)


@cut(
    4,
    "the recovery of what a dead worker left",
    *_in(CRASHES, "test_C01_C02_killed_around_the_call_that_creates"),
)
def _() -> None:
    put(execute, "recover", lambda work: None)


# -- 5: shadows -----------------------------------------------------------------------------------


@cut(
    5,
    "the look at what stands there after a batch",
    *_in(FIRST_LOAD, "test_what_is_made_in_parts_is_what_is_made_at_once"),
)
def _() -> None:
    rewrite(batches, "_as_sent", "not mapping.is_equal(seen.values, create.change.intent.after)", "False")


@cut(5, "the judgement of what was read back", *_in(CRASHES, "test_C26_accepted_and_not_kept"))
def _() -> None:
    put(readback, "judge", lambda *values: readback.Verdict.KEPT)


@cut(5, "the read-back before a shadow moves", *_in(CRASHES, "test_C26_accepted_and_not_kept"))
def _() -> None:
    put(apply, "_with_receipts", lambda work, batch, outcomes: outcomes)


@cut(5, "a refused write leaves the shadows", *_in(CRASHES, "test_C25_a_refused_update_is_tried_again"))
def _() -> None:
    rewrite(
        apply,
        "_settle_one",
        "_refuse(work, db, change, outcome, side)",
        "confirm(work, db, change, outcome, now, moves)",
    )


@cut(5, "shadows take what stands there, not what was sent", *_in(VALUES, "test_V_a_rendering_is_no_edit"))
def _() -> None:
    rewrite(apply, "_read_back", "kept[name] = intended if got is MISSING else got", "kept[name] = intended")


@cut(
    5,
    "an answer to both sides is agreed on when both have it",
    *_in(PEOPLE, "test_X01_a_typed_answer_that_came_to_one_side_only_is_no_agreement"),
)
def _() -> None:
    rewrite(apply, "confirm", "stored.pop(name, None)", "resolved.add(name)")


@cut(
    5,
    "a file that did not arrive is no removal",
    *_in("scenarios/test_attachments", "test_A05_an_upload_fails_and_the_answer_is_lost"),
)
def _() -> None:
    rewrite(apply, "_as_we_left_it", "if not pair.holds_files", "if True")


# -- 6: conflicts ---------------------------------------------------------------------------------


@cut(6, "equality beats conflict", _row("T04", "manual"))
def _() -> None:
    rewrite(reconcile, "_both", "if pair.agree(item.left, item.right):", "if False:")


@cut(6, "a one-sided edit is no conflict", _row("T03", "left_wins"))
def _() -> None:
    rewrite(
        reconcile,
        "_two_way",
        'case False, True:\n            flowing.append((item, "right"))',
        "case False, True:\n            contested.append(item)",
    )


# -- 7: one record --------------------------------------------------------------------------------


@cut(7, "bisecting a refused batch", *_in(CRASHES, "test_C16_a_batch_is_refused_as_a_whole_because_of_one"))
def _() -> None:
    rewrite(apply, "send_batch", "if len(batch) == 1:", "if len(batch) == 1 or True:")


@cut(
    7,
    "a run in which something failed is partial",
    *_in(CRASHES, "test_C23_a_poison_record_is_left_alone_after_a_while"),
)
def _() -> None:
    rewrite(summary.Summary, "settle_status", "self.failed + ", "")


@cut(
    7,
    "a poison record is left alone after a while",
    *_in(CRASHES, "test_C23_a_poison_record_is_left_alone_after_a_while"),
)
def _() -> None:
    put(execute, "_let_rest", lambda work, outlook: None)


@cut(
    7,
    "ambiguity sets aside instead of guessing",
    *_in(IDENTITY, "test_K04_two_new_records_with_one_key_are_set_aside"),
)
def _() -> None:
    rewrite(identity, "pair_up", "if len(items) > 1:", "if False:")


@cut(
    7,
    "a record that is gone is not made again beside its twin",
    *_in(IDENTITY, "test_K04_who_was_deleted_is_not_made_again_beside_a_linked_record_of_that_key"),
)
def _() -> None:
    put(planner._Standing, "twin", lambda standing, decision, looks: None)


@cut(
    7,
    "the number of a row is no one's id",
    *_in("test_files_without_ids", "test_the_number_of_a_row_is_no_ones_id"),
)
def _() -> None:
    put(execute, "_is_unkeyed", lambda item: False)


# -- 8: copies ------------------------------------------------------------------------------------


@cut(8, "the copy of what is overwritten or deleted", _row("T02", "manual"))
def _() -> None:
    rewrite(
        intents,
        "change_row",
        'before=encode_fields(intent.before) if intent.operation != "create" else None',
        "before={}",
    )


@cut(
    8,
    "the copy of a deleted record's unmapped fields",
    *_in(UNDO, "test_U02_deleted_records_are_made_again_whole"),
)
def _() -> None:
    put(execute, "_copy_what_goes", lambda work, outlook: None)


@cut(
    8, "nothing is overwritten blindly", *_in(READS, "test_R17_somebody_edits_between_our_read_and_our_write")
)
def _() -> None:
    rewrite(
        intents,
        "_write",
        "expected=expected, expected_version=version)",
        "expected=None, expected_version=None)",
    )


# -- 9: guards ------------------------------------------------------------------------------------


@cut(9, "the shrink guard", *_in(GUARDS, "test_G02_three_of_four_are_deleted"))
def _() -> None:
    rewrite(guard, "_guard_side", "mark(deletes, MASS_DELETE)", "pass")


@cut(9, "the guard of an empty side", *_in(READS, "test_R08_the_last_record_of_a_small_table_is_deleted"))
def _() -> None:
    rewrite(guard, "_guard_side", "mark(deletes, EMPTY_SIDE)", "pass")


@cut(9, "the guard of mass creates", *_in(GUARDS, "test_G08_everything_looks_new"))
def _() -> None:
    rewrite(guard, "_guard_side", "mark(creates, MASS_CREATE)", "pass")


@cut(9, "the guard of everything changed", *_in(GUARDS, "test_G07_every_date_moves_by_the_same_hour"))
def _() -> None:
    rewrite(guard, "_guard_updates", "mark(indexes, ALL_CHANGED)", "pass")


@cut(9, "the budget", *_in(GUARDS, "test_G14_a_budget_of_creates"))
def _() -> None:
    put(guard, "_guard_budget", lambda *given: None)


@cut(9, "first contact waits for a look", *_in(UNDO, "test_D02_a_line_of_an_approved_plan_has_moved_since"))
def _() -> None:
    rewrite(guard, "hold", "if facts.first_contact and hold_first_run:", "if False:")


@cut(9, "an approval is for one guard only", *_in(GUARDS, "test_G13_an_approval_is_for_one_guard_only"))
def _() -> None:
    rewrite(guard, "hold", "guard not in approved", "not approved")


@cut(9, "an approval runs out", *_in(GUARDS, "test_G13_an_approval_runs_out"))
def _() -> None:
    put(ledger, "APPROVAL_LASTS", timedelta(days=10_000))


@cut(
    9,
    "held changes withdraw themselves",
    *_in(GUARDS, "test_G11_a_held_delete_is_withdrawn_when_its_record_is_back"),
)
def _() -> None:
    put(ledger, "withdraw", lambda *given, **more: 0)


@cut(9, "one alert per change of state", *_in(GUARDS, "test_G14_one_alert_per_change_of_state"))
def _() -> None:
    put(waiting, "clear_alert", lambda *given, **more: None)


@cut(
    9,
    "what was not approved waits on when rows get their ids",
    *_in("test_files_without_ids", "test_what_was_not_approved_waits_on"),
)
def _() -> None:
    rewrite(execute, "_fill_keys", "change.guard or ", "")


# -- 10: migrations -------------------------------------------------------------------------------


@cut(10, "the hold of a migration", *_in(SCHEMA, "test_S13_two_way_becomes_one_way"))
def _() -> None:
    rewrite(guard, "hold", "if facts.migration:", "if False:")


@cut(10, "the stop where the container is another one", *_in(READS, "test_R10_the_table_is_another_one"))
def _() -> None:
    put(execute, "_containers_must_match", lambda work: None)


@cut(
    10,
    "a field that goes away clears nothing",
    *_in(READS, "test_R20_a_field_is_returned_for_no_record_any_more"),
)
def _() -> None:
    put(look, "_vanished", lambda *given: frozenset())


# -- 11: previews ---------------------------------------------------------------------------------


@cut(11, "a preview writes nothing of its own", _row("T02", "manual"))
def _() -> None:
    plain = execute.preview

    def leaves_a_trace(ctx: Any, pairing: Any, **more: Any) -> Any:
        found = plain(ctx, pairing, **more)
        with ctx.sessions.begin() as db:
            waiting.tell(
                db,
                ctx.db_now(db),
                workspace_id="workspace-1",
                config_id=pairing.config_id,
                conflicts=1,
                held=(),
            )
        return found

    put(execute, "preview", leaves_a_trace)


@cut(11, "a preview writes nothing to the systems", *_in(UNDO, "test_D01_a_preview_says_what_the_run_does"))
def _() -> None:
    plain = execute.preview

    def sends(ctx: Any, pairing: Any, **more: Any) -> Any:
        found = plain(ctx, pairing, **more)
        end = pairing.end("right")
        for page in list(end.connector.read(end.stream, end.options)):
            for index in range(len(page.ids)):
                record = page.record(index)
                end.connector.write(end.stream, end.options, [Write("preview", "delete", record.id)])
        return found

    put(execute, "preview", sends)


@cut(
    11,
    "what a preview showed is asked by no guard",
    *_in(UNDO, "test_D01_a_preview_of_the_first_run_holds_nothing_later[told-memory]"),
)
def _() -> None:
    put(ledger, "FORETOLD", ())


@cut(
    11,
    "carried out is what was shown",
    *_in(UNDO, "test_D02_a_preview_is_carried_out_as_shown_and_no_more[told-memory]"),
)
def _() -> None:
    put(narrow, "keep_shown", lambda outlook, shown: len(shown))


@cut(11, "a preview plans as the run does", *_in(UNDO, "test_D01_a_preview_says_what_the_run_does"))
def _() -> None:
    rewrite(execute, "preview", "outlook.plan.changes]", "outlook.plan.changes[1:]]")


# -- 12: one run at a time ------------------------------------------------------------------------


@cut(12, "fencing", *_in(CLAIMS, "test_a_worker_that_wakes_up_late_can_write_nothing[sqlite]"))
def _() -> None:
    put(claims, "fence", lambda ctx, db, claim: None)


@cut(
    12,
    "the token in what a run writes",
    *_in(CLAIMS, "test_a_worker_that_wakes_up_late_can_write_nothing[sqlite]"),
)
def _() -> None:
    put(claims, "held_by", lambda claim: (SyncRun.id == claim.run_id,))


@cut(
    12,
    "the condition of a claim",
    *_in(CLAIMS, "test_a_lease_that_is_renewed_is_kept_and_one_that_is_not_is_taken_over[sqlite]"),
)
def _() -> None:
    put(claims, "is_over", lambda now: SyncRun.state == "running")


@cut(
    12,
    "the index of one running run per config",
    *_in(CLAIMS, "test_two_runs_of_one_config_never_run_together[sqlite]"),
)
def _() -> None:
    plain = migrate.upgrade

    def without(engine: Engine, *more: Any) -> Any:
        found = plain(engine, *more)
        with engine.begin() as db:
            db.execute(text("DROP INDEX uq_sync_runs_running"))
        return found

    put(migrate, "upgrade", without)


@cut(
    12, "three interruptions and it is over", *_in(CLAIMS, "test_the_third_interruption_ends_the_run[sqlite]")
)
def _() -> None:
    put(claims, "INTERRUPTIONS", 1_000)


# -- 13: retries ----------------------------------------------------------------------------------


@cut(
    13,
    "a retry leaves out what a later run fixed",
    *_in(RETRIES, "test_what_a_later_run_fixed_is_left_out[sqlite]"),
)
def _() -> None:
    put(retries, "still_failing", lambda db, config_id, keys: keys)


@cut(
    13,
    "a retry takes the failed records only",
    *_in("test_cli", "test_retry_here_takes_up_what_failed_and_nothing_else"),
)
def _() -> None:
    put(narrow, "narrow", lambda outlook, pairing, options: None)


@cut(13, "what was undone is not undone twice", *_in(UNDO, "test_U02_what_was_undone_is_not_undone_twice"))
def _() -> None:
    put(undo, "_put_back", lambda db, config_id: set())


@cut(
    13,
    "an undo restores only what is as it was left",
    *_in(UNDO, "test_U01_twenty_updates_three_of_them_edited_since"),
)
def _() -> None:
    put(undo, "_still", lambda work, side, seen, left_as: True)


@cut(
    13,
    "an undo writes to no record that took another's id",
    *_in(UNDO, "test_U01_a_record_is_undone_under_the_id_that_it_has_now"),
)
def _() -> None:
    put(undo, "_is_another", lambda *args: False)


@cut(13, "an answer is asked again when a side moved", *_in(PEOPLE, "test_X01_a_side_moves_after_the_answer"))
def _() -> None:
    rewrite(reconcile, "_resolve", "if not shown:", "if False:")


# -- 14: secrets ----------------------------------------------------------------------------------


@cut(14, "encryption at rest", *_in("models/test_secrets", "test_secret_is_nowhere_in_what_is_stored"))
def _() -> None:
    put(secrets.KeyRing, "encrypt", lambda ring, text, place: text)


@cut(
    14,
    "a secret is bound to its place",
    *_in("models/test_secrets", "test_secret_copied_elsewhere_is_refused"),
)
def _() -> None:
    put(secrets, "_bound_to", lambda key_id, place: b"")


@cut(
    14,
    "secrets are taken out of what a system says",
    *_in(PEOPLE, "test_X07_secrets_in_an_answer_are_not_shown"),
)
def _() -> None:
    put(sides.Pairing, "clean", lambda pairing, text: text)


@cut(14, "secrets are taken out of errors", *_in(PEOPLE, "test_X07_secrets_in_an_answer_are_not_shown"))
def _() -> None:
    from contextlib import nullcontext

    put(sides, "_cleaned", lambda secrets: nullcontext())


@cut(
    14,
    "secrets are taken out of the log",
    *_in("tasks/test_logs", "test_what_looks_like_a_secret_is_taken_out"),
)
def _() -> None:
    put(logs, "_clean", lambda name, value: value)


# -- 15: who may ----------------------------------------------------------------------------------


@cut(15, "the workspace check", *_in(DOORS, "test_what_belongs_to_another_workspace_does_not_exist"))
def _() -> None:
    def somebodys(person: auth.Person) -> str:
        found = db.session.scalar(select(Workspace.id).order_by(Workspace.created_at))
        return str(found)

    put(auth.Person, "workspace_id", property(somebodys))


@cut(15, "the role check", *_in(DOORS, "test_a_viewer_changes_nothing_and_sees_no_buttons"))
def _() -> None:
    put(auth.Person, "may", lambda person, capability: True)


@cut(15, "the gate before every route", *_in(DOORS, "test_a_stranger_is_refused_everywhere"))
def _() -> None:
    put(auth, "_gate", lambda: None)


def _tests_of_all() -> tuple[str, ...]:
    """Every test that is named, once. Those that are chosen by words are tried only after their cut."""
    return tuple(dict.fromkeys(test for each in CUTS for test in each.tests if "::" in test))


NOTHING = Cut(0, "nothing", lambda: None, _tests_of_all())
