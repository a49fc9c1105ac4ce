"""The token: made once, this user's alone, and not to be guessed byte by byte."""

import hmac
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.web.token import NoToken, is_token, load_token, token_file

LOAD = "import sys; from pathlib import Path; from proxy.web.token import load_token; sys.stdin.readline()\n"


def test_it_is_made_at_the_first_use_for_this_user_alone_and_stays(tmp_path: Path) -> None:
    state = tmp_path / "deep" / "state"
    old = os.umask(0)
    try:
        token = load_token(state)
    finally:
        os.umask(old)
    assert len(token) >= 43
    assert token.isascii()
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert stat.S_IMODE(token_file(state).stat().st_mode) == 0o600
    assert load_token(state) == token
    assert [file.name for file in state.iterdir()] == ["token"], "nothing is left of making it"
    assert load_token(tmp_path / "other") != token


def test_of_processes_that_make_it_at_once_all_get_the_same(tmp_path: Path) -> None:
    program = LOAD + "print(load_token(Path(sys.argv[1])))"
    words = [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{program}", str(tmp_path / "state")]
    children = [
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(6)
    ]
    for child in children:  # all have imported what they need, or are at it, and go on at one word
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    tokens = {child.communicate(timeout=30)[0] for child in children}
    assert len(tokens) == 1
    assert tokens == {load_token(tmp_path / "state") + "\n"}


def test_one_made_meanwhile_by_another_process_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = "another-process-was-here-a-moment-earlier"
    path = token_file(tmp_path)
    link = os.link

    def late(source: Path, target: Path) -> None:
        if not path.exists():
            path.write_text(made)
            path.chmod(0o600)
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    assert load_token(tmp_path) == made


def test_it_is_made_where_files_can_have_one_name_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    token = load_token(tmp_path)
    assert load_token(tmp_path) == token
    assert [file.name for file in tmp_path.iterdir()] == ["token"]


@pytest.mark.parametrize(
    "content",
    [
        b"a token with spaces, as a sentence has them, is no token",
        b"",
        b"\n",
        b"short",
        b"\x00" * 64,
        b"\xff" * 64,
        "é".encode() * 40,
        b"a" * 40 + b"\n" + b"b" * 40,
        b"a" * 5000,
    ],
)
def test_what_is_no_token_is_refused_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    path = token_file(tmp_path)
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(NoToken) as found:
        load_token(tmp_path)
    assert str(found.value) == f"{path}: holds no access token; remove it, and one is made"
    assert path.read_bytes() == content


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602, 0o620, 0o777])
def test_one_that_others_could_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    load_token(tmp_path)
    token_file(tmp_path).chmod(mode)
    with pytest.raises(NoToken, match="others may have read or written the access token; remove it"):
        load_token(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have no owner of this kind")
def test_one_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_token(tmp_path)
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    with pytest.raises(NoToken, match="belongs to another user; remove it"):
        load_token(tmp_path)


@pytest.mark.parametrize("target", ["known", "missing"])
def test_a_link_is_not_followed(tmp_path: Path, target: str) -> None:
    known = tmp_path / "known"
    known.write_text("what-somebody-else-knows-as-well-as-we-do\n")
    known.chmod(0o600)
    state = tmp_path / "state"
    state.mkdir()
    token_file(state).symlink_to(tmp_path / target)
    with pytest.raises(NoToken, match="is no file"):
        load_token(state)
    assert not (tmp_path / "missing").exists()


def test_a_pipe_in_its_place_does_not_hold_us_up(tmp_path: Path) -> None:
    os.mkfifo(token_file(tmp_path), 0o600)
    with pytest.raises(NoToken, match="is no file"):
        load_token(tmp_path)


GIVEN = "one-that-somebody-else-made-and-mounted-here"


def test_one_that_is_given_is_taken_and_none_is_made(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "token").write_text(GIVEN + "\n")
    (tmp_path / "..data" / "token").chmod(0o440)
    (tmp_path / "token").symlink_to("..data/token")  # as Kubernetes mounts secrets
    state = tmp_path / "state"
    assert load_token(state, tmp_path / "token") == GIVEN
    assert not state.exists()


@pytest.mark.parametrize("mode", [0o444, 0o644, 0o604, 0o620])
def test_one_that_is_given_to_everybody_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token"
    path.write_text(GIVEN)
    path.chmod(mode)
    with pytest.raises(NoToken) as found:
        load_token(tmp_path / "state", path)
    assert str(found.value) == (
        f"`proxy.http.tokenFile`: everybody may read {path}, or others write it; `chmod g-w,o=` ends that"
    )
    subprocess.run(["chmod", "g-w,o=", path], check=True)
    assert load_token(tmp_path / "state", path) == GIVEN


def test_one_that_is_given_and_is_none_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("changeme")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("short", "folder", "pipe"):
        (tmp_path / name).chmod(0o700)
        with pytest.raises(NoToken, match=r"^`proxy.http.tokenFile` .*; put 32 characters|can't be read"):
            load_token(tmp_path, tmp_path / name)
    with pytest.raises(NoToken, match=r"can't be read .*: No such file or directory"):
        load_token(tmp_path, tmp_path / "missing")
    assert not token_file(tmp_path).exists()


def test_a_directory_that_can_not_be_had_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for state in (tmp_path / "file" / "state", tmp_path / "file", Path("/proc/self/no-such-directory")):
        with pytest.raises(NoToken) as found:
            load_token(state)
        assert str(found.value).startswith(f"{state / 'token'}: the access token can't be kept: ")
        assert "\n" not in str(found.value)


@given(st.text())
def test_any_text_can_be_compared(text: str) -> None:
    token = "0123456789abcdefghijklmnopqrstuvwxyz"
    assert is_token(text, token) == (text == token)


def test_it_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    constant = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return constant(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert not is_token("é", "token")
    assert is_token("token", "token")
    assert compared == [("é".encode(), b"token"), (b"token", b"token")]
