"""All that `everything` can do, beside a direct connection with the same client: only names and prefixes may differ."""

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import mcp
import pytest
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.support import able, servers
from tests.support.client import PATIENCE, ChildWire, RawClient, connected
from tests.support.manifold import RUN, Manifold, running, tools_until, write_config
from tests.support.message import Message
from tests.support.processes import eventually
from tests.support.spans import elements, members

KEY = "everything"
LAST_TOOL = "trigger-url-elicitation"
TIME = re.compile(rb'"\d{4}-\d\d-\d\dT[^"]*Z"')


@dataclass(frozen=True)
class Pair:
    """The same server twice: behind the proxy, and beside it."""

    hub: Manifold
    direct: RawClient

    @property
    def sides(self) -> tuple[tuple[RawClient, str], tuple[RawClient, str]]:
        """Each client, and the prefix of names that it sees."""
        return (self.direct, ""), (self.hub, f"{KEY}__")

    def ask(self, method: str, params: dict[str, Any]) -> list[Message]:
        """The answers to one request: direct, and through the proxy."""
        ids = [client.start(method, public(params, prefix)) for client, prefix in self.sides]
        return [client.wait(id) for (client, _), id in zip(self.sides, ids, strict=True)]

    def same(self, method: str, params: dict[str, Any]) -> Message:
        """The one answer that both give."""
        direct, through = self.ask(method, params)
        assert outcome(through) == outcome(direct)
        return direct

    def same_at_last(self, method: str, params: dict[str, Any]) -> Message:
        """The same where an answer tells the time: the two have to meet in one second."""
        seen: list[Message] = []

        def agree() -> bool:
            seen[:] = self.ask(method, params)
            return outcome(seen[0]) == outcome(seen[1])

        eventually(agree, lambda: [message.line for message in seen])
        return seen[0]

    def asked(self, method: str, since: tuple[int, int]) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """The params of what the server asked of its client, as they came: direct, and through the proxy."""
        found = [
            client.wait_for_question(method, since=start) for (client, _), start in zip(self.sides, since, strict=True)
        ]
        direct, through = (members(question.members["params"]) for question in found)
        assert list(through) == list(direct), "the order of the members changed"
        return direct, through

    @property
    def so_far(self) -> tuple[int, int]:
        return len(self.direct.messages), len(self.hub.messages)


