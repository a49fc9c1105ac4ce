"""Payloads as they may be shown."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.telemetry.masking import LONGEST, MOST_READ, Masker, mask
from proxy.telemetry.redact import Redactor

SECRET = "Gh7-kQz_91"  # too short to look random, so that what finds it is what is under test


def shown(value: Any, *configured: str) -> str:
    return Masker(Redactor(configured))(json.dumps(value).encode())


def answer(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}]}


@pytest.mark.parametrize(
    "name",
    [
        "password", "Password", "db_password", "passwd", "PGPASSWORD", "secret", "clientSecret", "token",
        "access_token", "accessToken", "Authorization", "proxy-authorization", "auth", "api_key", "apiKey", "API-KEY",
        "x-api-key", "cookie", "Set-Cookie", "credentials", "private_key", "session_id", "passphrase", "otp", "jwt",
        "pass", "db.pass", "pass word", "Passwort", "pin", "api.key",
    ],
)  # fmt: skip
def test_what_stands_under_a_telling_name_is_masked_with_all_that_is_in_it(name: str) -> None:
    assert shown({name: SECRET, "n": 1}) == json.dumps({name: "***", "n": 1}, separators=(",", ":"))
    assert SECRET not in shown({"deep": [{name: {"a": [SECRET, 4711], "b": True}}]})
    assert "4711" not in shown({"deep": [{name: {"a": [SECRET, 4711], "b": True}}]})


@pytest.mark.parametrize("name", ["author", "authors", "path", "key", "keys", "compass", "monkey", "description", "id"])
def test_other_names_are_shown_with_their_values(name: str) -> None:
    assert shown({name: "plain words"}) == f'{{"{name}":"plain words"}}'


@pytest.mark.parametrize(
    "text",
    [
        f"password: {SECRET}",
        f"DB_PASSWORD={SECRET} HOST=x",
        f"the api-key = '{SECRET}'",
        f'{{broken json "token": "{SECRET}"',
        f'[{{"tokens": [ "{SECRET}"',
        f"tool --api-key {SECRET} --verbose",
        f"tool --token={SECRET}",
        f"curl -H 'Authorization: Bearer {SECRET}' x",
        f"Authorization: Custom {SECRET}",
        f"authorization is bearer {SECRET}",
        f"Cookie: a=b; session={SECRET}",
        f"https://me:{SECRET}@example.org/x",
        f"https://example.org/?a=b&access_token={SECRET}&c=d",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET}",
        f"https://{SECRET}@example.org/x",
        f"https://example.org/?key={SECRET}",
        f"https://example.org/?next=password%3D{SECRET}",
        f"password:\n    {SECRET}\n",
        f"password: |\n  {SECRET}\n",
        f"password => '{SECRET}'",
        f"<db:password>{SECRET}</db:password>",
        f"the password is {SECRET}",
        f"curl -u me:{SECRET} example.org",
        f"curl -u 'me:{SECRET}' example.org",
        f"curl -u 'me:two words {SECRET}' example.org",
        f'curl --user "me:\'{SECRET}" example.org',
        f'curl -u "me":"{SECRET}" example.org',
        f"curl -ume:{SECRET} example.org",
        f"curl -sSLu me:{SECRET} example.org",
        f"curl --proxy-user me:{SECRET} -U me:{SECRET} example.org",
        f"mysql -u root -p{SECRET} shop",
        f"mysql -uroot -p'two words {SECRET}' shop",
        f'docker exec db /usr/bin/mysqldump --opt \\\n  -p"{SECRET}" shop',
        f"mariadb-dump -p{SECRET}",
        f"mysql -e 'select 1; select 2' -p{SECRET}",
        f"it's mysql -h db -p{SECRET}",
        f"MYSQL_PWD={SECRET} mysql",
        f"PGPASSWORD={SECRET} psql -h db",
        f"db.example.org:5432:shop:bob:{SECRET}",
        f"*:*:*:*:{SECRET}",
        f"echo 'localhost:5432:shop:bob:{SECRET}' > ~/.pgpass",
        f"# of PostgreSQL\nlocalhost:*:shop:bob\\:s:a\\:{SECRET}\nother:1:a:b:c",
        f"sshpass -p {SECRET} ssh example.org",
        f"sshpass -v -p'two words {SECRET}' ssh example.org",
        f"mongosh -u me -p {SECRET} db.example.org",
        f"redis-cli -h db -a {SECRET} ping",
        f"docker login -u me -p {SECRET} registry.example.org",
        f"Authorization: Basic {SECRET}",
        json.dumps({"args": ["/usr/bin/mysql", "-u", "root", f"-p{SECRET}"]}),
        json.dumps({"command": "mysql", "args": ["-u", "root", f"-p{SECRET}"]}),
        json.dumps({"command": "curl", "args": ["-s", "-u", f"me:{SECRET}"]}),
        json.dumps(["sshpass", "-p", SECRET, "ssh", "example.org"]),
        str({"password": SECRET.encode()}),
        f'said {{\\"password\\": \\"{SECRET}\\"}}',
        json.dumps(json.dumps({"password": SECRET})),
        f"ghp_{SECRET}",
        f"sk-{SECRET}",
        f"eyJhbGciOiJI.{SECRET}.x",
        json.dumps({"a": {"secret": SECRET}}),
        json.dumps([{"token": [SECRET]}]),
        json.dumps({"token": {"deep": {"deeper": [1, SECRET]}}}),
        json.dumps({"tokens": {SECRET: "of whom"}}),
        json.dumps({"env": [{"name": "DB_PASSWORD", "value": SECRET}]}),
        json.dumps({"headers": [{"value": {"is": SECRET}, "Key": "authorization"}]}),
        json.dumps({"args": ["tool", "--api-token", SECRET]}),
        json.dumps({"pass\u200bword": SECRET}),
        json.dumps({"\uff50\uff41\uff53\uff53\uff57\uff4f\uff52\uff44": SECRET}),
    ],
)
def test_what_looks_like_a_secret_in_a_text_is_masked(text: str) -> None:
    assert SECRET not in shown({"text": text})
    assert SECRET not in shown(answer(text))
    assert SECRET not in shown({"code": -32000, "message": text})
    assert SECRET not in shown({"structuredContent": {"said": text}, "isError": True})


@pytest.mark.parametrize(
    "random",
    [
        "881049d3f1b2c3d4e5f60718293a4b5c6d7e8f90",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY1",
        "aGVsbG8gd29ybGQgMTIzNDU2",
        "123e4567-e89b-12d3-a456-426614174000",
    ],
)
def test_a_long_run_of_characters_without_a_pattern_is_masked(random: str) -> None:
    assert shown({"what": f"it is {random}."}) == '{"what":"it is ***."}'


@pytest.mark.parametrize("digits", ["0123456789abcdef" * 2, "deadbeef" * 8, "0123456789" * 4])
def test_hexadecimal_digits_after_a_word_for_a_key_are_masked_however_regular(digits: str) -> None:
    assert shown({"what": f"the key is {digits}."}) == '{"what":"the key is ***."}'
    assert digits not in shown({"what": f"key={digits} host-key: 0x{digits} key='{digits}'"})


@pytest.mark.parametrize(
    "text",
    [
        "docker run --name mysql -p 3306:3306 -p3307:3306 -d mysql:8",
        "docker run -p 8080:80 -p8443:443 nginx",
        "mysql -h db -p shop; ssh -p2222 me@example.org | ssh -p 22 example.org",
        "sshpass -p *** ssh -p 2222 example.org",
        "psql -p 5432 -U bob shop",
        "curl -o page -s https://example.org:8443/a",
        "src/main.c:12:5:17:text of it",
        "main.c:12:5:error:expected",
        "deadbeef",
        "commit " + "deadbeef" * 5,
    ],
)
def test_of_commands_that_take_secrets_the_rest_is_shown(text: str) -> None:
    assert shown({"what": text}) == json.dumps({"what": text}, separators=(",", ":"))


@pytest.mark.parametrize(
    "text",
    [
        "/usr/lib/python3.11/site-packages/mypackage/module1.py",
        "2026-01-02T03:04:05.678Z",
        "create_issue_v2_with_a_rather_long_name_2026",
        "Read the documentation-for-version-2-of-the-thing",
        "https://example.org/a/long/path/to/something?page=2",
        "a plain sentence: nothing in it, 100 %",
        "ssh://git@example.org/repository",
        "<p>passages of the text</p>",
        "tool --pass-through value",
    ],
)
def test_plain_texts_pass(text: str) -> None:
    assert shown({"what": text}) == json.dumps({"what": text}, separators=(",", ":"))


def test_arguments_of_a_command_beside_its_secret_are_shown() -> None:
    value = {"command": "mysql", "args": ["-u", "root", "-P", "3306", "shop"]}
    assert shown(value) == json.dumps(value, separators=(",", ":"))
    assert json.loads(shown(["sshpass", "-p", SECRET, "ssh", "host"])) == ["sshpass", "-p", "***", "ssh", "host"]


def test_configured_secrets_are_masked_wherever_they_are() -> None:
    for value in ({"a": "x tall-order y"}, {"tall-order": 1}, answer("tall-order"), [["tall-order"]], {"n": 123456}):
        text = shown(value, "tall-order", "123456")
        assert "tall-order" not in text
        assert "123456" not in text
        assert "***" in text


def test_of_a_configured_secret_that_is_partly_masked_already_nothing_stays() -> None:
    assert "begin" not in shown({"a": "begin password=x end"}, "begin password=x end")


def test_lists_of_names_and_values_are_shown_where_nothing_is_a_secret() -> None:
    value = {"env": [{"name": "MODE", "value": "test"}], "args": ["--verbose", "on"]}
    assert shown(value) == json.dumps(value, separators=(",", ":"))


def test_of_many_texts_only_the_first_are_searched() -> None:
    looked: list[int] = []

    def look(text: str) -> str:
        looked.append(len(text))
        return text

    raw = json.dumps([["auth" * 1000, 1] for _ in range(60)]).encode()
    assert len(Masker(look)(raw)) <= LONGEST
    assert sum(looked) < len(raw) / 4


def test_blocks_that_are_no_text_are_named() -> None:
    block = {"type": "image", "data": "aGVsbG8gd29ybGQgMTIzNDU2", "mimeType": "image/png"}
    assert shown({"content": [block, {"type": "text", "text": "below"}, 5]}) == "[image]\nbelow\n[None]"


def test_texts_are_cut_and_of_what_is_cut_in_half_no_half_is_shown() -> None:
    assert len(shown({"a": "many words " * 1000})) <= LONGEST
    secret = "correct horse battery staple"
    for before in range(8 * 1024 - 40, 8 * 1024 + 10):
        assert "corre" not in shown({"a": "-" * before + secret}, secret)


def test_half_a_token_at_the_end_of_what_is_searched_is_not_shown_since_much_before_it_was_masked() -> None:
    for length in range(8 * 1024 - 80, 8 * 1024):
        key = "-----BEGIN KEY-----" + "x" * (length - 40) + "-----END KEY----- "
        assert "ghp" not in shown({"a": f"{key}ghp_{SECRET}" + " many words" * 1000})


def test_what_is_too_long_or_no_json_is_not_shown_at_all() -> None:
    assert (
        Masker(Redactor())(b"[" + b"1," * MOST_READ + b"1]") == f"[{2 * MOST_READ + 3} bytes, too many to look through]"
    )
    assert Masker(Redactor())(b'{"password') == "[10 bytes that could not be read]"


@pytest.mark.parametrize(
    "raw", [b'{"a":1e400}', b'{"a":"\\ud800"}', b'{"a":' + b"9" * 100 + b"}", b"[" * 900 + b"]" * 900]
)
def test_odd_json_is_no_trouble(raw: bytes) -> None:
    Masker(Redactor())(raw).encode()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["content", "text", "message"]), inner),
    max_leaves=10,
)


@given(value=_JSON, junk=st.binary())
def test_nothing_that_a_peer_sends_makes_it_raise(value: Any, junk: bytes) -> None:
    for raw in (json.dumps(value).encode(), junk):
        assert len(Masker(Redactor(["secret"]))(raw).encode()) <= LONGEST


@pytest.mark.parametrize(
    "piece",
    [
        "a", "a-", "a1_", "--a", "-", "token", "eyJ", "://a:", 'password="\\', "auth ", " -t", "mysql ", "mysql '",
        'mysql -p"\\', "mysql \\\n", "curl -u'a:", "curl -s", " -u 'a", "a:1:b:c:", ' "a:1:', "*:*:*:*: ", "key 0",
        "key is ", "sshpass -v ",
    ],
)  # fmt: skip
def test_long_texts_are_searched_in_time_that_grows_no_faster_than_they_do(piece: str) -> None:
    mask(piece * (100_000 // len(piece)))
