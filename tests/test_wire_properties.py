"""The codec and the framer whatever comes: six properties, each tried with thousands of examples in every run.

What is checked stands in `tests.fuzz.codec`, where longer runs use it too (`make fuzz`).
"""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fuzz import codec

EXAMPLES = 5000
many = settings(max_examples=EXAMPLES)

choices = st.binary(min_size=48, max_size=48)
"""Drawing a JSON text piece by piece takes hypothesis milliseconds; these bytes decide on all of one at once."""


@many
@given(choices)
def test_chunking_never_changes_the_outcome(data: bytes) -> None:
    codec.check_chunking(data)


@many
@given(choices)
def test_the_bytes_of_payloads_pass_unchanged(data: bytes) -> None:
    codec.check_payload(data)


@many
@given(choices)
def test_ids_keep_their_type_and_value(data: bytes) -> None:
    codec.check_id(data)


@many
@given(choices)
def test_the_memory_of_the_framer_is_bounded_whatever_comes(data: bytes) -> None:
    codec.check_memory(data)


@many
@given(choices)
def test_a_malformed_answer_still_tells_whose_it_is(data: bytes) -> None:
    codec.check_damaged_answer(data)


@many
@given(choices, st.binary(max_size=40))
@example(data=b"", noise=b"\xef\xbb\xbf{}")
@example(data=b"", noise=b'"\x00a\x00"\x00')
def test_any_bytes_are_read_as_a_strict_reader_reads_them_or_refused(data: bytes, noise: bytes) -> None:
    codec.check_message(data)
    codec.check_any_line(noise)
