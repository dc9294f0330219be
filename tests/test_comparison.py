"""Each row of the README's comparison with CrewAI is shown by tests: what stands in crewq's column is what they see."""

from __future__ import annotations

import ast

import pytest

from tests.pages import ROOT, rows

DIFFERENT = {row[0]: row for row in rows(ROOT / "README.md", "| | CrewAI | crewq |")}

# Which tests show a row: file, and the names of its functions.
SHOWN = {
    "one crew object, several kickoffs at once": {
        "integration/test_tasks.py": ["test_a_crew_object_is_kicked_off_ten_times_at_once"],
    },
    "`kickoff_for_each`": {
        "integration/test_batch.py": [
            "test_they_really_run_side_by_side",
            "test_one_that_fails_raises_at_the_end_with_everything_attached",
        ],
    },
    "`kickoff_async`": {
        "integration/test_durability.py": ["test_a_producer_killed_in_the_middle_loses_nothing"],
        "integration/test_kickoff.py": ["test_the_same_handle_in_another_process"],
    },
    "two async tasks of one agent": {
        "integration/test_tasks.py": ["test_async_tasks_run_side_by_side_and_are_given_what_came_before"],
        "integration/test_order.py": ["test_a_graph_of_tasks_of_which_several_async_ones_end_it"],
    },
    "an async task without `context`": {
        "integration/test_order.py": ["test_a_graph_of_tasks_of_which_several_async_ones_end_it"],
    },
    "`replay`": {
        "integration/test_replay.py": [
            "test_from_a_failed_task_and_from_one_that_never_began",
            "test_an_item_of_a_batch",
            "test_from_another_process",
        ],
    },
    "a process dies in the middle": {
        "integration/test_durability.py": ["test_a_worker_killed_with_all_its_work"],
    },
    "`max_execution_time`": {
        "integration/test_tasks.py": ["test_a_limit_of_time_is_enforced"],
    },
    "stopping a run": {
        "integration/test_kickoff.py": ["test_cancel_aborts_the_call_in_flight_within_a_second"],
        "integration/test_cli.py": ["test_a_run_is_watched_and_cancelled_from_elsewhere"],
    },
    "`max_rpm`": {
        "integration/test_limits.py": [
            "test_max_rpm_of_a_crew_holds_over_both_workers",
            "test_max_rpm_of_an_agent_wins_over_that_of_its_crew",
        ],
    },
    "a provider's limits": {
        "integration/test_limits.py": [
            "test_no_more_calls_are_under_way_at_once_than_the_limit_says",
            "test_no_more_tokens_are_used_in_a_minute_than_the_limit_says",
            "test_a_refusal_of_the_provider_slows_both_workers",
        ],
    },
    "a model that is down": {
        "integration/test_limits.py": ["test_another_model_answers_for_one_that_is_down"],
    },
    "a budget": {
        "integration/test_budgets.py": [
            "test_a_run_pauses_before_the_call_that_would_go_beyond_and_goes_on_with_more",
            "test_twenty_slots_spend_no_more_than_there_is",
            "test_a_tenant_has_so_much_a_day_and_goes_on_with_the_next",
        ],
    },
    "`cache=True`": {
        "integration/test_tasks.py": ["test_a_result_is_used_again_in_all_tasks_of_a_crew"],
        "integration/test_loop.py": ["test_a_result_is_used_again_where_the_crew_says_so"],
        "unit/test_calls.py": ["test_an_effect_and_a_failure_are_nothing_to_share"],
    },
    "`token_usage`": {
        "integration/test_tasks.py": ["test_a_crew_object_is_kicked_off_ten_times_at_once"],
        "integration/test_order.py": [
            "test_each_call_task_run_and_batch_has_what_it_cost",
            "test_a_price_that_nobody_knows_is_said_to_be_unknown",
        ],
        "integration/test_recorded.py": ["test_two_workers_record_a_batch_and_replay_it_without_a_provider"],
    },
    "a crash in the middle of delegated work": {
        "integration/test_delegation.py": ["test_a_crash_in_the_middle_of_a_delegation"],
    },
    "`planning=True`": {
        "integration/test_hierarchical.py": [
            "test_a_plan_is_made_first_and_told_to_every_task",
            "test_a_replay_keeps_the_plan",
        ],
    },
    "`stream=True`": {
        "integration/test_streaming.py": [
            "test_another_process_goes_on_from_the_last_chunk_read",
            "test_a_crash_in_the_middle_of_a_stream",
        ],
    },
    "a value of an input that holds `{braces}`": {
        "integration/test_tasks.py": ["test_an_inserted_value_is_never_expanded_again"],
    },
    "`allow_code_execution`": {
        "integration/test_sandboxes.py": ["test_code_runs_where_the_agent_says"],
        "unit/agent/test_hostile.py": ["test_hostile_code_reaches_nothing_and_is_held_to_its_limits"],
    },
    '`code_execution_mode="unsafe"`': {
        "test_docs.py": ["test_what_is_refused_by_its_value_is_refused"],
    },
    "a server of tools given by its address (`mcps`) that does not answer": {
        "integration/test_mcp.py": [
            "test_an_address_where_nobody_listens",
            "test_a_server_that_was_down_is_tried_again",
        ],
    },
    "a server of tools that is a process": {
        "integration/test_mcp.py": ["test_a_server_is_started_once_in_a_task_and_keeps_its_state"],
    },
    "keys of servers of tools": {
        "integration/test_mcp.py": ["test_a_key_is_read_where_the_worker_runs_and_stays_there"],
    },
    "inside a running event loop, as in a notebook": {
        "integration/test_kickoff.py": ["test_kickoff_works_inside_a_running_event_loop"],
        "integration/test_embedded.py": ["test_a_notebook_kicks_off_in_a_running_loop"],
    },
    "an answer that a guardrail refuses": {
        "integration/test_guardrails.py": [
            "test_the_context_is_still_there_when_an_answer_is_mended",
            "test_a_refused_answer_is_mended_and_each_answer_is_judged_once",
            "test_functions_and_criteria_in_one_list_are_asked_in_order",
        ],
    },
    "an error of the model that judges": {
        "integration/test_guardrails.py": ["test_an_error_of_the_judge_is_no_verdict"],
    },
    "`human_input`": {
        "integration/test_human_input.py": [
            "test_a_run_waits_for_a_person_and_holds_no_worker",
            "test_answers_from_other_processes",
            "test_a_kickoff_at_a_terminal_asks_the_person_there",
        ],
    },
    "`verbose=True`": {
        "integration/test_kickoff.py": ["test_a_verbose_crew_tells_what_happens"],
        "integration/test_cli.py": ["test_a_run_is_watched_and_cancelled_from_elsewhere"],
    },
    "`knowledge_sources`": {
        "integration/test_knowledge.py": [
            "test_a_task_is_told_what_concerns_it",
            "test_a_coworker_is_told_what_concerns_the_work",
        ],
    },
    "`memory=True`": {
        "integration/test_memory.py": [
            "test_a_later_run_is_told_what_an_earlier_one_put_out",
            "test_a_task_that_a_crash_interrupts_is_told_the_same_again",
        ],
        "unit/test_recall.py": ["test_what_shares_words_with_the_work_is_told"],
    },
    "a callback that fails": {
        "integration/test_tasks.py": ["test_a_callback_that_fails_costs_nothing"],
        "integration/test_order.py": ["test_a_callback_that_fails_loses_nothing_that_was_paid_for"],
    },
    "`test`": {
        "integration/test_trial.py": [
            "test_all_runs_pass",
            "test_a_judge_gives_scores_and_its_calls_are_kept_and_counted",
            "test_a_crew_is_tried_on_workers_of_its_own_and_costs_what_it_costs",
        ],
    },
    "storage": {
        "integration/test_embedded.py": ["test_a_script_runs_and_its_data_survives_it"],
        "integration/test_kickoff.py": ["test_the_same_handle_in_another_process"],
    },
    "telemetry": {
        "integration/test_embedded.py": ["test_nobody_is_talked_to_but_the_model"],
    },
}


def test_every_row_is_shown_and_nothing_else() -> None:
    assert list(SHOWN) == list(DIFFERENT)
    assert [row for row in DIFFERENT.values() if len(row) != 3 or not all(row)] == []


@pytest.mark.parametrize("row", SHOWN)
def test_the_tests_that_show_it_are_there(row: str) -> None:
    for file, names in SHOWN[row].items():
        tree = ast.parse((ROOT / "tests" / file).read_text())
        known = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
        assert set(names) - known == set(), file
