"""Everybody around a relay: who asked what of whom, who works on it, and who may hear of it.

Each text that anybody says carries a nonce of its own, and for each nonce it is written down who may hear it. What the
peers hear is checked against that word by word.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from proxy.relay.ghosts import HAUNTS
from proxy.relay.state import AFTERWORDS
from tests.support.message import Message
from tests.support.relay import Client, Server, World, dump, message
from tests.support.spans import members

NONCE = re.compile(rb"nonce-(\d+)")
TASK_ID = re.compile(rb'"taskId":"([^"]*)"')
RELATED = "io.modelcontextprotocol/related-task"
SUBSCRIBING = ("resources/subscribe", "resources/unsubscribe")
ANSWERED_BY_THE_RELAY = ("tasks/list", "logging/setLevel", "ping", "completion/complete", "resources/unsubscribe")
ASKED_BY_THE_RELAY = (
    "ping",
    "tasks/list",
    "tasks/cancel",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
)


@dataclass(eq=False)
class Task:
    """A task: who works on it, who asked for it, and the names that these know it by.

    `token` and `number` are the progress tokens of the asker and of the holder. It is `over` once its holder said so,
    and `dead` when its holder is gone, or nobody is left who asked for it.
    """

    holder: "Party"
    asker: "Party"
    ids: dict["Party", str]
    token: bytes | None
    number: int | None
    over: bool = False
    dead: bool = False


@dataclass(eq=False)
class Request:
    """What somebody asked. It is over at the answer, or when the asker did not want to know any more."""

    asker: "Party"
    nonce: int
    method: str
    params: Any
    at: float
    due: float
    token: bytes | None
    jobs: list["Job"] = field(default_factory=list)
    over: float | None = None


@dataclass(eq=False)
class Job:
    """A request where it arrived, under the id that it has there; `request` is None for the relay's own."""

    worker: "Party"
    request: Request | None
    id: bytes
    method: str
    params: Any
    number: int | None
    """Its progress token there."""
    augmented: bool
    """It may be answered with a task."""
    told: float | None = None
    """When its cancellation came."""

    @property
    def is_live(self) -> bool:
        """Whether somebody still waits for the answer to this."""
        request = self.request
        return request is not None and request.over is None and request.jobs[-1] is self


class Party:
    """A client or a server with what it asked, what it was asked, and the tasks that it works on or has asked for."""

    def __init__(self, name: str, side: Client | Server, able: frozenset[str]) -> None:
        self.name = name
        self.side = side
        self.able = able
        """What it declared, as far as it matters here."""
        self.asked: dict[bytes, Request] = {}
        self.open: dict[bytes, Job] = {}
        self.done: dict[bytes, Job] = {}
        self.tasks: dict[str, Task] = {}
        self.known: dict[str, Task] = {}
        self.elicited: dict[str, Party | None] = {}
        """Of a server: whom it sent to which URL and has not told yet that this is done."""
        self.answered: list[tuple[float, Party]] = []
        """Of a server: when it answered whose calls, while there were several clients."""
        self.watched = False
        """Of a server: whether it was asked last to tell of changes, or not to."""

    def __repr__(self) -> str:
        return f"<{self.name} asked={list(self.asked)} open={list(self.open)}>"

    @property
    def client(self) -> Client:
        assert isinstance(self.side, Client)
        return self.side

    @property
    def server(self) -> Server:
        assert isinstance(self.side, Server)
        return self.side

    @property
    def jobs(self) -> list[Job]:
        """What it may still speak for: a server may go on for some time with what was given up."""
        now = self.side.world.now
        found: list[Job] = []
        for job in self.open.values():
            given_up = job.told if job.told is not None or job.request is None else job.request.over
            if job.request is not None and (given_up is None or now < given_up + HAUNTS):
                found.append(job)
        return found

    @property
    def just_answered(self) -> "list[Party]":
        """Whose calls it may still speak of, though it has answered them."""
        return [asker for at, asker in self.answered if self.side.world.now < at + AFTERWORDS]

    def takes(self, heard: Message, request: Request | None) -> Job:
        """A request has come."""
        assert heard.id is not None
        assert heard.id not in self.open, f"{self.name} was asked two things under one id"
        assert heard.id not in self.done, f"{self.name} was asked under an id that was used before"
        params = heard.params or {}
        number = params.get("_meta", {}).get("progressToken")
        job = Job(
            self, request, heard.id, heard.method or "", params, number, "task" in params and "tasks" in self.able
        )
        self.open[job.id] = job
        if request is not None:
            assert all(earlier.worker is not self for earlier in request.jobs), f"{self.name} was asked this before"
            request.jobs.append(job)
        return job


