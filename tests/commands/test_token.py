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


def test_one_that_is_given_is_the_token_of_the_hub_and_its_clients(here: Here, tmp_path: Path) -> None:
    """Its path counts from the configuration, as others do."""
    config = write_config(tmp_path, {}, http={"tokenFile": "secrets/token"})
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/token").write_text("made-and-mounted-here-by-somebody-else\n")
    (tmp_path / "secrets/token").chmod(0o640)
    done = here("token", "--config", config)
    assert (done.code, done.out) == (0, b"made-and-mounted-here-by-somebody-else\n")
    with serving(config) as hub:
        headers = {"Authorization": "Bearer made-and-mounted-here-by-somebody-else"}
        assert ask(hub.url, "GET", "/tools/list", headers).status == 200
    assert not (tmp_path / "state/token").exists()


def test_a_bad_configuration_is_told_of(here: Here, tmp_path: Path) -> None:
    done = here("token", "--config", tmp_path / "none.json")
    assert (done.code, done.out) == (2, b"")
