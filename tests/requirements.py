"""Each MUST of revision 2025-11-25, and the test that shows that this proxy keeps it.

A proxy is a server towards its client (on stdio) and a client towards each server (on stdio, HTTP or SSE). Here is what
it can keep or break; `requirements_of_others.py` has the rest, so that nothing is left out unseen. Quotations are the
specification's words without its markup. Not listed at all: `basic/authorization`, which is about OAuth.
"""

from dataclasses import dataclass
from enum import Enum

BASE, LIFECYCLE, TRANSPORTS = "basic/index", "basic/lifecycle", "basic/transports"
CANCELLATION, PING, PROGRESS = "basic/utilities/cancellation", "basic/utilities/ping", "basic/utilities/progress"
TASKS, ELICITATION, ROOTS, SAMPLING = "basic/utilities/tasks", "client/elicitation", "client/roots", "client/sampling"
PROMPTS, RESOURCES, TOOLS = "server/prompts", "server/resources", "server/tools"
COMPLETION, LOGGING = "server/utilities/completion", "server/utilities/logging"
PAGINATION, SCHEMA = "server/utilities/pagination", "schema"


class Side(Enum):
    SERVER = "towards the client"
    CLIENT = "towards a server"
    BOTH = "towards either"


SERVER, CLIENT, BOTH = Side.SERVER, Side.CLIENT, Side.BOTH


@dataclass(frozen=True)
class Must:
    page: str
    quotation: str
    side: Side
    tests: tuple[str, ...]
    """Node ids without `tests/`."""


def must(page: str, quotation: str, side: Side, *tests: str) -> Must:
    return Must(page, quotation, side, tests)


# Places of tests.
_CALLS, _CLIENTS = "relay/test_calls.py::test_", "relay/test_client_side.py::test_"
_SERVERS, _PEERS = "relay/test_server_side.py::test_", "relay/test_peers.py::test_"
_QUESTIONS, _METHODS = "relay/test_questions.py::test_", "relay/test_methods.py::test_"
_TASKS, _LISTS = "relay/test_tasks.py::test_", "relay/test_lists.py::test_"
_ABOUT_TASKS = "relay/test_requirements_of_tasks.py::test_"
_ABOUT_HTTP = "transports/test_requirements_of_http.py::test_"
_INTERLEAVINGS = "relay/test_interleavings.py::TestInterleavings::runTest"
_OWNERSHIP = "relay/test_ownership.py::TestOwnership::runTest"
_ERA, _TALK = "eras/test_handshake.py::test_", "test_conversation.py::test_"
_SUPERVISOR, _WIRE, _HTTP = "test_supervisor.py::test_", "test_wire.py::test_", "transports/test_http.py::test_"
_REAL_CALLS, _SESSION = "real/test_calls.py::test_", "real/test_session.py::test_"
_FIDELITY, _FEATURES = "real/test_fidelity.py::test_", "real/test_features.py::test_"
_URIS, _CATALOGUE, _FLEET = "test_uris.py::test_", "test_catalogue.py::test_", "test_fleet.py::test_"


def _as_server(scenario: str) -> str:
    """A scenario of the conformance suite."""
    return f"conformance/test_server_mode.py::test_a_scenario_passes[bare-2025-11-25-{scenario}]"


def _as_client(scenario: str) -> str:
    return f"conformance/test_client_mode.py::test_a_scenario_passes[2025-11-25-{scenario}]"


