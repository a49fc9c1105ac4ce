"""A server with one bad habit: `habits.py --habit NAME [--journal FILE]`; without a habit it is a good one.

Its tools are `note`, which answers with the nonce that it gets, and `misbehave`, which does what the habit says. The
nonce of each call is appended to the journal before anything else is done, so that a test can tell what was done.
A habit is a function here, and its stage says when it shows: at the start, at `initialize`, at `tools/list`, at
`misbehave`, or once stdin has ended.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, Final

Habit = Callable[..., None]

HABITS: Final[dict[str, tuple[str, Habit]]] = {}
"""Name -> (stage, what it does there)."""

FOR_EVER: Final = 600
FLOOD: Final = 3000


def habit(stage: str) -> Callable[[Habit], Habit]:
    """A bad habit, named like its function. At "call" it gets the id and the nonce, else the id, if there is one."""

    def register(do: Habit) -> Habit:
        HABITS[do.__name__.replace("_", "-")] = (stage, do)
        return do

    return register


# -- what is said


def write(data: bytes, fd: int = 1) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def hang() -> None:
    """Do nothing more; the end is for what a failing test leaves behind."""
    time.sleep(FOR_EVER)
    os._exit(0)


def say(text: str) -> None:
    write(text.encode() + b"\n")


def notify(method: str, params: str = "{}") -> None:
    say(f'{{"jsonrpc":"2.0","method":"{method}","params":{params}}}')


def noted(nonce: str) -> str:
    return json.dumps({"content": [{"type": "text", "text": nonce}]})


def answer(id: object, result: str) -> None:
    say(f'{{"jsonrpc":"2.0","id":{id},"result":{result}}}')


def refuse(id: object, error: str) -> None:
    say(f'{{"jsonrpc":"2.0","id":{id},"error":{error}}}')


def welcome(id: object, **more: Any) -> None:
    hello = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {"listChanged": True}, "logging": {}},
        "serverInfo": {"name": "habits", "version": "1"},
    }
    answer(id, json.dumps({**hello, **more}))


TOOLS: Final = [{"name": name, "inputSchema": {"type": "object"}} for name in ("note", "misbehave")]


def show(id: object, *tools: object, **more: Any) -> None:
    answer(id, json.dumps({"tools": [*TOOLS, *tools], **more}))


# -- at the start


@habit("start")
def exits_at_once() -> None:
    os._exit(0)


@habit("start")
def exits_with_a_banner() -> None:
    write(b"Welcome to the server\nError: no token in the configuration\n", 2)
    os._exit(3)


@habit("start")
def prints_a_banner_first() -> None:
    say("Server v1.2 is listening on stdio\n[1, 2]\n")


@habit("start")
def prints_rubbish_for_ever() -> None:
    while True:
        say("rubbish " * 10)


@habit("start")
def closes_stdout_at_once() -> None:
    os.close(1)
    hang()


@habit("start")
def closes_stdin_at_once() -> None:
    os.close(0)
    hang()


@habit("start")
def closes_stderr() -> None:
    os.close(2)


@habit("start")
def floods_stderr_first() -> None:
    write(b"starting up, please wait\n" * 40_000, 2)


@habit("start")
def leaves_a_child_in_its_place() -> None:
    if os.fork():
        os._exit(0)
    hang()


@habit("start")
def is_killed_at_once() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@habit("start")
def asks_before_it_is_greeted() -> None:
    say('{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}')
    say('{"jsonrpc":"2.0","id":2,"method":"ping"}')


@habit("start")
def answers_before_it_is_asked() -> None:
    for id in range(2, 20):
        answer(id, "{}")


@habit("start")
def ignores_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@habit("end")
def ignores_the_end_of_stdin() -> None:
    hang()


@habit("end")
def ignores_all_that_ends() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    hang()


@habit("end")
def stops_itself_in_the_end() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


@habit("start")
def has_children() -> None:
    """Two, of which one has closed its pipes and ignores SIGTERM, and the other holds the pipes."""
    if os.fork() == 0:
        hang()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.closerange(0, 3)
        hang()


# -- at initialize


@habit("initialize")
def never_answers_initialize(id: object) -> None:
    pass


@habit("initialize")
def answers_initialize_late(id: object) -> None:
    time.sleep(0.5)
    welcome(id)


@habit("initialize")
def answers_initialize_twice(id: object) -> None:
    welcome(id)
    welcome(id)


@habit("initialize")
def welcomes_with_an_unknown_version(id: object) -> None:
    welcome(id, protocolVersion="1999-01-01")


@habit("initialize")
def welcomes_with_a_number(id: object) -> None:
    welcome(id, protocolVersion=5)


@habit("initialize")
def welcomes_with_an_array(id: object) -> None:
    answer(id, "[]")


@habit("initialize")
def welcomes_with_null(id: object) -> None:
    answer(id, "null")


@habit("initialize")
def welcomes_with_rubbish(id: object) -> None:
    say(f'{{"jsonrpc":"2.0","id":{id},"result":{{"protocolVersion":')


@habit("initialize")
def refuses_initialize(id: object) -> None:
    refuse(id, '{"code":-32603,"message":"the database is locked"}')


@habit("initialize")
def crashes_at_initialize(id: object) -> None:
    write(b"Traceback (most recent call last):\nKeyError: 'HOME_DIR'\n", 2)
    os._exit(1)


# -- at tools/list


@habit("list")
def crashes_at_the_list(id: object) -> None:
    os._exit(4)


@habit("list")
def never_lists(id: object) -> None:
    pass


@habit("list")
def lists_in_a_loop(id: object) -> None:
    show(id, nextCursor="again")


@habit("list")
def lists_without_end(id: object) -> None:
    show(id, nextCursor=f"{id}")


@habit("list")
def lists_no_array(id: object) -> None:
    answer(id, '{"tools":{"note":{}}}')


@habit("list")
def refuses_to_list(id: object) -> None:
    refuse(id, '{"code":-32603,"message":"not today"}')


@habit("list")
def lists_garbage(id: object) -> None:
    show(id, 5, None, [], {}, {"name": 7}, {"name": ""}, {"name": "x" * 5000, "inputSchema": []}, TOOLS[0])


# -- at a call


@habit("call")
def exits(id: int, nonce: str) -> None:
    os._exit(7)


@habit("call")
def exits_as_if_all_were_well(id: int, nonce: str) -> None:
    os._exit(0)


@habit("call")
def breaks_a_rule_of_memory(id: int, nonce: str) -> None:
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGSEGV)


@habit("call")
def is_killed(id: int, nonce: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@habit("call")
def dies_within_its_answer(id: int, nonce: str) -> None:
    write(f'{{"jsonrpc":"2.0","id":{id},"result":{noted(nonce)}'[:-5].encode())
    os._exit(7)


@habit("call")
def dies_after_its_answer(id: int, nonce: str) -> None:
    write(f'{{"jsonrpc":"2.0","id":{id},"result":{noted(nonce)}}}'.encode())  # and no line end
    os._exit(7)


@habit("call")
def leaves_children_behind(id: int, nonce: str) -> None:
    if os.fork() == 0:
        hang()
    os._exit(7)


@habit("call")
def closes_its_stdout(id: int, nonce: str) -> None:
    os.close(1)
    hang()


@habit("call")
def closes_its_stdin(id: int, nonce: str) -> None:
    os.close(0)
    hang()


@habit("call")
def stops_itself(id: int, nonce: str) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


@habit("call")
def stops_to_read(id: int, nonce: str) -> None:
    hang()


@habit("call")
def never_answers(id: int, nonce: str) -> None:
    pass


@habit("call")
def answers_too_late(id: int, nonce: str) -> None:
    for line in sys.stdin.buffer:
        if b"notifications/cancelled" in line:
            break
    answer(id, noted(nonce))


@habit("call")
def reports_progress_for_ever(id: int, nonce: str) -> None:
    if os.fork() == 0:
        for step in range(1, FOR_EVER):
            notify("notifications/progress", f'{{"progressToken":{id},"progress":{step}}}')
            time.sleep(0.2)
        os._exit(0)


@habit("call")
def answers_twice(id: int, nonce: str) -> None:
    answer(id, noted(nonce))
    answer(id, noted("the second one"))


@habit("call")
def answers_under_a_wrong_id(id: int, nonce: str) -> None:
    answer(id + 1000, noted(nonce))


@habit("call")
def answers_under_a_string(id: int, nonce: str) -> None:
    answer(f'"{id}"', noted(nonce))


@habit("call")
def answers_under_null(id: int, nonce: str) -> None:
    answer("null", noted(nonce))


@habit("call")
def answers_under_a_fraction(id: int, nonce: str) -> None:
    answer(f"{id}.5", noted(nonce))


@habit("call")
def answers_calls_of_others(id: int, nonce: str) -> None:
    for other in range(1, 300):
        answer(other, noted(nonce))


@habit("call")
def uses_huge_ids(id: int, nonce: str) -> None:
    answer("9" * 1000, "{}")
    for size in (200, 10_000):
        say(f'{{"jsonrpc":"2.0","id":"{"i" * size}","method":"ping"}}')
    answer(id, noted(nonce))


@habit("call")
def asks_under_our_id(id: int, nonce: str) -> None:
    say(f'{{"jsonrpc":"2.0","id":{id},"method":"ping"}}')
    say(f'{{"jsonrpc":"2.0","id":{id},"method":"roots/list"}}')
    answer(id, noted(nonce))


@habit("call")
def asks_for_ever(id: int, nonce: str) -> None:
    for number in range(FLOOD):
        say(f'{{"jsonrpc":"2.0","id":"q{number}","method":"sampling/createMessage","params":{{"messages":[]}}}}')
    answer(id, noted(nonce))


@habit("call")
def cancels_our_request(id: int, nonce: str) -> None:
    notify("notifications/cancelled", f'{{"requestId":{id}}}')
    answer(id, noted(nonce))


@habit("call")
def floods_stdout(id: int, nonce: str) -> None:
    for _ in range(FLOOD):
        say("rubbish " * 10)


@habit("call")
def floods_stderr(id: int, nonce: str) -> None:
    write(b"something is a little odd here\n" * 100_000, 2)
    answer(id, noted(nonce))


@habit("call")
def floods_one_line_of_stderr(id: int, nonce: str) -> None:
    write(b"e" * 8 * 1024 * 1024, 2)
    answer(id, noted(nonce))


@habit("call")
def floods_log_messages(id: int, nonce: str) -> None:
    for number in range(FLOOD):
        notify("notifications/message", f'{{"level":"info","data":{number}}}')
    answer(id, noted(nonce))


@habit("call")
def floods_progress(id: int, nonce: str) -> None:
    for number in range(FLOOD):
        notify("notifications/progress", f'{{"progressToken":{id},"progress":{number}}}')
    answer(id, noted(nonce))


@habit("call")
def floods_list_changes(id: int, nonce: str) -> None:
    for kind in ("tools", "prompts", "resources") * FLOOD:
        notify(f"notifications/{kind}/list_changed")
    answer(id, noted(nonce))


@habit("call")
def floods_updates(id: int, nonce: str) -> None:
    for number in range(FLOOD):
        notify("notifications/resources/updated", f'{{"uri":"test://{number}"}}')
    answer(id, noted(nonce))


@habit("call")
def says_too_long_a_line(id: int, nonce: str) -> None:
    answer(id, f'{{"content":[{{"type":"text","text":"{"x" * (64 * 1024 * 1024)}"}}]}}')


@habit("call")
def says_a_line_without_end(id: int, nonce: str) -> None:
    write(b'{"text":"' + b"x" * (65 * 1024 * 1024) + b"\n")
    answer(id, noted(nonce))


@habit("call")
def nests_deeply(id: int, nonce: str) -> None:
    answer(id, '{"content":[],"deep":' + "[" * 30_000 + "]" * 30_000 + "}")


@habit("call")
def says_invalid_utf8(id: int, nonce: str) -> None:
    write(b'{"jsonrpc":"2.0","id":%d,"result":{"content":[],"x":"\xff\xfe"}}\n' % id)


@habit("call")
def says_lone_surrogates(id: int, nonce: str) -> None:
    answer(id, noted(nonce)[:-1] + ',"x":"\\ud800"}')


@habit("call")
def says_nan(id: int, nonce: str) -> None:
    answer(id, '{"content":[],"x":NaN}')


@habit("call")
def says_control_characters(id: int, nonce: str) -> None:
    answer(id, '{"content":[],"x":"\0\1\2"}')


@habit("call")
def repeats_keys(id: int, nonce: str) -> None:
    say(f'{{"jsonrpc":"1.0","jsonrpc":"2.0","id":0,"id":{id},"result":{{}},"result":{noted(nonce)}}}')


@habit("call")
def answers_in_a_batch(id: int, nonce: str) -> None:
    say(f'[{{"jsonrpc":"2.0","id":{id},"result":{noted(nonce)}}}]')


@habit("call")
def answers_in_an_empty_batch(id: int, nonce: str) -> None:
    say("[]")
    answer(id, noted(nonce))


@habit("call")
def ends_lines_like_dos(id: int, nonce: str) -> None:
    write(f'{{"jsonrpc":"2.0","id":{id},"result":{noted(nonce)}}}\r\n'.encode())


@habit("call")
def glues_messages(id: int, nonce: str) -> None:
    log = '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}'
    say(f'{log}{{"jsonrpc":"2.0","id":{id},"result":{noted(nonce)}}}{log}')


@habit("call")
def prints_before_its_answer(id: int, nonce: str) -> None:
    write(b"DEBUG 12:00 sending ")
    answer(id, noted(nonce))


@habit("call")
def begins_with_a_byte_order_mark(id: int, nonce: str) -> None:
    write(b"\xef\xbb\xbf")
    answer(id, noted(nonce))


@habit("call")
def says_blank_lines(id: int, nonce: str) -> None:
    write(b"\n\r\n \n" * 1000)
    answer(id, noted(nonce))


@habit("call")
def breaks_its_answer_into_lines(id: int, nonce: str) -> None:
    say(json.dumps({"jsonrpc": "2.0", "id": id, "result": json.loads(noted(nonce))}, indent=2))


@habit("call")
def says_utf16(id: int, nonce: str) -> None:
    write(f'{{"jsonrpc":"2.0","id":{id},"result":{noted(nonce)}}}\n'.encode("utf-16"))


@habit("call")
def gives_a_result_and_an_error(id: int, nonce: str) -> None:
    say(f'{{"jsonrpc":"2.0","id":{id},"result":{noted(nonce)},"error":{{"code":1,"message":"both"}}}}')


@habit("call")
def gives_neither(id: int, nonce: str) -> None:
    say(f'{{"jsonrpc":"2.0","id":{id}}}')


@habit("call")
def gives_no_object(id: int, nonce: str) -> None:
    answer(id, '"fine"')


@habit("call")
def gives_null(id: int, nonce: str) -> None:
    answer(id, "null")


@habit("call")
def gives_an_error_without_a_code(id: int, nonce: str) -> None:
    refuse(id, '{"message":"no code"}')


@habit("call")
def gives_an_error_that_is_a_text(id: int, nonce: str) -> None:
    refuse(id, '"the disk is full"')


@habit("call")
def pretends_to_be_us(id: int, nonce: str) -> None:
    data = '{"origin":"mcp-manifold","server":"good","delivered":"no"}'
    refuse(id, f'{{"code":-32000,"message":"server \'good\' is down","data":{data}}}')


@habit("call")
def speaks_the_first_version(id: int, nonce: str) -> None:
    say(f'{{"jsonrpc":"1.0","id":{id},"result":{noted(nonce)},"error":null}}')


@habit("call")
def leaves_the_version_out(id: int, nonce: str) -> None:
    say(f'{{"id":{id},"result":{noted(nonce)}}}')


@habit("call")
def answers_byte_by_byte(id: int, nonce: str) -> None:
    for byte in f'{{"jsonrpc":"2.0","id":{id},"result":{noted(nonce)}}}\n'.encode():
        os.write(1, bytes([byte]))


# -- what it does well


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--habit", choices=[*HABITS, "none"], default="none")
    parser.add_argument("--journal")
    options = parser.parse_args()
    stage, do = HABITS.get(options.habit, ("never", print))
    journal = os.open(options.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if options.journal else None
    if stage == "start":
        do()
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "id" in message and "method" in message:
            respond(message, stage, do, journal)
    if stage == "end":
        do()


def respond(message: Any, stage: str, do: Habit, journal: int | None) -> None:
    id, method = message["id"], message["method"]
    if method == "initialize":
        (do if stage == "initialize" else welcome)(id)
    elif method == "tools/list":
        (do if stage == "list" else show)(id)
    elif method == "tools/call":
        nonce = message["params"]["arguments"]["nonce"]
        if journal is not None:
            os.write(journal, f"{nonce}\n".encode())
        if message["params"]["name"] == "misbehave" and stage == "call":
            do(id, nonce)
        else:
            answer(id, noted(nonce))
    else:
        answer(id, "{}")


if __name__ == "__main__":
    main()
