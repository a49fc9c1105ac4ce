"""Where a fuzzer starts, and what it may do to JSON and to scripts beside changing bytes at random."""

import random
import re
from collections.abc import Callable

from tests.support.choices import CHARACTERS, DAMAGES, NAMES, NUMBERS

_TOKEN = re.compile(rb'"(?:[^"\\\n]|\\.)*"|[-+.0-9eE]+|[a-zA-Z]+|[{}\[\]:,\n]')
_TOOL = b'"params":{"name":"a__t","arguments":{"x":1},"_meta":{"progressToken":"p"}}'

LINES = (
    b'{"jsonrpc":"2.0","id":1,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":"x","method":"tools/call",' + _TOOL + b"}",
    b'{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"a\\n\\u00e9"}]}}',
    b'{"jsonrpc":"2.0","result":{"id":5,"x":1.5e3},"id":7}',
    b'{"jsonrpc":"2.0","id":-3,"error":{"code":-32602,"message":"no","data":null}}',
    b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":0.5}}',
    rb'{"id":1,"half":"\ud800","method":"\u0070ing","jsonrpc":"2.0"}',
    b'{"jsonrpc":"2.0","id":1,"result":' + b"[" * 130 + b"]" * 130 + b"}",
    b'[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/initialized"}]',
    b'{"a":1} {"b":"}{"}',
    b'log: {"jsonrpc":"2.0","id":7,"result":{}}',
)

_INITIALIZE = (
    b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"roots":{}},'
    b'"clientInfo":{"name":"n","version":"1"}}}'
)


def _request(method: bytes, params: bytes = b"{}", id: bytes = b"1") -> bytes:
    return b'{"jsonrpc":"2.0","id":' + id + b',"method":"' + method + b'","params":' + params + b"}"


def _notification(method: bytes, params: bytes = b"{}") -> bytes:
    return b'{"jsonrpc":"2.0","method":"notifications/' + method + b'","params":' + params + b"}"


def _result(id: int, result: bytes = b"{}") -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"result":' % id + result + b"}"


_CALL = _request(b"tools/call", b'{"name":"a__t","arguments":{},"_meta":{"progressToken":1}}')
_TASK = b'{"taskId":"k","status":"working","createdAt":"2025-01-01T00:00:00Z","ttl":60000}'
_ABOUT = b'{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"k"}},"message":"m","mode":"form"}'
_URI = b'{"uri":"test://x"}'
_CONTENT = b'{"content":[{"type":"resource_link","uri":"test://x","name":"n"}]}'

# Ids of ours count up from 1 on each connection; the first ones are the set-up of a server that logs, if any.
_STEPS = (
    (b"a", b"1" + _CALL, *(b"a" + _result(id, _CONTENT) for id in range(3))),
    (b"a", b"1" + _CALL, b"a" + _notification(b"progress", b'{"progressToken":1,"progress":1}'), b"t\x03"),
    (b"a", b"1" + _CALL, b"1" + _notification(b"cancelled", b'{"requestId":1,"reason":"r"}'), b"a" + _result(1)),
    (b"a", b"1" + _CALL, b"-a", b"a", b"t\x03"),
    (b"a", b"1" + _CALL, b"x1", b"_a"),
    (b"1" + _request(b"tools/list"), b"1" + _request(b"resources/list", id=b'"1"'), b"a", b"b", b"t\x02"),
    (b"a", b"2[" + _CALL + b"," + _request(b"ping", id=b"2") + b",7]", b"a" + _result(1)),
    (
        b"a",
        b"2[" + _CALL + b"," + _request(b"tools/call", b'{"name":"a__u"}', b"2") + b"]",
        b"2" + _notification(b"cancelled", b'{"requestId":2}'),
        b"a" + _result(1),
    ),
    (b"1" + _request(b"tools/list"), b"x1", b"a"),
    (b"a", b"1" + _CALL, b"a" + _request(b"elicitation/create", b'{"mode":"form","message":"m"}'), b"x1"),
    (b"3" + _CALL, b"3" + _INITIALIZE, b"3" + _notification(b"initialized"), b"3" + _request(b"prompts/list")),
    (b"a", b"1" + _request(b"resources/read", _URI), b'a{"jsonrpc":"2.0","id":1,"error":{"code":-32002}}'),
    (
        b"a",
        b"1" + _request(b"resources/subscribe", _URI),
        b"a" + _result(1),
        b"a" + _notification(b"resources/updated", _URI),
    ),
    (
        b"a",
        b"1" + _CALL,
        b"a" + _request(b"sampling/createMessage", b'{"messages":[]}'),
        b"1" + _result(0),
        b"1" + _result(1),
    ),
    (
        b"a",
        b"1" + _CALL,
        b"a" + _request(b"elicitation/create", _ABOUT),
        b"a" + _notification(b"cancelled", b'{"requestId":1}'),
    ),
    (b"a", b"1" + _request(b"roots/list"), b"a" + _request(b"roots/list"), b"1" + _notification(b"roots/list_changed")),
    (
        b"a",
        b"1" + _request(b"tools/call", b'{"name":"a__t","task":{"ttl":1}}'),
        b"a" + _result(1, b'{"task":' + _TASK + b"}"),
        b"1" + _request(b"tasks/get", b'{"taskId":"k"}', b"2"),
        b"a" + _notification(b"tasks/status", _TASK),
        b"1" + _request(b"tasks/result", b'{"taskId":"k"}', b"3"),
        b"a" + _request(b"elicitation/create", _ABOUT),
        b"1" + _request(b"tasks/list", id=b"4"),
    ),
    (
        b"a",
        b"1" + _request(b"logging/setLevel", b'{"level":"debug"}'),
        b"a" + _notification(b"message", b'{"level":"info","data":1}'),
    ),
    (b"a", b"1" + _request(b"completion/complete", b'{"ref":{"type":"ref/prompt","name":"a__p"},"argument":{}}')),
    (b"a", b"b", b"1" + _request(b"tools/list", b'{"cursor":"x"}'), b"=aa", b"1" + _request(b"tools/list")),
)

