"""`mcp-manifold token`: the token, and nothing else."""

from pathlib import Path

from tests.support.bare import ask
from tests.support.commands import Here, apart
from tests.support.hub import serving
from tests.support.manifold import write_config


def test_it_prints_the_token_and_nothing_else(here: Here, tmp_path: Path) -> None:
    config = write_config(tmp_path, {})
    first = here("token", "--config", config)
    assert (first.code, first.err) == (0, b"")
    assert first.out.decode() == (tmp_path / "state" / "token").read_text()
    assert here("token", "--config", config) == first


def test_what_a_shell_makes_of_it_gets_a_client_in(tmp_path: Path) -> None:
    config = write_config(tmp_path, {})
    token = apart(["token", "--config", config]).out.decode().rstrip("\n")
    with serving(config) as hub:
        assert ask(hub.url, "GET", "/tools/list", {"Authorization": f"Bearer {token}"}).status == 200
        assert ask(hub.url, "GET", "/tools/list", {"Authorization": f"Bearer {token}x"}).status == 401


def test_a_token_that_others_could_read_is_one_line_and_not_shown(here: Here, tmp_path: Path) -> None:
    config = write_config(tmp_path, {})
    token = here("token", "--config", config).out
    file = tmp_path / "state" / "token"
    file.chmod(0o644)
    done = here("token", "--config", config)
    assert (done.code, done.out) == (1, b"")
    assert done.err.decode().startswith(f"{file}: others may have read")
    assert token.strip() not in done.err
    file.unlink()
    assert here("token", "--config", config).out != token


def test_a_bad_configuration_is_told_of(here: Here, tmp_path: Path) -> None:
    done = here("token", "--config", tmp_path / "none.json")
    assert (done.code, done.out) == (2, b"")
