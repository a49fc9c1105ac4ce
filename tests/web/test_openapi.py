"""The OpenAPI document: valid, with an operation for each tool, made once, and of the catalogue of the moment."""

import contextlib
import json
import math
from collections.abc import AsyncIterator
from typing import Any

import jsonschema_rs
import pytest
from jsonschema import Draft202012Validator
from jsonschema_specifications import REGISTRY
from schemathesis.specs.openapi.definitions import OPENAPI_31

from proxy.fronts.local import LocalClient
from proxy.web.guard import Guard
from proxy.web.openapi import OpenApi
from proxy.web.site import Site
from tests.support.asking import Answer, ask
from tests.support.scripted import ScriptedServer, configured
from tests.support.stage import Stage, fleet_of

ODD: list[dict[str, Any]] = [
    {
        "name": "tree",
        "description": "A tree",
        "inputSchema": {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "properties": {"root": {"$ref": "#/definitions/node"}},
            "required": ["root"],
            "definitions": {"node": {"type": "object", "properties": {"next": {"$ref": "#/definitions/node"}}}},
        },
        "outputSchema": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"minimum": 1}}},
    },
    {
        "name": "pair",
        "inputSchema": {"type": "object", "properties": {"p": {"items": [{"type": "integer"}, {}]}}},
        "title": "A pair",
    },
    {"name": "remote", "inputSchema": {"type": "object", "properties": {"a": {"$ref": "https://example.com/a"}}}},
    {"name": "wrong", "inputSchema": {"type": "object", "properties": {"a": {"type": "strnig", "required": True}}}},
    {
        "name": "huge",
        "inputSchema": {
            "type": "object",
            "properties": {"a": {"default": 10**400, "const": 1e300, "maximum": -math.inf}},
        },
    },
]


def odd() -> ScriptedServer:
    listed = b'"result":' + json.dumps({"tools": ODD}).replace("-Infinity", "-1e400").encode()
    return ScriptedServer(tools__list=lambda *_: listed)


@contextlib.asynccontextmanager
async def documented(
    servers: dict[str, ScriptedServer], *, with_token: bool = True, **entries: Any
) -> AsyncIterator[tuple[Stage, Site]]:
    stage = Stage()
    async with fleet_of(stage, servers, entries={key: configured(key, **entry) for key, entry in entries.items()}):
        client = LocalClient(stage.pump, "rest")
        await client.initialize()
        openapi = OpenApi(client, stage.relay, "a hub", with_token=with_token)
        yield stage, Site(Guard(host="127.0.0.1", token=None), {"openapi.json": openapi.serve}, {})
        client.close()


async def get(site: Site, method: str = "GET", **headers: str) -> Answer:
    answer = await ask(site, method, "/openapi.json", headers={key.replace("_", "-"): headers[key] for key in headers})
    assert answer is not None
    return answer


def assert_valid(document: Any) -> None:
    """By the schema of OpenAPI 3.1 itself, by JSON Schema's for each schema, and each reference leads somewhere."""
    jsonschema_rs.validate(OPENAPI_31, document)
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for reference in references(document):
        found = document
        assert reference.startswith("#/"), reference
        for part in reference[2:].split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        assert isinstance(found, dict | bool), reference


def references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [found for one in value for found in references(one)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
    return own + [found for one in value.values() for found in references(one)]


async def test_the_document_is_valid_whatever_the_tools_say() -> None:
    async with documented({"one": odd(), "two": ScriptedServer("t")}) as (_, site):
        answer = await get(site)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        document = answer.json
        assert_valid(document)
        assert document["openapi"].startswith("3.1.")
        assert "example.com" not in answer.body.decode()
        tools = {path for path in document["paths"] if path.startswith("/tools/")}
        assert tools == {
            "/tools/list",
            "/tools/call",
            "/tools/two__t",
            *(f"/tools/one__{tool['name']}" for tool in ODD),
        }


async def test_an_operation_has_its_tools_own_schemas() -> None:
    async with documented({"one": odd()}) as (_, site):
        document = (await get(site)).json
        operation = document["paths"]["/tools/one__tree"]["post"]
        assert (operation["operationId"], operation["tags"]) == ("one__tree", ["one"])
        assert (operation["summary"], operation["description"]) == ("one__tree", "A tree")
        assert document["paths"]["/tools/one__pair"]["post"]["summary"] == "A pair"
        assert operation["requestBody"]["required"]
        given = operation["requestBody"]["content"]["application/json"]["schema"]
        arguments = Draft202012Validator({**document, **given}, registry=REGISTRY)
        assert arguments.is_valid({"root": {"next": {"next": {}}}})
        assert not arguments.is_valid({})
        assert not arguments.is_valid({"root": {"next": {"next": 1}}})
        told = operation["responses"]["200"]["content"]["application/json"]["schema"]
        results = Draft202012Validator({**document, **told}, registry=REGISTRY)
        assert results.is_valid({"content": [], "structuredContent": {"n": 1}})
        assert not results.is_valid({"content": [], "structuredContent": {"n": 0}})


async def test_names_of_operations_have_no_route_of_a_tool() -> None:
    async with documented({"one": ScriptedServer("call", "list", "get")}, one={"prefix": ""}) as (_, site):
        paths = (await get(site)).json["paths"]
        assert paths["/tools/call"]["post"]["operationId"] == "callTool"
        assert list(paths["/tools/list"]) == ["get"]
        assert paths["/tools/get"]["post"]["operationId"] == "get"


async def test_it_is_sent_again_only_when_it_changed() -> None:
    server = ScriptedServer("t")
    async with documented({"one": server}) as (stage, site):
        first = await get(site)
        tag = first.headers["etag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            same = await get(site, if_none_match=known)
            assert (same.status, same.body, same.headers["etag"]) == (304, b"", tag)
        assert (await get(site, if_none_match='"other"')).body == first.body
        server.tools = ["t", "u"]
        server.last.notify("notifications/tools/list_changed")
        await stage.until(lambda: len(stage.relay.catalogue.routes("tools")) == 2)
        changed = await get(site, if_none_match=tag)
        assert changed.status == 200
        assert "/tools/one__u" in changed.json["paths"]
        assert changed.headers["etag"] != tag


async def test_it_says_whether_a_token_is_needed() -> None:
    async with documented({"one": ScriptedServer("t")}) as (_, site):
        assert (await get(site)).json["security"] == [{"token": []}]
    async with documented({"one": ScriptedServer("t")}, with_token=False) as (_, site):
        assert (await get(site)).json["security"] == []


async def test_it_is_only_read() -> None:
    async with documented({}) as (_, site):
        assert (await get(site, "POST")).headers["allow"] == "GET, HEAD"
        assert json.loads((await get(site, "HEAD")).body)


@pytest.mark.parametrize("count", [1500])
async def test_a_document_of_many_tools_is_whole(count: int) -> None:
    async with documented({"one": ScriptedServer(*(f"t{n}" for n in range(count)))}) as (_, site):
        document = (await get(site)).json
        assert len(document["paths"]) == count + 8
