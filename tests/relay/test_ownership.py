"""Several clients and servers at once, in any order: nothing of one client reaches another, and everything ends once.

Whatever anybody says carries a nonce, and for each nonce it is known who may hear it (`tests.support.ownership`). All
sides choose the same few ids for their requests and tasks. What a server says, it says for one of the requests that it
works on, for a task, or for nobody.

`make interleavings` tries 10,000; with INTERLEAVINGS set pytest tries as many as that says. Without it, what fails is
shown as it was found: to make it small takes minutes, longer than a test here may take.
"""

import os
from collections.abc import Sequence
from typing import Any, TypeVar

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.relay.target import Limits
from tests.support.ownership import RELATED, Company, Job, Party, Task, names
from tests.support.relay import World, dump

T = TypeVar("T")
Askable = tuple[str, dict[str, Any], tuple[str, ...]]
Question = tuple[str, dict[str, Any], set[int]]

IDS = (b"0", b'"0"', b"1")
TOKENS = (None, b"0", b'"0"')
TASK_IDS = ("t0", "t0~2", "t1")
LIST_WAIT = 5.0
CALL_TIMEOUT = 30.0
LONGEST = 70.0
ASK_TIMEOUT = 60.0
FOREVER = float("inf")
URIS = {"a": "test://shared", "b": "test://~b/shared", "c": "test://~c/shared"}
"""What clients know the `test://shared` of each server by."""

SERVERS: dict[str, dict[str, Any]] = {
    "a": {
        "logging": {},
        "resources": {"subscribe": True},
        "completions": {},
        "tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}},
    },
    "b": {"resources": {"subscribe": True}, "tasks": {"requests": {"tools": {"call": {}}}}},
    "c": {"resources": {}},
}
CLIENTS: tuple[dict[str, Any], ...] = (
    {},
    {"roots": {"listChanged": True}, "elicitation": {}},
    {"sampling": {}, "elicitation": {"form": {}, "url": {}}},
    {
        "roots": {},
        "sampling": {"tools": {}},
        "elicitation": {"url": {}},
        "tasks": {"list": {}, "cancel": {}, "requests": {"sampling": {"createMessage": {}}}},
    },
)

# What servers ask: method, params, and which of the CLIENTS can be asked it.
ROOTS: Question = ("roots/list", {}, {1, 3})
SAMPLING_TASK: Question = ("sampling/createMessage", {"messages": [], "task": {}}, {2, 3})
QUESTIONS: tuple[Question, ...] = (
    ROOTS,
    SAMPLING_TASK,
    ("sampling/createMessage", {"messages": []}, {2, 3}),
    ("sampling/createMessage", {"messages": [], "tools": []}, {3}),
    ("elicitation/create", {"message": "m"}, {1, 2}),
    ("elicitation/create", {"message": "m", "mode": "url"}, {2, 3}),
    ("tasks/list", {}, {3}),
    ("x/unknown", {}, {0, 1, 2, 3}),
)
OF_TASKS = ("tasks/get", "tasks/result", "tasks/cancel")

# What clients ask: method, params, and the servers that may hear of it.
ASKABLE: list[Askable] = [
    ("tools/call", {"name": "nobody__x"}, ()),
    ("completion/complete", {"ref": {"type": "ref/prompt", "name": "a__p"}}, ("a",)),
    ("resources/read", {"uri": "test://nowhere"}, ("a", "b", "c")),
    ("logging/setLevel", {"level": "debug"}, ()),
    ("ping", {}, ()),
    ("tasks/list", {}, ()),
]
for key, uri in URIS.items():
    ASKABLE += [
        ("tools/call", {"name": f"{key}__x"}, (key,)),
        ("tools/call", {"name": f"{key}__x"}, (key,)),
        ("tools/call", {"name": f"{key}__x", "task": {}}, (key,)),
        ("prompts/get", {"name": f"{key}__p"}, (key,)),
        ("x/own", {"name": f"{key}__x"}, (key,)),
        ("resources/read", {"uri": uri}, (key,)),
        ("resources/read", {"uri": f"test://hidden/{key}"}, ("a", "b", "c")),
        ("resources/subscribe", {"uri": uri}, (key,)),
        ("resources/unsubscribe", {"uri": uri}, (key,)),
    ]
