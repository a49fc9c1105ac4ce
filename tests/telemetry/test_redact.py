"""No secret survives, whatever it is wrapped in; what forges or hides goes too."""

import base64
import itertools
import json
import re
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from proxy.telemetry.redact import LONGEST_TEXT, MASK, SHORTEST, Redactor
from proxy.texts import clean

TOKEN = "ghp_s3cr3t/T0ken+42=="

secrets = st.text(min_size=SHORTEST, max_size=40)
around = st.text(max_size=20)


def _base64(secret: str) -> bytes:
    return secret.encode(errors="surrogatepass")


ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "base64": lambda secret: base64.b64encode(_base64(secret)).decode(),
    "base64-unpadded": lambda secret: base64.b64encode(_base64(secret)).decode().rstrip("="),
    "base64url": lambda secret: base64.urlsafe_b64encode(_base64(secret)).decode(),
    "base64url-unpadded": lambda secret: base64.urlsafe_b64encode(_base64(secret)).decode().rstrip("="),
    "url": lambda secret: quote(secret, safe="", errors="surrogatepass"),
    "url-path": lambda secret: quote(secret, errors="surrogatepass"),
    "url-form": lambda secret: quote_plus(secret, errors="surrogatepass"),
    "url-lower": lambda secret: quote(secret, safe="", errors="surrogatepass").replace("%2F", "%2f"),
    "json": lambda secret: json.dumps(secret)[1:-1],
    "json-with-slashes": lambda secret: json.dumps(secret)[1:-1].replace("/", r"\/"),
}


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS.keys())
def test_a_secret_is_masked_in_each_encoding(encode: Callable[[str], str]) -> None:
    assert Redactor([TOKEN])(f"sent <{encode(TOKEN)}> to it") == f"sent <{MASK}> to it"


@pytest.mark.parametrize("user", ["a", "me", "you", "somebody"])
def test_a_secret_inside_a_basic_authorization_header_is_masked(user: str) -> None:
    header = base64.b64encode(f"{user}:{TOKEN}".encode()).decode()
    shown = Redactor([TOKEN])(f"Authorization: Basic {header}")
    assert MASK in shown
    assert base64.b64encode(TOKEN.encode()).decode()[4:12] not in shown
    assert len(shown) < len(header)


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS.keys())
@given(chosen=st.lists(secrets, min_size=1, max_size=4), before=around, after=around)
def test_no_secret_survives_in_any_text(
    encode: Callable[[str], str], chosen: list[str], before: str, after: str
) -> None:
    redactor = Redactor(chosen)
    for secret in chosen:
        form = encode(secret)
        assume(len(clean(form)) >= SHORTEST)
        shown = redactor(before + form + after)
        assert form not in shown
        assert secret not in shown


@given(secrets)
def test_a_secret_that_control_characters_interrupt_is_masked(secret: str) -> None:
    assume(len(clean(secret)) >= SHORTEST)
    assert Redactor([secret])("\x00".join(clean(secret))) == Redactor([secret])(clean(secret))


def test_a_mask_that_completes_another_secret_is_masked_with_it() -> None:
    assert Redactor(["token", "a***b"])("atokenb") == MASK


def test_short_values_are_not_looked_for() -> None:
    assert Redactor(["", "1", "on"])("1 thing goes on") == "1 thing goes on"


@given(st.text())
def test_every_result_can_be_encoded_and_holds_no_control_characters(text: str) -> None:
    shown = Redactor()(text)
    shown.encode()
    assert clean(shown) == shown


@given(st.text('0123456789٣²-"', max_size=12), st.lists(st.text("0123", min_size=SHORTEST, max_size=6), max_size=2))
@example("٣٣٣٣", ["٣٣٣٣"])
@example("1" * 20_000, [])
def test_a_number_is_shown_as_any_text_is(text: str, found: list[str]) -> None:
    redactor = Redactor(found)
    assert redactor.number(text) == redactor(text)
    redactor.learn(["1212"])
    assert redactor.number(text) == redactor(text)


def test_colours_and_forged_lines_become_plain() -> None:
    assert Redactor()("\x1b[31mred\x1b[0m\r \x07\u202eabc") == "red abc"


@pytest.mark.parametrize("text", ["x" * 100_000, "\N{SNOWMAN}" * 100_000, "\x1b[0m" * 100_000])
def test_a_long_text_is_cut(text: str) -> None:
    shown = Redactor()(text)
    assert len(shown.encode()) <= LONGEST_TEXT + len(" [cut]")
    assert shown.endswith(" [cut]")


@pytest.mark.parametrize("shift", range(0, 40, 3))
def test_no_half_of_a_secret_is_left_where_a_text_is_cut(shift: int) -> None:
    # What goes before the secret shrinks when it is cleaned, so that the bound on the work falls into the secret.
    secret = "0123456789abcdefghijABCDEFGHIJ"
    redactor = Redactor([secret])
    bound = 2 * LONGEST_TEXT + 6 * len(secret)
    text = ("\x00" * bound)[: bound - shift] + secret
    assert secret[:4] not in redactor(text + "\x00" * bound)


def test_how_much_is_searched_is_bounded_for_half_characters_too() -> None:
    searched: list[int] = []

    class Watched(Redactor):
        def _mask(self, text: str, pattern: re.Pattern[str]) -> str:
            searched.append(len(text))
            return super()._mask(text, pattern)

    assert Watched(["s3cr3t"])("\ud800" * 100_000).endswith(" [cut]")
    assert max(searched) < 3 * LONGEST_TEXT


def test_a_name_met_before_gives_the_same_answer_even_after_many_others() -> None:
    redactor = Redactor([TOKEN])
    assert [redactor(f"name {number}") for number in range(10_000)] == [f"name {number}" for number in range(10_000)]
    assert redactor(f"x{TOKEN}") == redactor(f"x{TOKEN}") == f"x{MASK}"


# -- secrets that come later


@given(first=st.lists(secrets, max_size=3), later=st.lists(secrets, max_size=3), before=around, after=around)
def test_what_is_learned_later_is_hidden_like_what_was_known_at_first(
    first: list[str], later: list[str], before: str, after: str
) -> None:
    redactor, other = Redactor(first), Redactor(first + later)
    texts = [before + secret + after for secret in first + later]
    for text in texts:
        redactor(text)  # remembered, but for a little while
    redactor.learn(later)
    assert [redactor(text) for text in texts] == [other(text) for text in texts]


def test_old_secrets_stay_hidden_when_new_ones_are_learned() -> None:
    redactor = Redactor([TOKEN])
    redactor.learn(["another one"])
    redactor.learn([])
    assert redactor(f"{TOKEN}, another one") == f"{MASK}, {MASK}"


def test_a_long_secret_learned_later_is_not_left_half_where_a_text_is_cut() -> None:
    redactor = Redactor(["short"])
    secret = "0123456789abcdefghijABCDEFGHIJ" * 10
    redactor.learn([secret])
    bound = 2 * LONGEST_TEXT + 6 * len("short")  # as it was before
    assert secret[:4] not in redactor("\x00" * (bound - 40) + secret + "\x00" * bound)


def test_a_call_that_began_before_a_secret_was_learned_is_not_remembered() -> None:
    redactor, looks = Redactor(), itertools.count(1)

    class Interrupting(str):
        """A text at the second look at whose length, which is after the search, a secret is learned."""

        __slots__ = ()

        def __len__(self) -> int:
            if next(looks) == 2:
                redactor.learn([TOKEN])  # as another thread may at any time
            return super().__len__()

    assert redactor(Interrupting(TOKEN)) == TOKEN
    assert redactor(TOKEN) == MASK