class Company:
    """All of them, around one relay. The servers list `test://shared`, which clients know by `uris`."""

    def __init__(self, world: World, uris: dict[str, str]) -> None:
        self.world = world
        self.uris = uris
        self.clients: list[Party] = []
        self.servers: list[Party] = []
        self.gone: list[Party] = []
        self.readers: dict[str, list[Party]] = {key: [] for key in uris}
        """Who is subscribed to `test://shared` of this server."""
        self.unsure: set[str] = set()
        """Servers of which nobody knows whether a subscription has ended: it may have begun later."""
        self.heard: list[list[str]] = []
        """By nonce, who heard it."""
        self.words: dict[int, tuple[str, bytes]] = {}
        """By nonce, a member of the params that carry it, as it has to come."""
        self.about: dict[int, Task] = {}
        """By nonce, the task that it tells of."""
        self._audience: list[list[str]] = []
        self._requests: dict[int, Request] = {}
        self._answers: dict[int, Request] = {}

    @property
    def now(self) -> float:
        return self.world.now

    @property
    def present(self) -> list[Party]:
        return self.clients + self.servers

    @property
    def takers(self) -> list[str]:
        """The servers that are sent calls: not those that left too many unanswered."""
        return [server.name for server in self.servers if not server.server.link.shut_until]

    # They come and go

    def come(self, client: Party) -> None:
        self.clients.append(client)

    def leave(self, client: Party) -> None:
        self.clients.remove(client)
        self._goes(client)
        for readers in self.readers.values():
            if client in readers:
                readers.remove(client)
        client.client.leave()
        self.look()

    def crash(self, server: Party, *, coming: bool) -> None:
        self.servers.remove(server)
        self._goes(server)
        self.world.lose(server.server)
        self.look()
        self.world.away(server.name, "it exited", coming=coming)
        self.look()

    def _goes(self, party: Party) -> None:
        """Nobody is left who waits for what it asked, and who works on what it was asked."""
        self.gone.append(party)
        for request in party.asked.values():
            self._ends(request)
        party.asked.clear()
        for task in [*party.tasks.values(), *party.known.values()]:
            task.dead = True

    def pass_time(self, seconds: float) -> None:
        """With a look at each thing that happens meanwhile."""
        end = self.now + seconds
        while (due := self.world.relay.wake_at) <= end:
            self.world.pass_time(max(0.0, due - self.now))
            self.look()
        self.world.pass_time(end - self.now)

    # They speak

    def nonce(self, *audience: Party) -> tuple[int, str]:
        """A new one that these may hear, and the text that carries it. Of a server those that come after it may too."""
        self._audience.append(names(audience))
        self.heard.append([])
        return len(self.heard) - 1, f"nonce-{len(self.heard) - 1}"

    def asks(
        self,
        party: Party,
        id: bytes,
        method: str,
        params: dict[str, Any],
        audience: Iterable[str],
        seconds: float,
        token: bytes | None = None,
        task: Task | None = None,
    ) -> Request:
        """Somebody asks something, to be answered in so many seconds; `task` is what it is about."""
        nonce, text = self.nonce()
        self._audience[nonce] = [*audience]
        request = Request(party, nonce, method, params, self.now, self.now + seconds, token)
        party.asked[id] = self._requests[nonce] = request
        meta = [b'"x":' + dump(text)]
        if token is not None:
            meta.append(b'"progressToken":' + token)
        if task is not None:
            self.about[nonce] = task
            if "taskId" not in params:
                meta.append(dump(RELATED) + b":" + dump({"taskId": task.ids[party]}))
        whole = dump(params)[:-1] + (b"," if params else b"") + b'"_meta":{' + b",".join(meta) + b"}}"
        party.side.send(message(method, whole, id))
        self.look()
        return request

    def says(self, party: Party, method: str, params: dict[str, Any]) -> None:
        party.side.send(message(method, dump(params)))
        self.look()

    def cancels(self, party: Party, id: bytes) -> None:
        """Somebody does not want to know any more, or says so of what it never asked."""
        request = party.asked.pop(id, None)
        workers: list[Party] = []
        if request is not None:
            workers = [job.worker for job in request.jobs if job.id in job.worker.open]
            self._ends(request)
        reason = dump(self.nonce(*workers)[1])
        party.side.send(message("notifications/cancelled", b'{"requestId":%b,"reason":%b}' % (id, reason)))
        self.look()

    def answers(self, job: Job, how: str) -> None:
        """Somebody answers what it was asked, with a `result`, an `error`, or where it can a `task`."""
        party, request = job.worker, job.request
        party.done[job.id] = party.open.pop(job.id)
        if job.method in SUBSCRIBING and any(other.method in SUBSCRIBING for other in party.open.values()):
            self.unsure.add(party.name)
        if request is None:
            party.side.send(answer(job.id, {"result": self._all_tasks(party) if job.method == "tasks/list" else {}}))
            self.look()
            return
        task = party.tasks.get(job.params.get("taskId", ""))
        ours = task is None or task.asker is request.asker  # else it began anew, and its task ids with it
        audience = [request.asker] if job.is_live and ours else []
        live = job.is_live
        if live and party in self.servers and len(self.clients) > 1:
            party.answered.append((self.now, request.asker))
        late = request.over is not None and job in [*party.jobs, job] and self.now < request.over + HAUNTS
        nonce, text = self.nonce(*audience)
        self._answers[nonce] = request
        said = self._said(job, how, nonce, text)
        party.side.send(answer(job.id, said))
        self.look()
        if "task" in said.get("result", {}) and late and "tasks/cancel" in party.able:
            id = said["result"]["task"]["taskId"]
            assert any(one.method == "tasks/cancel" and one.params["taskId"] == id for one in party.open.values())
        if said.get("error", {}).get("code") != -32002 and job.method != "tasks/list":
            assert self.heard[nonce] == names(audience)
            assert not live or request.over is not None

    def works(self, request: Request) -> None:
        """Somebody has told of progress of a call: its time runs anew, but not for ever."""
        limits = self.world.targets[request.jobs[-1].worker.name].limits
        request.due = max(request.due, min(self.now + limits.call, request.at + limits.longest))

    def answers_again(self, job: Job, member: str) -> None:
        """Somebody answers once more, or on a connection that is lost: nobody may hear it."""
        job.worker.side.send(answer(job.id, {member: {"code": 7, "message": self.nonce()[1]}}))
        self.look()

    def _said(self, job: Job, how: str, nonce: int, text: str) -> dict[str, Any]:
        """An answer that carries this nonce, and what it does to tasks."""
        party, params, request = job.worker, job.params, job.request
        assert request is not None
        uri = params.get("uri", "")
        if uri not in ("", "test://shared", f"test://hidden/{party.name}"):
            return {"error": {"code": -32002, "message": text}}
        if how == "error" and not uri:
            return {"error": {"code": 7, "message": text}}
        if how == "task" and job.augmented:
            id = f"t{len(party.tasks)}"
            task = Task(party, request.asker, {party: id}, request.token, job.number)
            task.dead = request.asker not in self.present
            party.tasks[id] = self.about[nonce] = task
            return {"result": {"task": {"taskId": id, "status": "working", "x": text}}}
        if job.method == "tasks/list":
            return {"result": self._all_tasks(party)}
        if job.method.startswith("tasks/"):
            return self._said_of_task(job, nonce, text)
        result: dict[str, Any] = {"x": text, "contents": [{"uri": uri}]}
        related = params["_meta"].get(RELATED)
        if related is not None:
            self.about[nonce] = self.about[request.nonce]
            result["_meta"] = {RELATED: related}
        return {"result": result}

    def _said_of_task(self, job: Job, nonce: int, text: str) -> dict[str, Any]:
        id = job.params["taskId"]
        task = job.worker.tasks.get(id)
        if task is None:
            return {"error": {"code": -32602, "message": text}}
        assert job.request is not None
        self.about[nonce] = task
        task.over |= job.is_live and task.asker is job.request.asker and job.method != "tasks/get"
        if job.method == "tasks/result":
            return {"result": {"x": text, "_meta": {RELATED: {"taskId": id}}}}
        status = "cancelled" if job.method == "tasks/cancel" else "working"
        return {"result": {"taskId": id, "status": status, "x": text}}

    def _all_tasks(self, party: Party) -> dict[str, Any]:
        """All that it works on, each a secret of who asked for it."""
        items: list[dict[str, Any]] = []
        for id, task in party.tasks.items():
            nonce, text = self.nonce(*([] if task.dead else [task.asker]))
            self.about[nonce] = task
            items.append({"taskId": id, "status": "working", "x": text})
        return {"tasks": items}

    def _ends(self, request: Request) -> None:
        """Its asker has its answer, or does not want it any more. What the client took for it, its own calls get."""
        request.over = self.now
        if request.method == "resources/unsubscribe":
            self.unsure |= {job.worker.name for job in request.jobs if job.id in job.worker.open}
        for job in request.jobs:
            for other in job.worker.asked.values():
                if any(one.worker is request.asker and one.id in one.worker.open for one in other.jobs):
                    other.due += self.now - request.at

    # They hear

    def look(self) -> None:
        """Take in all that was said, and check each word of it."""
        for party in self.present:
            for heard in party.side.heard():
                self._hear(party, heard)
        assert [party for party in self.gone if party.side.lines()] == []

    def check(self) -> None:
        """Nobody works in vain without knowing it, and nobody waits too long."""
        for party in self.present:
            for job in party.open.values():
                if job.request is not None:
                    assert (job.told is not None) == (not job.is_live and not job.augmented)
            for request in party.asked.values():
                assert self.now < request.due or self._is_asked(request)

    def _is_asked(self, request: Request) -> bool:
        """Whether the client itself has something to answer, to the server that works on its request."""
        workers = [job.worker for job in request.jobs if job.id in job.worker.open]
        return any(job.is_live and job.request.asker in workers for job in request.asker.open.values() if job.request)

    def _hear(self, party: Party, heard: Message) -> None:
        nonces = [int(number) for number in NONCE.findall(heard.line)]
        for nonce in nonces:
            assert party.name in self._audience[nonce], f"{party.name} hears what is not for it"
            self.heard[nonce].append(party.name)
            if nonce in self.words:
                member, word = self.words[nonce]
                assert members(heard.members["params"])[member] == word
        if heard.method is None:
            self._hear_answer(party, heard, nonces)
        elif heard.id is not None:
            self._hear_request(party, heard, nonces)
        elif heard.method == "notifications/cancelled":
            job = party.open[dump(heard.params["requestId"])]
            assert job.told is None
            job.told = self.now
        task = self.about.get(nonces[0]) if len(nonces) == 1 else None
        if task is not None and party in task.ids:  # else it gave up its request before it heard that this is a task
            assert {*TASK_ID.findall(heard.line)} <= {task.ids[party].encode()}

    def _hear_answer(self, party: Party, heard: Message, nonces: list[int]) -> None:
        assert heard.id in party.asked, "an answer to nothing, or the second one"
        request = party.asked.pop(heard.id)
        self._ends(request)
        if request.method == "tasks/list" and "result" in heard.members:
            for item in heard.result["tasks"]:
                self._learns(party, item)
        elif nonces:
            assert [self._answers[nonce] for nonce in nonces] == [request]
        elif "error" in heard.members:
            assert heard.error["data"]["origin"] == "mcp-manifold"
        else:
            assert request.method in ANSWERED_BY_THE_RELAY
        if "result" in heard.members:
            self._hear_result(party, request, heard)

    def _hear_result(self, party: Party, request: Request, heard: Message) -> None:
        if "task" in heard.result:
            self._learns(party, heard.result["task"])
        elif request.method in SUBSCRIBING:
            [readers] = [self.readers[key] for key, uri in self.uris.items() if uri == request.params["uri"]]
            if party in readers:
                readers.remove(party)
            if request.method == "resources/subscribe":
                readers.append(party)
        elif request.method == "resources/read":
            assert heard.result["contents"][0]["uri"] == request.params["uri"]

    def _learns(self, party: Party, item: dict[str, Any]) -> None:
        """It reads of a task."""
        [nonce] = NONCE.findall(item["x"].encode())
        task, id = self.about[int(nonce)], item["taskId"]
        assert party is task.asker
        assert task.ids.setdefault(party, id) == id
        known = party.known.setdefault(id, task)
        assert known is task or known.dead, "two tasks under one id"
        party.known[id] = task

    def _hear_request(self, party: Party, heard: Message, nonces: list[int]) -> None:
        if heard.method in SUBSCRIBING:
            party.watched = heard.method == "resources/subscribe"
        if not nonces:
            assert heard.method in ASKED_BY_THE_RELAY
            party.takes(heard, None)
            return
        [nonce] = nonces
        request = self._requests[nonce]
        assert request.over is None, "it was given up before"
        assert heard.method == request.method
        job = party.takes(heard, request)
        if heard.method == "tools/call":
            assert "task" not in job.params or job.augmented, "it does not know tasks"
        elif heard.method == "elicitation/create":
            assert job.params["message"] == f"{request.asker.name}: m"


def names(parties: Iterable[Party]) -> list[str]:
    return [party.name for party in parties]


def answer(id: bytes, members: dict[str, Any]) -> bytes:
    return b'{"jsonrpc":"2.0","id":' + id + b"," + dump(members)[1:]