SCRIPTS = tuple(b"\n".join(steps) for steps in _STEPS)
CHOICES = (bytes(48), bytes(range(48)), bytes(range(255, 63, -4)))

_OTHERS = (
    b"null",
    b"true",
    b"{}",
    b"[]",
    b'""',
    b"007",
    b"NaN",
    b'{"taskId":"k"}',
    b'"k"',
    b'"a__t"',
    b'"t\\/x"',
    b"-a",
    b"t\x05",
)
WORDS: tuple[bytes, ...] = tuple(
    dict.fromkeys(
        [token for seed in (*LINES, *SCRIPTS) for token in _TOKEN.findall(seed) if len(token) > 1]
        + [word for words in (NAMES, NUMBERS, CHARACTERS, DAMAGES, _OTHERS) for word in words if word]
    )
)


def _other_token(data: bytes, random_: random.Random) -> bytes:
    """Change, drop or double a token: a name, a value or a sign."""
    tokens = list(_TOKEN.finditer(data))
    if not tokens:
        return data + random_.choice(WORDS)
    token = random_.choice(tokens)
    new = random_.choice((random_.choice(WORDS), random_.choice(WORDS), bytes(random_.choice(tokens)[0]), b""))
    return data[: token.start()] + new + data[token.end() :]


def _other_value(data: bytes, random_: random.Random) -> bytes:
    """Put a whole value from somewhere in the place of another."""
    places = [found.end() for found in re.finditer(rb"[:,\[]", data)]
    if not places:
        return data
    at, other = random_.choice(places), random_.choice(places)
    return data[:at] + _value_at(data, other) + data[at + len(_value_at(data, at)) :]


def _value_at(data: bytes, at: int) -> bytes:
    level = 0
    for token in _TOKEN.finditer(data, at):
        level += (token.group() in b"{[") - (token.group() in b"}]")
        if level <= 0:
            return data[at : token.end() if level == 0 else token.start()]
    return b""


def _other_lines(data: bytes, random_: random.Random) -> bytes:
    """Bring in, drop, double or move a line."""
    lines = data.split(b"\n")
    at = random_.randrange(len(lines))
    kind = random_.randrange(4)
    if kind == 0 or len(lines) == 1:
        lines[at:at] = [random_.choice(random_.choice(_STEPS))]
    elif kind == 1:
        del lines[at]
    else:
        lines.insert(random_.randrange(len(lines)), lines[at] if kind == 2 else lines.pop(at))
    return b"\n".join(lines)


def _other_bytes(data: bytes, random_: random.Random) -> bytes:
    at = random_.randrange(len(data) + 1)
    return (
        data[:at] + random_.choice((random_.randbytes(1), random_.choice(DAMAGES))) + data[at + random_.randrange(3) :]
    )


Ways = tuple[Callable[[bytes, random.Random], bytes], ...]
WAYS_OF_LINES: Ways = (_other_token, _other_token, _other_value, _other_bytes)
WAYS_OF_SCRIPTS: Ways = (*WAYS_OF_LINES, _other_lines, _other_lines)
WAYS_OF_CHOICES: Ways = (_other_bytes,)


def mutate(data: bytes, ways: Ways, random_: random.Random) -> bytes:
    """Another text like this one, in one to four steps."""
    for _ in range(random_.randint(1, 4)):
        data = random_.choice(ways)(data, random_)
    return data