def public(params: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Params with the names that the proxy gives."""
    return {
        key: public(value, prefix) if key == "ref" else prefix + value if key == "name" else value
        for key, value in params.items()
    }


def outcome(message: Message) -> dict[str, bytes]:
    return {key: value for key, value in message.members.items() if key in ("result", "error")}


def call(tool: str, arguments: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": tool, "arguments": arguments or {}, **more}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    config = write_config(tmp_path_factory.mktemp("features"), {KEY: servers.everything() | {"env": {"SHOWN": "yes"}}})
    with contextlib.ExitStack() as stack:
        hub = stack.enter_context(running(config, handshake=False))
        direct = stack.enter_context(connected(ChildWire(servers.EVERYTHING, {"SHOWN": "yes"})))
        for client in (hub, direct):
            able.introduce(client)
        tools_until(direct, {LAST_TOOL})
        tools_until(hub, {f"{KEY}__{LAST_TOOL}"})
        for client in (hub, direct):  # it asks for the roots by itself, some time after the handshake
            client.wait_for_notification("notifications/message", lambda m: "Roots updated" in m.params["data"])
        yield Pair(hub, direct)


# Lists


def test_all_tools_are_there_also_those_for_able_clients_alone(pair: Pair) -> None:
    direct, through = (tools_until(client, {f"{prefix}{LAST_TOOL}"}) for client, prefix in pair.sides)
    assert {"trigger-sampling-request", "trigger-elicitation-request", "get-roots-list"} <= direct.keys()
    assert list(through) == [f"{KEY}__{name}" for name in direct]
    for name, text in direct.items():
        renamed = members(text) | {"name": json.dumps(f"{KEY}__{name}").encode()}
        assert list(members(through[f"{KEY}__{name}"]).items()) == list(renamed.items())


@pytest.mark.parametrize("method", ["resources/list", "resources/templates/list"])
def test_lists_of_resources_are_the_servers_own(method: str, pair: Pair) -> None:
    assert len(pair.same(method, {}).raw_result) > 100


def test_prompts_differ_in_their_names_alone(pair: Pair) -> None:
    direct, through = (elements(members(answer.raw_result)["prompts"]) for answer in pair.ask("prompts/list", {}))
    assert len(direct) == len(through) == 4
    for one, other in zip(direct, through, strict=True):
        name = f"{KEY}__{json.loads(members(one)['name'])}"
        assert list(members(other).items()) == list((members(one) | {"name": json.dumps(name).encode()}).items())


# Tools

CALLS: list[dict[str, Any]] = [
    call("echo", {"message": 'ä "quoted" \\ \u2028 😀'}),
    call("echo"),
    call("get-annotated-message", {"messageType": "success", "includeImage": True}),
    call("get-resource-links", {"count": 10}),
    call("get-resource-links", {"count": 11}),
    call("get-structured-content", {"location": "New York"}),
    call("get-sum", {"a": 0.1, "b": 12345678901234567890}),
    call("get-tiny-image"),
    call("get-roots-list"),
    call("trigger-long-running-operation", {"duration": 0.02, "steps": 2}),
    call("trigger-sampling-request", {"prompt": 'what is "ä"?', "maxTokens": 7}),
    call("trigger-elicitation-request"),
    call("trigger-sampling-request-async", {"prompt": "take your time"}),
    call("trigger-url-elicitation", {"url": "https://example.com/", "message": "please", "elicitationId": "e1"}),
    call("gzip-file-as-resource", {"name": "one.gz", "data": "data:text/plain,hello", "outputType": "resource"}),
    call("gzip-file-as-resource", {"name": "two.gz", "data": "ftp://nowhere", "outputType": "resource"}),
]
ELSEWHERE = {
    "get-env",
    "get-resource-reference",
    "simulate-research-query",
    "toggle-simulated-logging",
    "toggle-subscriber-updates",
    "trigger-elicitation-request-async",
}


def test_every_tool_has_a_test_here(pair: Pair) -> None:
    assert {params["name"] for params in CALLS} | ELSEWHERE == tools_until(pair.direct, {LAST_TOOL}).keys()


@pytest.mark.parametrize("params", CALLS, ids=lambda params: params["name"])
def test_a_tool_answers_the_same(params: dict[str, Any], pair: Pair) -> None:
    pair.same("tools/call", params)


@pytest.mark.parametrize("kind", ["Text", "Blob"])
def test_a_resource_within_a_result_is_the_servers_own(kind: str, pair: Pair) -> None:
    answer = pair.same_at_last("tools/call", call("get-resource-reference", {"resourceType": kind, "resourceId": 7}))
    assert answer.result["content"][1]["resource"]["uri"] == f"demo://resource/dynamic/{kind.lower()}/7"


def test_the_environment_is_what_the_entry_says_and_little_more(pair: Pair) -> None:
    direct, through = (
        json.loads(answer.result["content"][0]["text"]) for answer in pair.ask("tools/call", call("get-env"))
    )
    assert through["SHOWN"] == "yes"
    assert through.items() <= direct.items()


# What the server asks of its client


def test_sampling_is_asked_as_the_server_put_it(pair: Pair) -> None:
    since = pair.so_far
    answer = pair.same("tools/call", call("trigger-sampling-request", {"prompt": "to be echoed"}))
    direct, through = pair.asked("sampling/createMessage", since)
    assert through == direct
    assert "you said: Resource trigger-sampling-request context: to be echoed" in answer.result["content"][0]["text"]


@pytest.mark.parametrize("tool", ["trigger-elicitation-request", "trigger-elicitation-request-async"])
def test_a_form_differs_in_the_server_that_it_names(tool: str, pair: Pair) -> None:
    since = pair.so_far
    pair.same("tools/call", call(tool))
    assert_message_names_the_server(*pair.asked("elicitation/create", since))


@pytest.mark.parametrize("action", ["decline", "cancel"])
def test_what_the_user_decides_reaches_the_server(action: str, pair: Pair) -> None:
    for client, _ in pair.sides:
        client.will_answer("elicitation/create", {"action": action})
    try:
        answer = pair.same("tools/call", call("trigger-elicitation-request"))
    finally:
        for client, _ in pair.sides:
            client.will_answer("elicitation/create", able.FORM)
    assert action in answer.result["content"][0]["text"]


def test_a_url_is_asked_for_with_its_id(pair: Pair) -> None:
    since = pair.so_far
    params = {"url": "https://example.com/a?b=c", "message": "log in", "elicitationId": "e-2"}
    pair.same("tools/call", call("trigger-url-elicitation", params))
    direct, through = pair.asked("elicitation/create", since)
    assert through["mode"] == b'"url"'
    assert_message_names_the_server(direct, through)


def test_an_error_that_asks_for_a_url_first_is_the_servers_own(pair: Pair) -> None:
    params = {"url": "https://example.com/", "message": "log in", "elicitationId": "e-3", "errorPath": True}
    answers = pair.ask("tools/call", call("trigger-url-elicitation", params))
    ids = [answer.error["data"]["elicitations"][0]["elicitationId"] for answer in answers]
    through = answers[1].members["error"].replace(ids[1].encode(), ids[0].encode())
    unsigned = through.replace(f'"message":"{KEY}: '.encode(), b'"message":"')
    assert len(unsigned) < len(through)
    assert unsigned == answers[0].members["error"]
    assert answers[0].error["code"] == -32042
    pair.same("tools/call", call("trigger-url-elicitation", params))  # as a client does, once the user was there


def test_other_roots_are_asked_for_once_they_are_announced(pair: Pair) -> None:
    roots = [{"uri": "file:///home/bob", "name": "another home"}]
    logged = []
    for client, _ in pair.sides:
        since = len(client.messages)
        client.will_answer("roots/list", {"roots": roots})
        client.notify("notifications/roots/list_changed")
        logged.append(client.wait_for_notification("notifications/message", since=since).params)
    assert logged[0] == {"level": "info", "logger": "everything-server", "data": logged[0]["data"]}
    assert logged[1] == {**logged[0], "logger": f"{KEY}/everything-server"}
    assert "home/bob" in pair.same("tools/call", call("get-roots-list")).result["content"][0]["text"]


def assert_message_names_the_server(direct: dict[str, bytes], through: dict[str, bytes]) -> None:
    assert json.loads(through["message"]) == f"{KEY}: {json.loads(direct['message'])}"
    assert {**through, "message": b""} == {**direct, "message": b""}


# Resources


def test_every_resource_reads_the_same(pair: Pair) -> None:
    listed = pair.direct.request("resources/list").result["resources"]
    assert len(listed) > 5
    for resource in listed:
        pair.same("resources/read", {"uri": resource["uri"]})


@pytest.mark.parametrize("uri", ["demo://resource/dynamic/text/1", "demo://resource/dynamic/blob/2"])
def test_what_a_template_makes_reads_the_same(uri: str, pair: Pair) -> None:
    assert pair.same_at_last("resources/read", {"uri": uri}).result["contents"]


@pytest.mark.parametrize("uri", ["demo://resource/dynamic/text/none", "demo://nobody/has/this", "no uri"])
def test_what_the_server_does_not_have_is_refused_in_its_own_words(uri: str, pair: Pair) -> None:
    assert pair.same("resources/read", {"uri": uri}).error["message"]


def test_a_resource_that_a_call_made_is_announced_listed_and_read(pair: Pair) -> None:
    pair.same_at_last("resources/list", {})  # who has not seen the list is not told that it changed
    since = pair.so_far
    arguments = {"name": "new.gz", "data": "data:text/plain,news", "outputType": "resourceLink"}
    link = pair.same("tools/call", call("gzip-file-as-resource", arguments)).result["content"][0]
    for (client, _), start in zip(pair.sides, since, strict=True):
        client.wait_for_notification("notifications/resources/list_changed", since=start)
    listed = pair.same_at_last("resources/list", {}).result["resources"]
    assert link["uri"] in [resource["uri"] for resource in listed]
    pair.same("resources/read", {"uri": link["uri"]})


def test_updates_come_for_what_is_subscribed_to(pair: Pair) -> None:
    wanted, dropped = "demo://resource/dynamic/text/5", "demo://resource/static/document/features.md"
    since = pair.so_far
    for uri in (wanted, dropped):
        assert pair.same("resources/subscribe", {"uri": uri}).result == {}
    assert pair.same("resources/unsubscribe", {"uri": dropped}).result == {}
    pair.same("tools/call", call("toggle-subscriber-updates"))
    told = [
        client.wait_for_notification("notifications/resources/updated", since=start)
        for (client, _), start in zip(pair.sides, since, strict=True)
    ]
    pair.same("tools/call", call("toggle-subscriber-updates"))
    pair.same("resources/unsubscribe", {"uri": wanted})
    assert [update.members["params"] for update in told] == [b'{"uri":"%b"}' % wanted.encode()] * 2
    for client, _ in pair.sides:
        assert {update.params["uri"] for update in client.notifications("notifications/resources/updated")} == {wanted}


# Prompts and completion


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("simple-prompt", None),
        ("args-prompt", {"city": "Rome", "state": "ä"}),
        ("args-prompt", {}),
        ("completable-prompt", {"department": "Sales", "name": "Eve"}),
    ],
)
def test_a_prompt_is_the_servers_own(name: str, arguments: dict[str, str] | None, pair: Pair) -> None:
    pair.same("prompts/get", {"name": name} | ({"arguments": arguments} if arguments is not None else {}))


def test_a_prompt_with_a_resource_is_the_servers_own(pair: Pair) -> None:
    arguments = {"resourceType": "Blob", "resourceId": "3"}
    answer = pair.same_at_last("prompts/get", {"name": "resource-prompt", "arguments": arguments})
    assert answer.result["messages"][1]["content"]["resource"]["uri"] == "demo://resource/dynamic/blob/3"


TEMPLATE = {"type": "ref/resource", "uri": "demo://resource/dynamic/text/{resourceId}"}
TEAM = {"type": "ref/prompt", "name": "completable-prompt"}


@pytest.mark.parametrize(
    ("ref", "argument", "arguments", "values"),
    [
        (TEAM, ("department", "S"), {}, ["Sales", "Support"]),
        (TEAM, ("name", ""), {"department": "Marketing"}, ["Grace", "Henry", "Iris"]),
        ({"type": "ref/prompt", "name": "resource-prompt"}, ("resourceType", "T"), {}, ["Text"]),
        (TEMPLATE, ("resourceId", "12"), {}, ["12"]),
        (TEMPLATE, ("resourceId", "x"), {}, []),
    ],
)
def test_completions_are_the_servers_own(
    ref: dict[str, str], argument: tuple[str, str], arguments: dict[str, str], values: list[str], pair: Pair
) -> None:
    name, value = argument
    params = {"ref": ref, "argument": {"name": name, "value": value}, "context": {"arguments": arguments}}
    answers = [
        client.request("completion/complete", {**params, "ref": public(ref, prefix)}) for client, prefix in pair.sides
    ]
    assert outcome(answers[1]) == outcome(answers[0])
    assert answers[0].result["completion"]["values"] == values


# Logging, progress, cancellation


def test_log_messages_differ_in_the_logger_alone(pair: Pair) -> None:
    pair.same("logging/setLevel", {"level": "info"})
    since = pair.so_far
    uri = "demo://resource/dynamic/text/8"
    pair.same("resources/subscribe", {"uri": uri})
    direct, through = (
        members(client.wait_for_notification("notifications/message", since=start).members["params"])
        for (client, _), start in zip(pair.sides, since, strict=True)
    )
    assert uri.encode() in direct["data"]
    assert through == {**direct, "logger": b'"%b"' % KEY.encode()}
    pair.same("resources/unsubscribe", {"uri": uri})


def test_a_level_holds_back_what_is_below_it(pair: Pair) -> None:
    pair.same("logging/setLevel", {"level": "warning"})
    since = pair.so_far
    for method in ("resources/subscribe", "resources/unsubscribe"):
        pair.same(method, {"uri": "demo://resource/dynamic/text/9"})
    assert not [message for message in pair.hub.messages[since[1] :] if message.method == "notifications/message"]
    pair.same("logging/setLevel", {"level": "debug"})


def test_messages_at_random_come_through(pair: Pair) -> None:
    since = pair.so_far
    for _ in ("on", "off"):
        pair.same("tools/call", call("toggle-simulated-logging"))
    logged = pair.hub.wait_for_notification("notifications/message", since=since[1])
    assert logged.params["logger"] == KEY


def test_progress_is_told_byte_for_byte(pair: Pair) -> None:
    since = pair.so_far
    params = call("trigger-long-running-operation", {"duration": 0.03, "steps": 3}, _meta={"progressToken": "a 1"})
    pair.same("tools/call", params)
    direct, through = (
        [m.members["params"] for m in client.messages[start:] if m.method == "notifications/progress"]
        for (client, _), start in zip(pair.sides, since, strict=True)
    )
    assert len(direct) == 3
    assert through == direct


def test_a_cancelled_call_is_answered_on_neither_side(pair: Pair) -> None:
    slow = {"duration": 0.4, "steps": 4}
    for client, prefix in pair.sides:
        since = len(client.messages)
        params = call(f"{prefix}trigger-long-running-operation", slow, _meta={"progressToken": "cancelled"})
        id = client.start("tools/call", params)
        client.wait_for_notification("notifications/progress", since=since)
        client.notify("notifications/cancelled", {"requestId": int(id), "reason": "enough"})
        client.call(f"{prefix}trigger-long-running-operation", slow)  # which takes as long as what was cancelled
        assert not [message for message in client.messages if message.id == id and message.method is None]


# Tasks


def begin(client: RawClient, prefix: str, ambiguous: bool) -> Message:
    arguments = {"topic": 'python "ä"', "ambiguous": ambiguous}
    return client.request(
        "tools/call", call(f"{prefix}simulate-research-query", arguments, task={"ttl": 60000}, _meta={"x": 1})
    )


def told(text: bytes, id: str) -> bytes:
    """Of a task's text what does not differ by nature."""
    return TIME.sub(b'"a time"', text.replace(id.encode(), b"an id"))


def test_a_task_is_the_same_from_the_call_to_its_result(pair: Pair) -> None:
    """Four seconds of work, in the middle of which it asks the user."""
    since = pair.so_far
    begun = [begin(client, prefix, ambiguous=True) for client, prefix in pair.sides]
    ids = [answer.result["task"]["taskId"] for answer in begun]
    clients = [client for client, _ in pair.sides]

    def assert_same(answers: list[Message]) -> None:
        direct, through = (told(answer.raw_result, id) for answer, id in zip(answers, ids, strict=True))
        assert through == direct

    assert_same(begun)
    waiting = [client.start("tasks/result", {"taskId": id}) for client, id in zip(clients, ids, strict=True)]
    looks = [client.request("tasks/get", {"taskId": id}) for client, id in zip(clients, ids, strict=True)]
    assert looks[1].result["status"] == "working"
    results = [client.wait(id) for client, id in zip(clients, waiting, strict=True)]
    assert_same(results)
    assert "Research Report" in results[1].result["content"][0]["text"]
    assert_same([client.request("tasks/get", {"taskId": id}) for client, id in zip(clients, ids, strict=True)])
    direct, through = (
        {key: told(text, id) for key, text in asked.items()}
        for asked, id in zip(pair.asked("elicitation/create", since), ids, strict=True)
    )
    assert_message_names_the_server(direct, through)
    spoken = [
        [told(m.members["params"], id) for m in client.messages[start:] if m.method == "notifications/tasks/status"]
        for client, id, start in zip(clients, ids, since, strict=True)
    ]
    assert spoken[1] == spoken[0]
    for client, id in zip(clients, ids, strict=True):
        assert id in [task["taskId"] for task in client.request("tasks/list").result["tasks"]]


def test_a_task_is_cancelled_on_both_sides(pair: Pair) -> None:
    answers = []
    for client, prefix in pair.sides:
        id = begin(client, prefix, ambiguous=False).result["task"]["taskId"]
        cancelled = client.request("tasks/cancel", {"taskId": id})
        assert cancelled.result["status"] == "cancelled"
        after = client.request("tasks/get", {"taskId": id})
        again = client.request("tasks/cancel", {"taskId": id})
        answers.append([told(text, id) for m in (cancelled, after, again) for text in outcome(m).values()])
    assert answers[1] == answers[0]


def test_a_task_that_nobody_began_is_unknown(pair: Pair) -> None:
    for method in ("tasks/get", "tasks/result", "tasks/cancel"):
        direct, through = pair.ask(method, {"taskId": "nobody's"})
        assert through.error["code"] == direct.error["code"]


def test_a_tool_that_has_to_be_a_task_is_refused_as_a_call(pair: Pair) -> None:
    pair.same("tools/call", call("simulate-research-query", {"topic": "x"}))


# Another client


@pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning")  # of what the next revision has no more
async def test_the_sdks_client_is_asked_told_and_answered(tmp_path: Path) -> None:
    config = write_config(tmp_path, {KEY: servers.everything()})
    asked: list[str] = []
    logged: list[str | None] = []
    advanced: list[tuple[float, float | None]] = []
    announced = anyio.Event()

    async def sample(context: Any, params: mcp.types.CreateMessageRequestParams) -> mcp.types.CreateMessageResult:
        text = mcp.types.TextContent(text="said by a model")
        return mcp.types.CreateMessageResult(role="assistant", content=text, model="a model")

    async def elicit(context: Any, params: mcp.types.ElicitRequestParams) -> mcp.types.ElicitResult:
        asked.append(params.message)
        return mcp.types.ElicitResult(action="accept", content={"name": "Ada"})

    async def roots(context: Any) -> mcp.types.ListRootsResult:
        return mcp.types.ListRootsResult.model_validate({"roots": able.ROOTS})

    async def log(params: mcp.types.LoggingMessageNotificationParams) -> None:
        logged.append(params.logger)

    async def advance(progress: float, total: float | None, message: str | None) -> None:
        advanced.append((progress, total))

    async def hear(message: Any) -> None:
        if isinstance(message, mcp.types.ToolListChangedNotification):
            announced.set()

    def text(result: mcp.types.CallToolResult) -> str:
        assert isinstance(result.content[0], mcp.types.TextContent)
        return result.content[0].text

    server = StdioServerParameters(command=RUN[0], args=[*RUN[1:], str(config)])
    with anyio.fail_after(PATIENCE):
        async with (
            stdio_client(server) as (reading, writing),
            mcp.ClientSession(
                reading,
                writing,
                sampling_callback=sample,
                elicitation_callback=elicit,
                list_roots_callback=roots,
                logging_callback=log,
                message_handler=hear,
            ) as session,
        ):
            await session.initialize()
            if f"{KEY}__trigger-sampling-request" not in {tool.name for tool in (await session.list_tools()).tools}:
                await announced.wait()
            sampled = await session.call_tool(f"{KEY}__trigger-sampling-request", {"prompt": "x"})
            assert "said by a model" in text(sampled)
            assert "Ada" in str((await session.call_tool(f"{KEY}__trigger-elicitation-request", {})).content)
            assert "file:///home/ada" in text(await session.call_tool(f"{KEY}__get-roots-list", {}))
            slow = {"duration": 0.05, "steps": 2}
            await session.call_tool(f"{KEY}__trigger-long-running-operation", slow, progress_callback=advance)
            resource = (await session.list_resources()).resources[0]
            [content] = (await session.read_resource(resource.uri)).contents
            assert content.uri == resource.uri
            assert len((await session.list_resource_templates()).resource_templates) == 2
            await session.subscribe_resource(resource.uri)
            prompt = await session.get_prompt(f"{KEY}__args-prompt", {"city": "Rome"})
            assert "Rome" in str(prompt.messages[0].content)
            ref = mcp.types.PromptReference(name=f"{KEY}__completable-prompt")
            completed = await session.complete(ref, {"name": "department", "value": "E"})
            assert completed.completion.values == ["Engineering"]
    assert asked == [f"{KEY}: Please provide inputs for the following fields:"]
    assert advanced == [(1, 2), (2, 2)]
    assert set(logged) <= {KEY, f"{KEY}/everything-server"}
    assert KEY in logged