# fmt: off
OURS = {
    # The base protocol.
    "base-protocol": must(BASE,
        "All implementations MUST support the base protocol and lifecycle management components", BOTH,
        _as_server("server-initialize"), _as_client("initialize")),
    "json-rpc": must(BASE, "All messages between MCP clients and servers MUST follow the JSON-RPC 2.0 specification",
        BOTH, _WIRE + "our_own_lines_are_json_rpc_and_end"),
    "id-type": must(BASE, "Requests MUST include a string or integer ID.", CLIENT,
        _PEERS + "a_link_gives_each_id_once_for_calls_and_requests_of_ours"),
    "id-not-null": must(BASE, "Unlike base JSON-RPC, the ID MUST NOT be null.", CLIENT,
        _PEERS + "a_link_gives_each_id_once_for_calls_and_requests_of_ours"),
    "id-once": must(BASE, "The request ID MUST NOT have been previously used by the requestor within the same session.",
        CLIENT, _PEERS + "a_link_gives_each_id_once_for_calls_and_requests_of_ours"),
    "id-once-to-clients": must(BASE,
        "The request ID MUST NOT have been previously used by the requestor within the same session.", SERVER,
        _QUESTIONS + "each_question_has_an_id_that_this_client_has_not_seen", _OWNERSHIP),
    "result-id": must(BASE, "Result responses MUST include the same ID as the request they correspond to.", SERVER,
        _CALLS + "the_client_gets_its_id_back_as_it_wrote_it", _SESSION + "an_id_comes_back_as_it_was_sent"),
    "result-id-to-servers": must(BASE, "Result responses MUST include the same ID as the request they correspond to.",
        CLIENT, _SERVERS + "a_ping_of_a_server_is_answered_under_its_own_id"),
    "result-field": must(BASE, "Result responses MUST include a result field.", SERVER,
        _CALLS + "an_answer_that_is_neither_result_nor_error_fails_its_call"),
    "error-id": must(BASE, "Error responses MUST include the same ID as the request they correspond to", SERVER,
        _CLIENTS + "a_line_that_is_no_request_is_refused_and_the_session_goes_on",
        _CLIENTS + "a_message_that_is_too_long_is_refused_by_its_start"),
    "error-id-to-servers": must(BASE, "Error responses MUST include the same ID as the request they correspond to",
        CLIENT, _SERVERS + "what_was_not_declared_is_refused_and_shown_to_no_client"),
    "error-field": must(BASE, "Error responses MUST include an error field with a code and message.", SERVER,
        _CALLS + "an_answer_that_clients_could_not_read_becomes_an_error_of_ours"),
    "error-code": must(BASE, "Error codes MUST be integers.", SERVER,
        _CALLS + "an_answer_that_clients_could_not_read_becomes_an_error_of_ours"),
    "notification-unanswered": must(BASE, "The receiver MUST NOT send a response.", BOTH,
        _CLIENTS + "what_asks_for_no_answer_gets_none",
        _SERVERS + "a_notification_with_an_id_of_null_is_a_notification"),
    "notification-without-id": must(BASE, "Notifications MUST NOT include an ID.", BOTH,
        _CALLS + "a_cancelled_call_is_cancelled_at_its_server_and_not_answered",
        _SERVERS + "progress_goes_to_the_call_that_asked_for_it_under_its_own_token"),
    "meta-untouched": must(BASE, "implementations MUST NOT make assumptions about values at these keys.", BOTH,
        _FIDELITY + "meta_beside_a_progress_token_reaches_the_server",
        _FIDELITY + "unknown_members_of_the_params_and_of_their_meta_reach_the_server"),
    # Lifecycle.
    "initialize-first": must(LIFECYCLE,
        "The initialization phase MUST be the first interaction between client and server.", SERVER,
        _CLIENTS + "nothing_but_ping_is_answered_before_initialize"),
    "initialize-first-to-servers": must(LIFECYCLE,
        "The client MUST initiate this phase by sending an initialize request containing:", CLIENT,
        _TALK + "the_handshake_offers_the_latest_revision_and_tells_who_we_are",
        _SUPERVISOR + "a_server_is_greeted_listed_and_ready"),
    "initialize-answer": must(LIFECYCLE, "The server MUST respond with its own capabilities and information:", SERVER,
        _SESSION + "the_capabilities_are_those_of_all_servers_that_might_be_there", _as_server("server-initialize")),
    "initialized": must(LIFECYCLE, "After successful initialization, the client MUST send an initialized notification",
        CLIENT, _SUPERVISOR + "a_server_is_greeted_listed_and_ready"),
    "version-offered": must(LIFECYCLE,
        "In the initialize request, the client MUST send a protocol version it supports.", CLIENT,
        _TALK + "the_handshake_offers_the_latest_revision_and_tells_who_we_are"),
    "version-agreed": must(LIFECYCLE,
        "If the server supports the requested protocol version, it MUST respond with the same version.", SERVER,
        _SESSION + "a_known_revision_is_agreed_to"),
    "version-unknown": must(LIFECYCLE, "Otherwise, the server MUST respond with another protocol version it supports.",
        SERVER, _SESSION + "an_unknown_revision_gets_the_latest_of_the_handshake"),
    "version-refused": must(SCHEMA, "If the client cannot support this version, it MUST disconnect.", CLIENT,
        _TALK + "a_handshake_of_no_use_is_a_failed_start_that_names_the_server"),
    "version-respected": must(LIFECYCLE, "Both parties MUST: - Respect the negotiated protocol version", SERVER,
        _CLIENTS + "other_revisions_have_no_batches",
        _CLIENTS + "a_batch_is_answered_with_one_array_when_its_last_answer_is_there"),
    "version-respected-to-servers": must(LIFECYCLE, "Both parties MUST: - Respect the negotiated protocol version",
        CLIENT, _ERA + "any_revision_of_the_era_is_taken_from_a_server"),
    "capabilities-of-servers": must(LIFECYCLE, "Only use capabilities that were successfully negotiated", CLIENT,
        _SUPERVISOR + "only_the_listings_that_a_server_announces_are_asked_for"),
    "capabilities-of-clients": must(LIFECYCLE, "Only use capabilities that were successfully negotiated", SERVER,
        _SERVERS + "what_was_not_declared_is_refused_and_shown_to_no_client"),
    # Transports.
    "utf-8": must(TRANSPORTS, "JSON-RPC messages MUST be UTF-8 encoded.", BOTH,
        _WIRE + "a_long_text_of_long_characters_is_read_and_damage_to_any_of_them_seen"),
    "no-newlines": must(TRANSPORTS, "Messages are delimited by newlines, and MUST NOT contain embedded newlines.", BOTH,
        _WIRE + "our_own_lines_are_json_rpc_and_end", _HTTP + "json_laid_out_over_several_lines_becomes_one_line"),
    "stdout": must(TRANSPORTS, "The server MUST NOT write anything to its stdout that is not a valid MCP message.",
        SERVER, _SESSION + "stdout_carries_protocol_messages_only",
        "fronts/test_stdio.py::test_nothing_but_messages_is_on_stdout_whatever_the_process_prints"),
    "stdin": must(TRANSPORTS,
        "The client MUST NOT write anything to the server's stdin that is not a valid MCP message.", CLIENT,
        _SUPERVISOR + "a_server_is_greeted_listed_and_ready", _INTERLEAVINGS),
    "http-post-each": must(TRANSPORTS,
        "Every JSON-RPC message sent from the client MUST be a new HTTP POST request to the MCP endpoint.", CLIENT,
        _HTTP + "what_is_sent_arrives_byte_for_byte"),
    "http-post": must(TRANSPORTS, "The client MUST use HTTP POST to send JSON-RPC messages to the MCP endpoint.",
        CLIENT, _HTTP + "what_is_sent_arrives_byte_for_byte"),
    "http-post-accept": must(TRANSPORTS,
        "The client MUST include an Accept header, listing both application/json and text/event-stream", CLIENT,
        _ABOUT_HTTP + "each_message_says_that_json_and_events_are_accepted",
        "transports/test_connect.py::test_the_sdks_own_server_is_spoken_to"),
    "http-post-body": must(TRANSPORTS,
        "The body of the POST request MUST be a single JSON-RPC request, notification, or response.", CLIENT,
        _HTTP + "what_is_sent_arrives_byte_for_byte"),
    "http-answer-kinds": must(TRANSPORTS, "The client MUST support both these cases.", CLIENT,
        _HTTP + "what_is_answered_arrives_byte_for_byte"),
    "http-retry": must(TRANSPORTS, "The client MUST respect the retry field", CLIENT, _as_client("sse-retry")),
    "http-get-accept": must(TRANSPORTS,
        "The client MUST include an Accept header, listing text/event-stream as a supported content type.", CLIENT,
        _ABOUT_HTTP + "who_asks_for_the_servers_own_stream_says_that_events_are_accepted"),
    "http-session-secure": must(TRANSPORTS, "The client MUST handle the session ID in a secure manner", CLIENT,
        _HTTP + "a_redirect_elsewhere_takes_no_secret_along"),
    "http-session": must(TRANSPORTS,
        "clients using the Streamable HTTP transport MUST include it in the MCP-Session-Id header", CLIENT,
        _HTTP + "a_session_is_kept_named_and_ended"),
    "http-session-lost": must(TRANSPORTS,
        "it MUST start a new session by sending a new InitializeRequest without a session ID attached.", CLIENT,
        _HTTP + "a_forgotten_session_is_the_end_of_the_connection",
        _SUPERVISOR + "a_crashed_server_comes_back_and_its_calls_work_again"),
    "http-version": must(TRANSPORTS,
        "If using HTTP, the client MUST include the MCP-Protocol-Version: <protocol-version> HTTP header", CLIENT,
        _HTTP + "a_session_is_kept_named_and_ended"),
    # Utilities.
    "cancel-own": must(CANCELLATION, "Cancellation notifications MUST only reference requests that:", CLIENT,
        _CALLS + "a_client_can_cancel_only_calls_of_its_own",
        _REAL_CALLS + "a_cancellation_reaches_the_server_under_the_id_it_knows",
        _REAL_CALLS + "a_cancellation_of_nothing_is_ignored"),
    "cancel-own-to-clients": must(CANCELLATION, "Cancellation notifications MUST only reference requests that:", SERVER,
        _QUESTIONS + "a_server_that_cancels_its_question_is_taken_at_its_word_and_the_late_answer_falls",
        _QUESTIONS + "a_cancellation_of_something_else_changes_nothing",
        _QUESTIONS + "a_server_can_not_cancel_what_another_asked", _OWNERSHIP),
    "cancel-not-initialize": must(CANCELLATION, "The initialize request MUST NOT be cancelled by clients", CLIENT,
        _TALK + "initialize_is_never_cancelled_since_the_protocol_forbids_it"),
    "cancel-task": must(CANCELLATION,
        "the tasks/cancel request MUST be used instead of the notifications/cancelled notification.", CLIENT,
        _TASKS + "a_call_that_is_to_be_a_task_is_given_up_by_cancelling_the_task",
        _FEATURES + "a_task_is_cancelled_on_both_sides"),
    "cancel-race": must(CANCELLATION, "Both parties MUST handle these race conditions gracefully:", BOTH,
        _CALLS + "a_second_answer_falls", _REAL_CALLS + "a_cancelled_call_is_heard_of_no_more", _INTERLEAVINGS),
    "ping": must(PING, "The receiver MUST respond promptly with an empty response:", SERVER, _as_server("ping")),
    "ping-of-servers": must(PING, "The receiver MUST respond promptly with an empty response:", CLIENT,
        _SERVERS + "a_ping_of_a_server_is_answered_under_its_own_id"),
    "token-type": must(PROGRESS, "Progress tokens MUST be a string or integer value", CLIENT,
        _CALLS + "the_progress_token_on_the_way_is_ours"),
    "token-unique": must(PROGRESS, "MUST be unique across all active requests.", CLIENT,
        _CALLS + "the_progress_token_on_the_way_is_ours", _REAL_CALLS + "progress_of_two_calls_is_told_apart"),
    "progress-token": must(PROGRESS, "Progress notifications MUST only reference tokens that:", SERVER,
        _SERVERS + "progress_goes_to_the_call_that_asked_for_it_under_its_own_token",
        _SERVERS + "progress_of_nothing_falls", _REAL_CALLS + "a_call_without_a_token_brings_no_progress"),
    "progress-token-to-servers": must(PROGRESS, "Progress notifications MUST only reference tokens that:", CLIENT,
        _QUESTIONS + "progress_of_a_question_reaches_the_server_under_its_own_token",
        _QUESTIONS + "progress_of_nothing_falls",
        _QUESTIONS + "a_question_without_a_token_gets_no_progress_and_clients_not_each_others"),
    "progress-ends": must(PROGRESS, "Progress notifications MUST stop after completion", SERVER,
        _SERVERS + "progress_after_the_end_falls"),
    "progress-of-tasks": must(PROGRESS,
        "the progressToken provided in the original request MUST continue to be used", BOTH,
        _TASKS + "progress_goes_on_after_the_first_answer_until_the_task_has_ended",
        _TASKS + "progress_of_a_clients_task_goes_on_until_it_has_ended"),
    "progress-of-tasks-ends": must(PROGRESS,
        "Progress notifications for tasks MUST stop after the task reaches a terminal status", BOTH,
        _TASKS + "progress_of_a_task_ends_with_it_however_its_end_is_heard_of",
        _TASKS + "progress_of_a_clients_task_goes_on_until_it_has_ended",
        _TASKS + "progress_of_a_clients_task_ends_with_its_result"),
    # Tasks.
    "tasks-declared": must(TASKS,
        "Servers and clients that support task-augmented requests MUST declare a tasks capability", SERVER,
        _ERA + "no_client_is_promised_what_its_revision_does_not_know",
        _SESSION + "the_capabilities_are_those_of_all_servers_that_might_be_there"),
    "tasks-declared-to-servers": must(TASKS,
        "Servers and clients that support task-augmented requests MUST declare a tasks capability", CLIENT,
        _ERA + "a_server_is_told_the_revision_and_the_capabilities_of_the_client_byte_for_byte",
        _TASKS + "a_client_without_tasks_is_not_asked_for_any"),
    "tasks-only-where-declared": must(TASKS,
        "then clients MUST NOT attempt to use task augmentation on that server's tools", CLIENT,
        _TASKS + "a_server_that_knows_no_tasks_is_called_the_plain_way",
        "definitions/test_entries.py::test_a_tool_of_a_server_without_tasks_does_not_offer_them"),
    "tasks-undeclared-ignored": must(TASKS,
        "MUST process requests of that type normally, ignoring any task-augmentation metadata if present.", SERVER,
        _TASKS + "a_server_that_knows_no_tasks_is_called_the_plain_way"),
    "task-id-string": must(TASKS, "Task IDs MUST be a string value.", SERVER,
        _TASKS + "a_task_may_have_any_id", _TASKS + "an_answer_that_is_no_task_passes_unchanged"),
    "task-id-unique": must(TASKS, "Task IDs MUST be unique among all tasks controlled by the receiver.", SERVER,
        _TASKS + "tasks_with_one_id_at_several_servers_are_told_apart_everywhere",
        _TASKS + "an_id_that_looks_like_one_of_ours_is_told_apart_too", _OWNERSHIP),
    "task-result-blocks": must(TASKS, "it MUST block the response until the task reaches a terminal status.", SERVER,
        _TASKS + "the_result_of_a_task_may_take_any_time"),
    "task-result-whole": must(TASKS,
        "receivers MUST return from tasks/result exactly what the underlying request would have returned", SERVER,
        _TASKS + "a_call_may_be_a_task_and_everything_about_it_passes_byte_for_byte",
        _FEATURES + "a_task_is_the_same_from_the_call_to_its_result"),
    "task-related": must(TASKS, "All requests, notifications, and responses related to a task MUST include the", BOTH,
        _TASKS + "the_rest_of_what_is_said_of_a_task_stays_as_it_is",
        _TASKS + "what_a_server_asks_for_a_task_goes_to_the_client_whose_task_it_is",
        _TASKS + "progress_of_a_task_names_it_as_its_client_knows_it",
        _TASKS + "a_log_message_about_a_task_reaches_its_client_alone",
        _ABOUT_TASKS + "what_a_client_tells_about_a_task_names_it_as_the_server_knows_it",
        _ABOUT_TASKS + "what_a_client_tells_about_its_own_task_names_it_as_the_server_knows_it"),
    "task-id-decides": must(TASKS, "the taskId parameter in the request MUST be used as the source of truth", SERVER,
        _ABOUT_TASKS + "the_task_id_of_a_request_decides_whatever_else_the_request_names",
        _ABOUT_TASKS + "the_task_id_of_what_a_server_asks_decides_whatever_else_it_names"),
    "tasks-all-pages": must(TASKS,
        "Receivers MUST include a nextCursor in the response if more tasks are available.", SERVER,
        _LISTS + "tasks_of_all_servers_and_pages_are_one_list"),
    "tasks-cursor": must(TASKS, "Requestors MUST treat cursors as opaque tokens", CLIENT,
        _LISTS + "tasks_of_all_servers_and_pages_are_one_list"),
    "tasks-list-whole": must(TASKS, "it MUST be retrievable via tasks/list for that requestor.", SERVER,
        _LISTS + "tasks_of_all_servers_and_pages_are_one_list",
        _LISTS + "servers_that_can_not_list_tasks_are_not_asked_and_their_tasks_are_listed_as_they_were_last"),
    "tasks-errors": must(TASKS,
        "Receivers MUST return standard JSON-RPC errors for the following protocol error cases:", SERVER,
        _TASKS + "a_task_that_nobody_knows_is_refused",
        _TASKS + "what_a_server_says_of_a_task_as_an_error_passes_unchanged",
        _FEATURES + "a_task_that_nobody_began_is_unknown"),
    "tasks-bound": must(TASKS,
        "receivers MUST ensure the returned task list includes only tasks associated with the requestor's", SERVER,
        _LISTS + "a_client_is_shown_its_own_tasks_alone", _LISTS + "tasks_of_a_client_that_left_are_shown_to_nobody",
        _ABOUT_TASKS + "what_a_server_that_counts_anew_says_of_anothers_task_reaches_nobody",
        _OWNERSHIP),
    # What servers ask of clients.
    "elicitation-declared": must(ELICITATION,
        "Clients that support elicitation MUST declare the elicitation capability", CLIENT,
        _SESSION + "a_server_is_told_what_the_client_can_do",
        _FEATURES + "all_tools_are_there_also_those_for_able_clients_alone"),
    "elicitation-modes": must(ELICITATION,
        "Clients declaring the elicitation capability MUST support at least one mode", CLIENT,
        _SESSION + "a_server_is_told_what_the_client_can_do",
        _ERA + "of_several_clients_a_server_is_told_all_together"),
    "elicitation-mode-sent": must(ELICITATION,
        "Servers MUST NOT send elicitation requests with modes that are not supported by the client.", SERVER,
        _QUESTIONS + "a_client_is_asked_only_what_it_declared",
        _QUESTIONS + "what_one_client_declared_is_not_asked_of_another"),
    "elicitation-mode-refused": must(ELICITATION,
        "Clients MUST return standard JSON-RPC errors for common failure cases:", CLIENT,
        _QUESTIONS + "a_client_is_asked_only_what_it_declared", _QUESTIONS + "the_clients_error_passes_byte_for_byte"),
    "elicitation-mode-absent": must(ELICITATION,
        "Clients MUST treat requests without a mode field as form mode.", CLIENT,
        _QUESTIONS + "a_client_is_asked_only_what_it_declared"),
    "elicitation-bound": must(ELICITATION,
        "Servers MUST bind elicitation requests to the client and user identity", SERVER,
        _QUESTIONS + "of_several_clients_the_one_with_a_call_in_flight_there_is_asked",
        _QUESTIONS + "where_it_can_not_be_told_whom_it_is_for_nobody_is_asked", _OWNERSHIP,
        _as_server("tools-call-elicitation")),
    "elicitation-completed-to": must(ELICITATION,
        "MUST only send the notification to the client that initiated the elicitation request.", SERVER,
        _QUESTIONS + "that_a_url_was_dealt_with_is_told_to_the_client_whose_user_was_sent_there_once",
        _QUESTIONS + "urls_that_an_error_asks_for_are_completed_too", _OWNERSHIP),
    "elicitation-completed-id": must(ELICITATION,
        "MUST include the elicitationId established in the original elicitation/create request.", SERVER,
        _QUESTIONS + "that_a_url_was_dealt_with_is_told_to_the_client_whose_user_was_sent_there_once",
        _FEATURES + "a_url_is_asked_for_with_its_id"),
    "elicitation-completed-unknown": must(ELICITATION,
        "MUST ignore notifications referencing unknown or already-completed IDs.", CLIENT,
        _QUESTIONS + "that_something_else_was_dealt_with_is_told_to_nobody", _QUESTIONS + "a_form_needs_no_completion"),
    "elicitation-id-opaque": must(SCHEMA, "The client MUST treat this ID as an opaque value.", CLIENT,
        _QUESTIONS + "that_a_url_was_dealt_with_is_told_to_the_client_whose_user_was_sent_there_once",
        _QUESTIONS + "two_servers_may_choose_one_id_for_their_urls"),
    "elicitation-who-asks": must(ELICITATION,
        "Clients MUST provide clear indication of which server is requesting information", CLIENT,
        _QUESTIONS + "who_is_asked_sees_which_server_asks_and_nothing_that_hides",
        _FEATURES + "a_form_differs_in_the_server_that_it_names"),
    "elicitation-required-passes": must(ELICITATION,
        "Servers MUST return standard JSON-RPC errors for common failure cases:", SERVER,
        _CALLS + "a_servers_own_error_passes_byte_for_byte"),
    "roots-declared": must(ROOTS, "Clients that support roots MUST declare the roots capability", CLIENT,
        _SESSION + "a_server_is_told_what_the_client_can_do",
        _FEATURES + "all_tools_are_there_also_those_for_able_clients_alone"),
    "roots-changed": must(ROOTS,
        "When roots change, clients that support listChanged MUST send a notification:", CLIENT,
        _CLIENTS + "changed_roots_are_told_to_every_server_that_is_ready",
        _CLIENTS + "who_has_no_roots_can_not_change_them",
        _FEATURES + "other_roots_are_asked_for_once_they_are_announced"),
    "sampling-declared": must(SAMPLING, "Clients that support sampling MUST declare the sampling capability", CLIENT,
        _SESSION + "a_server_is_told_what_the_client_can_do",
        _FLEET + "servers_are_greeted_anew_for_a_client_that_can_do_more"),
    "sampling-tools-declared": must(SAMPLING,
        "Clients MUST declare support for tool use via the sampling.tools capability", CLIENT,
        _ERA + "a_server_is_told_the_revision_and_the_capabilities_of_the_client_byte_for_byte",
        _QUESTIONS + "a_client_is_asked_only_what_it_declared"),
    "sampling-tools-sent": must(SAMPLING,
        "Servers MUST NOT send tool-enabled sampling requests to Clients that have not declared support", SERVER,
        _QUESTIONS + "a_client_is_asked_only_what_it_declared"),
    "sensitive-data": must(SAMPLING, "Both parties MUST handle sensitive data appropriately", BOTH,
        _CALLS + "what_a_call_was_is_told_once_without_its_arguments"),
    # What clients ask of servers.
    "tools-declared": must(TOOLS, "Servers that support tools MUST declare the tools capability:", SERVER,
        _SESSION + "the_capabilities_are_those_of_all_servers_that_might_be_there"),
    "tool-schema": must(TOOLS, "MUST be a valid JSON Schema object (not null)", SERVER,
        "test_catalogue.py::test_a_definition_that_clients_could_not_read_is_left_out_and_told"),
    "prompts-declared": must(PROMPTS, "Servers that support prompts MUST declare the prompts capability", SERVER,
        _ERA + "our_answer_promises_what_we_keep", _as_server("prompts-list")),
    "resources-declared": must(RESOURCES,
        "Servers that support resources MUST declare the resources capability:", SERVER,
        _ERA + "our_answer_promises_what_we_keep", _as_server("resources-list")),
    "resource-uris": must(RESOURCES, "Servers MUST validate all resource URIs", SERVER,
        _METHODS + "a_request_that_names_no_uri_is_refused", _METHODS + "where_all_refuse_the_best_error_is_the_answer",
        _FEATURES + "what_the_server_does_not_have_is_refused_in_its_own_words"),
    "resource-uris-of-ours": must(RESOURCES, "Custom URI schemes MUST be in accordance with RFC3986", SERVER,
        _URIS + "a_derived_uri_names_its_server_behind_the_scheme",
        _CATALOGUE + "a_resource_without_a_scheme_gets_one_that_leads_back"),
    "completions-declared": must(COMPLETION,
        "Servers that support completions MUST declare the completions capability:", SERVER,
        _ERA + "our_answer_promises_what_we_keep", _as_server("completion-complete")),
    "logging-declared": must(LOGGING,
        "Servers that emit log message notifications MUST declare the logging capability:", SERVER,
        _ERA + "our_answer_promises_what_we_keep", _as_server("logging-set-level")),
    "page-size": must(PAGINATION, "clients MUST NOT assume a fixed page size", CLIENT,
        _TALK + "all_pages_are_read_in_their_order"),
    "cursor-opaque": must(PAGINATION, "Clients MUST treat cursors as opaque tokens:", CLIENT,
        _TALK + "a_cursor_goes_back_as_it_came"),
}
# fmt: on
