"""What a server's texts lose on their way to a model, and how they are cut."""

import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import texts

BIDIRECTIONAL = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
TAGS = "\U000e0001\U000e0041\U000e007f"

# Halves of characters included: JSON can hold them.
any_text = st.text(
    st.one_of(st.characters(exclude_categories=()), st.sampled_from("\x1b[0m]\x07\x9b\r" + BIDIRECTIONAL + TAGS))
)


def is_hidden(character: str) -> bool:
    control = unicodedata.category(character) == "Cc" and character not in "\t\n"
    return control or character in BIDIRECTIONAL or "\U000e0000" <= character <= "\U000e007f"


@given(any_text)
def test_nothing_hidden_is_left(text: str) -> None:
    cleaned = texts.clean(text)
    assert [character for character in cleaned if is_hidden(character)] == []
    assert texts.clean(cleaned) == cleaned


@given(any_text)
def test_what_is_visible_stays_as_it_is(text: str) -> None:
    visible = "".join(character for character in text if not is_hidden(character))
    assert texts.clean(visible) == visible


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain\ttext\nand more", "plain\ttext\nand more"),
        ("dos\r\nline", "dos\nline"),
        ("\x1b[31;1mred\x1b[0m", "red"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x07", "link"),
        ("\x1b(Bplain", "(Bplain"),
        ("\x1bMup", "up"),
        ("bell\x07 null\x00 del\x7f c1\x85", "bell null del c1"),
        (f"safe{TAGS}", "safe"),
        ("user\u202egnp.exe", "usergnp.exe"),
        ("family 👩\u200d👩 and x\u200cy", "family 👩\u200d👩 and x\u200cy"),
        ("half \ud800", "half \ud800"),
    ],
)
def test_texts_lose_what_hides_or_forges(text: str, cleaned: str) -> None:
    assert texts.clean(text) == cleaned


@given(any_text, st.booleans())
def test_the_quick_look_at_the_bytes_misses_nothing(text: str, escaped: bool) -> None:
    raw = json.dumps(text, ensure_ascii=escaped).encode(errors="surrogatepass")
    assert texts.may_need_cleaning(raw) or texts.clean(text) == text


def test_the_quick_look_spares_plain_texts() -> None:
    assert not texts.may_need_cleaning(b'"Reads a file.\\n\\t\\"quoted\\""')


@given(any_text)
def test_a_printable_text_can_be_encoded_and_is_the_same_where_it_could_be(text: str) -> None:
    printable = texts.printable(text)
    printable.encode()
    assert len(printable) == len(text)
    assert printable == re.sub("[\ud800-\udfff]", "?", text)


@pytest.mark.parametrize(
    ("text", "line"),
    [("one", "one"), ("\n \n two \nthree", "two"), ("", ""), (" \n\t\r\n", ""), ("a\u2028b", "a"), ("a\x0bb", "a")],
)
def test_the_first_line_is_the_first_that_says_something(text: str, line: str) -> None:
    assert texts.first_line(text) == line


@given(st.text(), st.integers(3, 60))
def test_a_cut_text_fits_and_begins_like_the_whole(text: str, size: int) -> None:
    cut = texts.cut(text, size)
    assert len(cut.encode()) <= size
    if len(text.encode()) <= size:
        assert cut == text
    else:
        assert cut.endswith("…")
        assert text.startswith(cut.removesuffix("…"))


def test_a_cut_never_halves_a_character() -> None:
    assert texts.cut("ééééé", 8) == "éé…"
    assert texts.cut("a  " + "b" * 9, 7) == "a  b…"
    assert texts.cut("a   " + "b" * 9, 7) == "a…"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("plain", "plain"),
        (" two\r\n\tlines \n", "two lines"),
        ("\x1b[31mred\x1b[0m\u202e", "red"),
        ("x" * 10, "x" * 10),
        ("x" * 11, "x" * 9 + "…"),
    ],
)
def test_a_text_for_an_error_message_is_one_short_line(text: str, line: str) -> None:
    assert texts.one_line(text, 10) == line
