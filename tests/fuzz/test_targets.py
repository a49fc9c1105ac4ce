"""Each target of `make fuzz` takes its seeds, and a few hundred texts made from them, without a fuzzer."""

import random

import pytest

from tests.fuzz.mutations import mutate
from tests.fuzz.targets import TARGETS

MUTATIONS = 500


@pytest.mark.parametrize("name", TARGETS)
def test_what_must_hold_of_any_bytes_holds_of_the_seeds_and_of_texts_like_them(name: str) -> None:
    target = TARGETS[name]
    random_ = random.Random(name)
    for seed in target.seeds:
        target.check(seed)
    for _ in range(MUTATIONS):
        target.check(mutate(random_.choice(target.seeds), target.ways, random_))