ALWAYS_PASSED = ("tools/call", "prompts/get", "x/own", "resources/read")

some = st.integers(0, 99)
some_id = st.sampled_from(IDS)
some_token = st.sampled_from(TOKENS)
some_kind = st.sampled_from((0, 1, 2, 3, 3))


def several(*parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(st.tuples(*parts), min_size=1, max_size=6)


class Ownership(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World(*URIS, list_wait=LIST_WAIT, call_timeout=CALL_TIMEOUT)
        self.all = Company(self.world, URIS)
        self.kinds: dict[Party, int] = {}

    @invariant()
    def nothing_is_heard_or_kept_from_anybody_that_should_not_be(self) -> None:
        self.all.look()
        self.all.check()

    # Peers come and go, and so does time

    @initialize(kinds=st.lists(some_kind, min_size=2, max_size=3), late=st.sampled_from((None, None, *URIS)))
    def it_starts(self, kinds: list[int], late: str | None) -> None:
        for key, target in self.world.targets.items():
            target.limits = Limits(call=CALL_TIMEOUT, longest=LONGEST, ask=ASK_TIMEOUT)
            self.world.list_more(key, tools=["x"], prompts=["p"], resources=["test://shared"])
        for kind in kinds:
            self.a_client_comes(kind)
        for key in URIS:
            if key != late:
                self.a_server_comes(key)

    @precondition(lambda self: len(self.all.clients) < 4)
    @rule(kind=some_kind)
    def a_client_comes(self, kind: int) -> None:
        name = f"client {len(self.kinds)}"
        client = Party(name, self.world.client(name, capabilities=CLIENTS[kind]), declared(CLIENTS[kind]))
        self.kinds[client] = kind
        self.all.clients.append(client)

    @rule(first=some)
    def servers_come(self, first: int) -> None:
        """All but the first that is missing, or that one alone."""
        missing = [key for key in URIS if key not in names(self.all.servers)]
        for key in missing[1:] or missing:
            self.a_server_comes(key)

    def a_server_comes(self, key: str) -> None:
        server = Party(key, self.world.connect(key, **SERVERS[key]), declared(SERVERS[key]))
        self.all.servers.append(server)

    @rule(which=some, crashes=st.booleans(), coming=st.booleans())
    def somebody_goes(self, which: int, crashes: bool, coming: bool) -> None:
        if crashes and self.all.servers:
            self.all.crash(pick(self.all.servers, which), coming=coming)
        elif len(self.all.clients) > 1:
            self.all.leave(pick(self.all.clients, which))

    @rule(seconds=st.sampled_from((0.0, 1.0, 6.0, 12.0, 31.0)))
    def time_passes(self, seconds: float) -> None:
        self.all.pass_time(seconds)

    # They ask

    @rule(requests=several(some, some_id, st.sampled_from(ASKABLE), some_token))
    def clients_ask(self, requests: list[tuple[int, bytes, Askable, bytes | None]]) -> None:
        for which, id, (method, params, servers), token in requests:
            client = pick(self.all.clients, which)
            if id in client.asked:
                continue
            seconds = LIST_WAIT if method == "tasks/list" else CALL_TIMEOUT
            request = self.all.asks(client, id, method, params, servers, seconds, token)
            if method in ALWAYS_PASSED and len(servers) == 1 and servers[0] in self.all.takers:
                assert self.all.heard[request.nonce] == [*servers]

    @rule(requests=several(some, some_id, st.sampled_from((*OF_TASKS, "tasks/list")), some, some_token))
    def clients_ask_for_tasks(self, requests: list[tuple[int, bytes, str, int, bytes | None]]) -> None:
        """For their own, and for what others have under that name."""
        for which, id, method, name, token in requests:
            client = pick(self.all.clients, which)
            if id in client.asked:
                continue
            if method == "tasks/list":
                self.all.asks(client, id, method, {}, [], LIST_WAIT, token)
                continue
            task_id = pick([*client.known] if client.known and name > 30 else TASK_IDS, name)
            task = client.known.get(task_id)
            holder = [task.holder.name] if task is not None else []
            task = task if task is not None and not task.dead else None
            request = self.all.asks(client, id, method, {"taskId": task_id}, holder, duration(method), token, task)
            can = task is not None and task.holder.name in self.all.takers
            if task is not None and can and (method != "tasks/cancel" or "tasks/cancel" in task.holder.able):
                assert self.all.heard[request.nonce] == holder

    @precondition(lambda self: self.all.servers)
    @rule(questions=several(some, some_id, st.sampled_from(QUESTIONS), some_token, some))
    def servers_ask(self, questions: list[tuple[int, bytes, Question, bytes | None, int]]) -> None:
        for which, id, what, token, cause in questions:
            server = pick(self.all.servers, which)
            if id not in server.asked:
                self.a_server_asks(server, id, what, token, cause)

    def a_server_asks(self, server: Party, id: bytes, what: Question, token: bytes | None, cause: int) -> None:
        method, params, able = what
        why, may, must = self.speaks_for(server, cause)
        if why is None and len(self.all.clients) == 1:
            may, must = self.all.clients, True
        if params.get("mode") == "url":
            params = {**params, "elicitationId": f"e{len(server.elicited)}"}
        task = why if isinstance(why, Task) else None
        request = self.all.asks(server, id, method, params, names(may), ASK_TIMEOUT, token, task)
        if not must or self.kinds[may[0]] not in able:
            assert self.all.heard[request.nonce] == []
            assert request.over is not None
            return
        assert self.all.heard[request.nonce] == names(may)
        if "elicitationId" in params:
            server.elicited[params["elicitationId"]] = may[0]

    @precondition(lambda self: self.all.servers)
    @rule(requests=several(some, some_id, st.sampled_from((*OF_TASKS, "ping")), some))
    def servers_ask_for_tasks(self, requests: list[tuple[int, bytes, str, int]]) -> None:
        for which, id, method, name in requests:
            server = pick(self.all.servers, which)
            if id in server.asked:
                continue
            task_id = pick([*server.known] if server.known and name > 30 else TASK_IDS, name)
            task = server.known.get(task_id)
            task = task if task is not None and not task.dead and method != "ping" else None
            holder = [task.holder.name] if task is not None else []
            params = {"taskId": task_id} if method != "ping" else {}
            request = self.all.asks(server, id, method, params, holder, duration(method), None, task)
            assert self.all.heard[request.nonce] == holder
            assert task is not None or request.over is not None

    @rule(tasks=several(some, some_id, st.sampled_from(("a", "b")), some_token, st.booleans()))
    def tasks_begin(self, tasks: list[tuple[int, bytes, str, bytes | None, bool]]) -> None:
        """At a server, or at the client of which it asks something for a call."""
        for which, id, key, token, reverse in tasks:
            client = pick(self.all.clients, which)
            servers = [server for server in self.all.servers if server.name == key and id not in server.asked]
            if not servers or id in client.asked or key not in self.all.takers:
                continue
            params = {"name": f"{key}__x", "task": {}}
            request = self.all.asks(client, id, "tools/call", params, [key], CALL_TIMEOUT, token)
            if not reverse:
                self.all.answers(request.jobs[0], "task")
                continue
            self.a_server_asks(servers[0], id, SAMPLING_TASK, token, servers[0].jobs.index(request.jobs[0]))
            for job in [*client.open.values()]:
                if job.augmented:
                    self.all.answers(job, "task")

    # They answer, cancel, and tell

    @rule(answers=several(some, st.sampled_from(("result", "task", "task", "error"))))
    def they_answer(self, answers: list[tuple[int, str]]) -> None:
        for which, how in answers:
            jobs = [job for party in self.all.present for job in party.open.values()]
            if jobs:
                self.all.answers(pick(jobs, which), how)

    @rule(again=several(some, st.sampled_from(("result", "error"))))
    def they_answer_again(self, again: list[tuple[int, str]]) -> None:
        for which, member in again:
            jobs = [job for party in self.all.present for job in party.done.values()]
            jobs += [job for party in self.all.gone if party.name in URIS for job in party.open.values()]
            if jobs:
                self.all.answers_again(pick(jobs, which), member)

    @rule(cancelled=several(some, some_id))
    def they_cancel(self, cancelled: list[tuple[int, bytes]]) -> None:
        """Often what they never asked, but another did under this id."""
        for which, id in cancelled:
            self.all.cancels(pick(self.all.present, which), id)

    @rule(
        told=several(
            st.sampled_from(("progress", "progress", "task", "log", "resource", "elicitation", "news")), some, some
        )
    )
    def they_tell(self, told: list[tuple[str, int, int]]) -> None:
        for what, which, more in told:
            if what in ("progress", "task", "news"):
                party = pick(self.all.present, which)
            elif self.all.servers:
                party = pick(self.all.servers, which)
            else:
                continue
            getattr(self, f"tell_{what}")(party, more)

    def tell_progress(self, party: Party, more: int) -> None:
        """Of whatever has this token, if anything has."""
        number = pick(range(1, 12), more)
        job = party.open.get(b"%d" % number)
        audience: list[Party] = []
        token: bytes | None = None
        if job is not None and job.is_live and job.request is not None and job.number is not None:
            audience, token = [job.request.asker], job.request.token
        for task in party.tasks.values():
            if task.number == number and not task.over and not task.dead and task.asker in task.ids:
                audience, token = [task.asker], task.token
        nonce, text = self.all.nonce(*audience)
        self.all.words[nonce] = "progressToken", token or b""
        self.all.says(party, "notifications/progress", {"progressToken": number, "progress": 1, "x": text})
        assert self.all.heard[nonce] == names(audience)
        if audience and party in self.all.servers and job is not None and job.is_live and job.request is not None:
            self.all.works(job.request)

    def tell_task(self, party: Party, more: int) -> None:
        if not party.tasks:
            return
        own, task = pick([*party.tasks.items()], more)
        audience = [task.asker] if task.asker in task.ids and not task.dead else []
        nonce, text = self.all.nonce(*audience)
        self.all.about[nonce] = task
        status = "completed" if more > 60 else "working"
        self.all.says(party, "notifications/tasks/status", {"taskId": own, "status": status, "x": text})
        assert self.all.heard[nonce] == names(audience)
        task.over |= status == "completed"

    def tell_log(self, server: Party, more: int) -> None:
        """Or something that no revision knows."""
        why, may, must = self.speaks_for(server, more)
        if why is None:
            just = {one for one in server.just_answered if one in self.all.clients}
            present = [one for one in self.all.clients if not just or {one} == just]
            may, must = present, True
        nonce, text = self.all.nonce(*may)
        params: dict[str, Any] = {"level": "info", "data": text}
        if isinstance(why, Task):
            self.all.about[nonce] = why
            params["_meta"] = {RELATED: {"taskId": why.ids[server]}}
        self.all.says(server, pick(("notifications/message", "notifications/x"), more), params)
        if isinstance(why, Task) and why.asker not in why.ids:
            return  # it gave up before it heard that this is a task: its other requests there may let it hear, or not
        assert self.all.heard[nonce] == (names(may) if must else [])

    def tell_resource(self, server: Party, more: int) -> None:
        readers = self.all.readers[server.name] or (self.all.clients if len(self.all.clients) == 1 else [])
        nonce, text = self.all.nonce(*readers)
        self.all.words[nonce] = "uri", dump(URIS[server.name])
        self.all.says(server, "notifications/resources/updated", {"uri": "test://shared", "x": text})
        assert sorted(self.all.heard[nonce]) == sorted(names(readers))

    def tell_elicitation(self, server: Party, more: int) -> None:
        """That it is complete, perhaps once more, or before it was begun."""
        id = f"e{more % 3}"
        client, server.elicited[id] = server.elicited.get(id), None
        audience = [client] if client is not None and client in self.all.clients else []
        nonce, text = self.all.nonce(*audience)
        self.all.says(server, "notifications/elicitation/complete", {"elicitationId": id, "x": text})
        assert self.all.heard[nonce] == names(audience)

    def tell_news(self, party: Party, more: int) -> None:
        """A client has other roots, or says what no revision knows; a server says what only clients may."""
        method = pick(("notifications/roots/list_changed", "notifications/x"), more)
        if party in self.all.servers:
            return
        heeded = method == "notifications/roots/list_changed" and self.kinds[party] in ROOTS[2]
        audience = self.all.servers if heeded else []
        nonce, text = self.all.nonce(*audience)
        self.all.says(party, method, {"x": text})
        assert sorted(self.all.heard[nonce]) == sorted(names(audience))

    def speaks_for(self, server: Party, cause: int) -> tuple[Job | Task | None, list[Party], bool]:
        """What a server says something for, who may hear it, and whether it must be passed on or may not be."""
        jobs = server.jobs
        if not jobs and not server.tasks:
            return None, [], False
        causes: list[Job | Task] = [*jobs, *server.tasks.values()]
        why = pick(causes, cause)
        if isinstance(why, Task):
            return why, [why.asker], why.asker in self.all.clients and why.asker in why.ids
        assert why.request is not None
        asker = why.request.asker
        others = {one for one in server.just_answered if one in self.all.clients}
        alone = {job.request.asker for job in jobs if job.request is not None} | others == {asker}
        return why, [asker], alone and asker in self.all.clients

    def teardown(self) -> None:
        self.all.pass_time(10_000)
        self.all.check()
        self.everything_is_answered()
        for _ in range(20):  # servers that answered nothing are asked now and then whether they are there
            self.all.pass_time(max(0.0, min(self.world.relay.wake_at, self.world.now + 60) - self.world.now))
            self.everything_is_answered()
        for party in self.all.present:
            assert party.asked == {}
        for client in self.all.clients:
            session = client.client.session
            assert (session.calls, session.lists, session.batches, session.questions) == ({}, {}, {}, {})
        for server in self.all.servers:
            link = server.server.link
            assert (link.calls, link.asks, link.questions) == ({}, {}, {})
            assert server.watched or not self.all.readers[server.name] or server.name in self.all.unsure
        self.world.assert_at_rest()

    def everything_is_answered(self) -> None:
        while jobs := [job for party in self.all.present for job in party.open.values()]:
            self.all.answers(jobs[0], "result")


def pick(choices: Sequence[T], which: int) -> T:
    return choices[which % len(choices)]


def duration(method: str) -> float:
    return FOREVER if method == "tasks/result" else ASK_TIMEOUT


def declared(capabilities: dict[str, Any]) -> frozenset[str]:
    """The capabilities that matter here."""
    tasks = capabilities.get("tasks")
    return frozenset(["tasks", *(f"tasks/{key}" for key in tasks)] if tasks is not None else [])


MANY = os.environ.get("INTERLEAVINGS")

TestOwnership = Ownership.TestCase
TestOwnership.settings = settings(
    max_examples=int(MANY or 500),
    stateful_step_count=50,
    derandomize=False,
    print_blob=True,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink] if MANY else [Phase.generate],
)
