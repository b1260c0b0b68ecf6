"""Which scenarios cannot be played where no memory holds the records, and why.

The names are those of tests without `test_`; in brackets one set of their parameters, and after a bar the one
orientation that it is about. Each of these is played there all the same, and must fail for this reason: what
can be played has no business in these tables. A story that is not named here and asks for more is skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Reasons = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Missing:
    """What cannot be played on a system."""

    asks: Reasons  # what the story turns, and the system lets nobody turn
    otherwise: Reasons  # what turns out otherwise there, and rightly so
    not_held: tuple[str, ...]  # cases of the specification that no other test holds

    def listed(self) -> dict[str, str]:
        """Each entry with its reason."""
        return {
            entry: why
            for table in (self.asks, self.otherwise)
            for why, names in table.items()
            for entry in names
        }


# -- Airtable on the left, Google Sheets on the right ------------------------------------------------

_REASONS: Reasons = {
    "T24 and T25: neither hides or protects a single record": (
        "row[T24-left_wins]",
        "row[T24-right_wins]",
        "row[T24-newest_wins]",
        "row[T24-manual]",
        "row[T25-left_wins]",
        "row[T25-right_wins]",
        "row[T25-newest_wins]",
        "row[T25-manual]",
        "C23_a_poison_record_is_left_alone_after_a_while",
        "C25_a_refused_update_is_tried_again",
        "X01_a_typed_answer_that_came_to_one_side_only_is_no_agreement",
        "X01_a_typed_answer_that_one_side_refuses_is_sent_there_again",
        "X01_an_answer_that_was_refused_waits_on",
        "X01_of_two_answers_the_refused_one_waits",
        "X07_secrets_in_an_answer_are_not_shown",
        "V13_an_option_that_only_the_system_knows_of",
        "R05_missing_and_not_to_be_seen",
        "R28_archived_records_are_listed_too",
        "K22_who_meets_a_survivor_again_stays_linked_while_the_write_waits",
        "K16_one_record_is_merged_into_another",
    ),
    "files have no place in a sheet": (
        "A05_an_upload_fails_and_the_answer_is_lost",
        "A01_an_address_that_is_signed_anew_is_no_edit",
        "A01_a_hash_tells_where_both_sides_have_one",
        "A02_a_file_that_could_not_be_fetched_is_sent_when_it_can",
        "A04_a_file_is_removed_on_one_side",
        "A04_a_merge_is_refused_on_one_side",
        "A04_both_sides_add_a_file",
        "A05_an_upload_that_never_works_is_given_up_and_explained",
        "A05_one_of_three_uploads_fails",
        "A07_a_file_that_is_too_large",
    ),
    "links are ids in these stories, and names in a sheet": (
        "L01_a_known_record_links_to_a_new_one",
        "L01_a_link_to_a_record_of_another_sync",
        "L01_a_new_child_of_a_new_parent",
        "L01_a_required_link_that_cannot_be_made_waits_with_its_record",
        "L01_generations_at_once",
        "L01_records_are_not_matched_by_what_they_link_to",
        "L01_the_other_sync_ran_before",
        "L01_what_cannot_be_a_link_is_refused",
        "L02_killed_between_the_passes",
        "L02_the_parent_is_refused",
        "L02_two_new_records_link_to_each_other_and_one_to_itself",
        "L04_the_order_of_links_means_nothing",
        "L05_a_link_that_cannot_flow_is_neither_lost_nor_in_the_way",
        "L05_both_sides_add_a_link",
        "L05_links_as_texts_without_a_partner_sync_stay_as_they_are",
        "L05_links_at_first_contact",
        "L05_one_side_removes_what_the_other_keeps",
        "L05_one_way_the_destinations_own_links_are_drift",
        "L07_a_deleted_parent_leaves_its_id_behind",
        "L07_a_parent_is_deleted_and_its_child_stays",
        "L07_both_systems_cascade",
        "L07_the_system_deletes_the_children_and_we_do_not_delete_them_again",
        "L08_the_plan_shows_what_goes_along_and_the_guard_counts_it",
    ),
    "a column has no rules of its own: nothing is unique, required, limited in length or one of a list": (
        "a_refused_record_is_set_aside_and_the_rest_is_made",
        "C16_a_batch_is_refused_as_a_whole_because_of_one",
        "K07_three_keys_go_round_in_a_ring",
        "K07_two_keys_are_swapped_where_they_must_be_unique",
        "K08_keys_move_up_by_one",
        "K19_another_field_must_be_unique_too",
        "S02_a_field_is_renamed_that_keeps_its_id",
        "S05_a_number_becomes_a_text",
        "S07_a_new_required_field",
        "S08_an_option_is_removed",
        "U02_what_cannot_be_written_is_listed",
        "U04_a_run_that_moved_keys_around_is_undone",
        "V13_an_option_that_is_not_there",
        "V16_a_number_that_the_contract_does_not_allow",
        "V16_the_smallest_number_of_a_type_is_written",
        "V20_a_text_that_the_contract_does_not_allow",
        "V25_a_computed_field_is_never_written",
        "V25_mapping_into_a_computed_field_is_refused",
        "V26_a_formula_over_a_field_that_we_wrote",
        "X04_an_issue_is_ignored_until_something_changes",
        "X05_an_edit_in_the_panel_is_an_ordinary_write",
        "X05_an_edit_that_does_not_fit_is_refused_at_once",
        "X05_an_edit_in_place_of_a_value_that_cannot_be_read",
    ),
    "a key column of the story's own; here the ids are Airtable's and `sync_id`": (
        "G05_renames_are_not_deletes",
        "K02_a_key_is_renamed_where_it_is_the_id",
        "K02_two_who_could_be_the_renamed_one_are_not_guessed",
    ),
    "the system is as it is: it shows what it wrote, has versions, can look up, takes batches as they are": (
        "C01_C02_killed_around_the_call_that_creates[False-before]",
        "C01_C02_killed_around_the_call_that_creates[False-after]",
        "C04_a_batch_times_out_half_way",
        "C04_a_create_times_out_where_writes_show_late",
        "C05_a_later_read_shows_what_it_made",
        "C05_an_unknown_create_where_nothing_can_be_looked_up",
        "C17_outcomes_come_in_another_order_and_some_are_missing",
        "H01_a_clock_within_tolerance_is_not_worth_a_word",
        "H01_the_clock_of_one_side_is_wrong",
        "R04_missing_and_gone_for_sure|mirrored",
        "R04_missing_in_two_complete_reads",
        "R04_missing_once_and_there_again",
        "R04_our_own_late_showing_write_is_not_missed",
        "R10_another_table_that_nobody_decides_on_is_asked_about_anew",
        "R10_the_table_is_another_one",
        "R17_somebody_edits_between_our_read_and_our_write[False]",
        "R17_somebody_edits_what_we_are_about_to_delete[False]",
        "S04_headers_that_stand_there_twice",
        "S16_versions_are_made_in_another_way",
        "V31_a_field_that_changes_whenever_it_is_looked_at",
    ),
    "its pages are as long as they are, and hold what they should": (
        "R01_a_page_in_the_middle_fails",
        "R01_the_first_page_fails",
        "R02_forty_percent_are_silently_left_out",
        "R02_left_out_records_are_found_by_their_ids",
        "R07_a_side_that_held_records_reads_empty",
        "R14_a_record_stands_on_two_pages",
        "R14_of_two_copies_the_later_counts",
        "a_record_that_is_returned_twice_is_made_once",
        "R16_a_list_expires_while_it_is_read",
        "R16_a_list_that_always_expires_is_incomplete",
        "R19_a_field_that_is_not_returned_is_not_empty",
        "R19_a_system_leaves_empty_fields_out",
        "R20_a_field_is_returned_for_no_record_any_more",
        "R20_records_that_were_really_cleared_are_cleared",
        "R23_a_record_is_edited_while_its_side_is_read",
        "R26_the_source_counts_more_than_it_returns",
        "S01_a_mapped_field_is_removed[True]",
        "V08_an_empty_text_that_is_left_out",
        "V10_a_user_clears_a_field[True]",
        "V11_a_field_is_missing_in_one_answer_only",
    ),
    "it keeps a value as the story gives it": (
        "C26_a_new_record_keeps_less_than_was_sent",
        "C26_accepted_and_not_kept",
        "V20_what_was_cut_is_edited_where_it_was_cut",
        "V_a_rendering_at_first_contact",
        "V_a_rendering_is_no_edit",
    ),
    "no cell there holds such a value": (
        "K11_a_number_is_the_same_key_however_it_is_written[1.0]",
        "V16_a_number_that_nobody_can_write_out_stops_no_other_record[far]|told",
        "V16_a_number_that_nobody_can_write_out_stops_no_other_record[long]|told",
        "V29_not_a_number",
        "V35_a_broken_text_in_a_large_batch|told",
    ),
}

_OTHERWISE: Reasons = {
    "null and an empty text are one thing in both": (
        "V07_V08_null_and_an_empty_text_where_they_are_one",
        "V07_null_and_an_empty_text_are_two_things",
    ),
    "a sheet's column has no type, so a text stays the text that somebody typed": (
        "V05_a_day_stays_that_day|mirrored",
    ),
    "a number with too many digits is refused as inexact before anybody sees how long it is": (
        "V16_a_number_that_nobody_can_write_out_stops_no_other_record[long]|mirrored",
    ),
    "neither reads only what moved: a sheet never does, and the table has no time of its last edit": (
        "R25_deletes_do_not_show_in_an_incremental_read",
    ),
    "a first load goes in parts where both sides are read as one snapshot": (
        "what_is_sent_stands_in_our_database_before_and_nothing_more",
    ),
    "the copy stands in memory": ("R11_the_config_points_at_a_copy",),
}

_NOT_HELD = """
T24 T25 K02 K07 K08 K16 K19 R01 R02 R05 R10 R11 R14 R16 R19 R20 R23 R25 R26 R28 G05 C05 C16 C17 C23
C25 C26 V01 V02 V04 V07 V08 V11 V13 V14 V17 V19 V20 V22 V23 V25 V26 V28 V29 V34 S02 S04 S05 S07 S08
L01 L02 L04 L05 L07 L08 A01 A02 A04 A05 A07 H01 X04 X07
"""

# -- Files and tables alike ----------------------------------------------------------------------------

_ON_DISK: Reasons = {
    "it keeps a value as the story gives it": (
        "C26_a_new_record_keeps_less_than_was_sent",
        "C26_accepted_and_not_kept",
        "V20_what_was_cut_is_edited_where_it_was_cut",
        "V_a_rendering_at_first_contact",
        "V_a_rendering_is_no_edit",
    ),
    "the system is as it is: read at one moment, it shows what it wrote and can look it up": (
        "C01_C02_killed_around_the_call_that_creates[False-after]",
        "C01_C02_killed_around_the_call_that_creates[False-before]",
        "C04_a_batch_times_out_half_way",
        "C04_a_create_times_out_where_writes_show_late",
        "C05_a_later_read_shows_what_it_made",
        "C05_an_unknown_create_where_nothing_can_be_looked_up",
        "C17_outcomes_come_in_another_order_and_some_are_missing",
        "H01_a_clock_within_tolerance_is_not_worth_a_word",
        "H01_the_clock_of_one_side_is_wrong",
        "K16_one_record_is_merged_into_another",
        "R02_left_out_records_are_found_by_their_ids",
        "R04_missing_and_gone_for_sure",
        "R04_missing_in_two_complete_reads",
        "R04_missing_once_and_there_again",
        "R04_our_own_late_showing_write_is_not_missed",
        "R05_missing_and_not_to_be_seen",
        "R14_a_record_stands_on_two_pages",
        "R14_of_two_copies_the_later_counts",
        "a_record_that_is_returned_twice_is_made_once",
        "R17_somebody_edits_between_our_read_and_our_write[False]",
        "R17_somebody_edits_what_we_are_about_to_delete[False]",
        "S04_headers_that_stand_there_twice",
        "S05_a_number_becomes_a_text",
        "S07_a_new_required_field",
        "S16_versions_are_made_in_another_way",
        "X07_secrets_in_an_answer_are_not_shown",
        "a_refused_record_is_set_aside_and_the_rest_is_made",
        "row[T24-left_wins]",
        "row[T24-manual]",
        "row[T24-newest_wins]",
        "row[T24-right_wins]",
    ),
    "no single record can be hidden or protected": (
        "C23_a_poison_record_is_left_alone_after_a_while",
        "C25_a_refused_update_is_tried_again",
        "K22_who_meets_a_survivor_again_stays_linked_while_the_write_waits",
        "R28_archived_records_are_listed_too",
        "V13_an_option_that_only_the_system_knows_of",
        "X01_a_typed_answer_that_came_to_one_side_only_is_no_agreement",
        "X01_a_typed_answer_that_one_side_refuses_is_sent_there_again",
        "X01_an_answer_that_was_refused_waits_on",
        "X01_of_two_answers_the_refused_one_waits",
        "row[T25-left_wins]",
        "row[T25-manual]",
        "row[T25-newest_wins]",
        "row[T25-right_wins]",
    ),
    "a read gets through, and holds what stands there": (
        "R01_a_page_in_the_middle_fails",
        "R01_the_first_page_fails",
        "R02_forty_percent_are_silently_left_out",
        "R07_a_side_that_held_records_reads_empty",
        "R16_a_list_expires_while_it_is_read",
        "R16_a_list_that_always_expires_is_incomplete",
        "R19_a_field_that_is_not_returned_is_not_empty",
        "R19_a_system_leaves_empty_fields_out",
        "R20_a_field_is_returned_for_no_record_any_more",
        "R20_records_that_were_really_cleared_are_cleared",
        "R23_a_record_is_edited_while_its_side_is_read",
        "R26_the_source_counts_more_than_it_returns",
        "S01_a_mapped_field_is_removed[True]",
        "V08_an_empty_text_that_is_left_out",
        "V10_a_user_clears_a_field[True]",
        "V11_a_field_is_missing_in_one_answer_only",
    ),
    "no such value can be stored there": (
        "K11_a_number_is_the_same_key_however_it_is_written[1.0]",
        "V29_not_a_number[inf]",
        "V29_not_a_number[nan]",
        "V35_a_broken_text_in_a_large_batch",
    ),
    "the place of a stream is where it stands": (
        "R10_another_table_that_nobody_decides_on_is_asked_about_anew",
        "R10_the_table_is_another_one",
    ),
    "no column here holds links, files or documents": (
        "A01_a_hash_tells_where_both_sides_have_one",
        "A01_an_address_that_is_signed_anew_is_no_edit",
        "A02_a_file_that_could_not_be_fetched_is_sent_when_it_can",
        "A04_a_file_is_removed_on_one_side",
        "A04_a_merge_is_refused_on_one_side",
        "A04_both_sides_add_a_file",
        "A05_an_upload_fails_and_the_answer_is_lost",
        "A05_an_upload_that_never_works_is_given_up_and_explained",
        "A05_one_of_three_uploads_fails",
        "A07_a_file_that_is_too_large",
        "L01_a_known_record_links_to_a_new_one",
        "L01_a_link_to_a_record_of_another_sync",
        "L01_a_new_child_of_a_new_parent",
        "L01_a_required_link_that_cannot_be_made_waits_with_its_record",
        "L01_generations_at_once",
        "L01_records_are_not_matched_by_what_they_link_to",
        "L01_the_other_sync_ran_before",
        "L01_what_cannot_be_a_link_is_refused",
        "L02_killed_between_the_passes",
        "L02_two_new_records_link_to_each_other_and_one_to_itself",
        "L04_the_order_of_links_means_nothing",
        "L05_a_link_that_cannot_flow_is_neither_lost_nor_in_the_way",
        "L05_both_sides_add_a_link",
        "L05_links_as_texts_without_a_partner_sync_stay_as_they_are",
        "L05_links_at_first_contact",
        "L05_one_side_removes_what_the_other_keeps",
        "L05_one_way_the_destinations_own_links_are_drift",
        "L07_a_deleted_parent_leaves_its_id_behind",
        "L07_a_parent_is_deleted_and_its_child_stays",
        "L07_both_systems_cascade",
        "L07_the_system_deletes_the_children_and_we_do_not_delete_them_again",
        "L08_the_plan_shows_what_goes_along_and_the_guard_counts_it",
    ),
}

# -- CSV files on both sides -------------------------------------------------------------------------

_IN_FILES: Reasons = {
    "a read gets through, and holds what stands there": (
        "V07_V08_null_and_an_empty_text_where_they_are_one[knobs1]",
    ),
    "a column has no rules of its own: nothing is unique, required, limited or one of a list": (
        "C16_a_batch_is_refused_as_a_whole_because_of_one",
        "K07_three_keys_go_round_in_a_ring",
        "K07_two_keys_are_swapped_where_they_must_be_unique",
        "K08_keys_move_up_by_one",
        "K19_another_field_must_be_unique_too",
        "L02_the_parent_is_refused",
        "S02_a_field_is_renamed_that_keeps_its_id",
        "S08_an_option_is_removed",
        "U02_what_cannot_be_written_is_listed",
        "U04_a_run_that_moved_keys_around_is_undone",
        "V13_an_option_that_is_not_there",
        "V16_a_number_that_the_contract_does_not_allow",
        "V16_the_smallest_number_of_a_type_is_written",
        "V20_a_text_that_the_contract_does_not_allow",
        "V25_a_computed_field_is_never_written",
        "V25_mapping_into_a_computed_field_is_refused",
        "V26_a_formula_over_a_field_that_we_wrote",
        "X04_an_issue_is_ignored_until_something_changes",
        "X05_an_edit_in_the_panel_is_an_ordinary_write",
        "X05_an_edit_that_does_not_fit_is_refused_at_once",
        "X05_an_edit_in_place_of_a_value_that_cannot_be_read",
    ),
}

_OTHERWISE_IN_FILES: Reasons = {
    "all in a file is text": (
        "G07_every_date_moves_by_the_same_hour",
        "V05_a_day_stays_that_day",
        "V16_a_number_that_nobody_can_write_out_stops_no_other_record",
        "V29_not_a_number[value2]",
        "V29_not_a_number[value3]",
        "V31_a_field_that_changes_whenever_it_is_looked_at",
    ),
    "null and an empty text are one thing in a file": (
        "V07_V08_null_and_an_empty_text_where_they_are_one[knobs0]",
        "V07_null_and_an_empty_text_are_two_things",
    ),
    "a file is always read whole": ("R25_deletes_do_not_show_in_an_incremental_read",),
    "the copy stands in memory": ("R11_the_config_points_at_a_copy",),
}

_NOT_HELD_IN_FILES = """
T24 T25 K07 K08 K16 K19 R01 R02 R04 R05 R10 R11 R14 R16 R19 R20 R23 R25 R26 R28 C05 C16 C17 C23
C25 C26 V01 V02 V04 V05 V11 V13 V14 V16 V17 V19 V20 V22 V23 V25 V26 V28 V34 V35 S02 S04 S05 S07
S08 L01 L02 L04 L05 L07 L08 A01 A02 A04 A05 A07 H01 X04 X07
"""

# -- Tables of SQLite databases on both sides --------------------------------------------------------

_IN_TABLES: Reasons = {
    "the system is as it is: read at one moment, it shows what it wrote and can look it up": (
        "C16_a_batch_is_refused_as_a_whole_because_of_one",
        "V31_a_field_that_changes_whenever_it_is_looked_at",
    ),
    "a read gets through, and holds what stands there": (
        "V07_V08_null_and_an_empty_text_where_they_are_one",
    ),
    "a column has no rules beyond these two: it may be required or unique": (
        "L02_the_parent_is_refused",
        "S02_a_field_is_renamed_that_keeps_its_id",
        "S08_an_option_is_removed",
        "U02_what_cannot_be_written_is_listed",
        "V13_an_option_that_is_not_there",
        "V16_a_number_that_the_contract_does_not_allow",
        "V16_the_smallest_number_of_a_type_is_written",
        "V20_a_text_that_the_contract_does_not_allow",
        "V25_a_computed_field_is_never_written",
        "V25_mapping_into_a_computed_field_is_refused",
        "V26_a_formula_over_a_field_that_we_wrote",
        "X04_an_issue_is_ignored_until_something_changes",
        "X05_an_edit_in_the_panel_is_an_ordinary_write",
        "X05_an_edit_that_does_not_fit_is_refused_at_once",
        "X05_an_edit_in_place_of_a_value_that_cannot_be_read",
    ),
    "a key of the story's own: here the table gives the ids": (
        "G05_renames_are_not_deletes",
        "K02_a_key_is_renamed_where_it_is_the_id",
        "K02_two_who_could_be_the_renamed_one_are_not_guessed",
    ),
    "here ids are numbers, and rows have no order": (
        "K14_a_sheet_is_sorted",
        "K19_another_field_must_be_unique_too",
    ),
}

_OTHERWISE_IN_TABLES: Reasons = {
    "without a column to go by a table is always read whole": (
        "R25_deletes_do_not_show_in_an_incremental_read",
    ),
    "the copy stands in memory": ("R11_the_config_points_at_a_copy",),
}

_NOT_HELD_IN_TABLES = """
T24 T25 K14 K16 K19 R01 R02 R04 R05 R10 R11 R14 R16 R19 R20 R23 R25 R26 R28 G05 C05 C16 C17 C23
C25 C26 V01 V02 V04 V08 V11 V13 V14 V17 V19 V20 V22 V23 V25 V26 V28 V34 V35 S02 S04 S05 S07 S08
L01 L02 L04 L05 L07 L08 A01 A02 A04 A05 A07 H01 X04 X07
"""


# ----------------------------------------------------------------------------------------------------


def _both(one: Reasons, two: Reasons) -> Reasons:
    return {
        why: (*one.get(why, ()), *two.get(why, ())) for why in [*one, *(why for why in two if why not in one)]
    }


OF: Mapping[str, Missing] = {
    "simulators": Missing(_REASONS, _OTHERWISE, tuple(_NOT_HELD.split())),
    "csv": Missing(_both(_ON_DISK, _IN_FILES), _OTHERWISE_IN_FILES, tuple(_NOT_HELD_IN_FILES.split())),
    "sql": Missing(_both(_ON_DISK, _IN_TABLES), _OTHERWISE_IN_TABLES, tuple(_NOT_HELD_IN_TABLES.split())),
}


def reason(system: str, name: str, parameters: str, orientation: str) -> tuple[str, bool] | None:
    """Why a test cannot be played on a system, and whether the story then asks for what is not there."""
    if (missing := OF.get(system)) is None:
        return None
    name = name.removeprefix("test_")
    entries = {name, f"{name}[{parameters}]"}
    entries |= {f"{entry}|{orientation}" for entry in entries}
    for table in (missing.asks, missing.otherwise):
        for why, listed in table.items():
            if not entries.isdisjoint(listed):
                return why, table is missing.asks
    return None
