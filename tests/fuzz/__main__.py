"""Coverage-guided fuzzing with atheris: `make fuzz ARGS="--seconds 600 line peers"`.

What was found worth keeping stays in `.fuzz/TARGET`, so that the next run goes on from there. Something that fails is
written to `.fuzz/TARGET.crash-...`; `make fuzz ARGS="line --again FILE"` tries it once more.
"""

import argparse
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

from tests.fuzz.mutations import WORDS, mutate

with atheris.instrument_imports(include=["proxy"]):
    from tests.fuzz.targets import TARGETS, Target

CORPORA = Path(__file__).parents[2] / ".fuzz"
LONGEST = 2048
SECONDS_FOR_ONE = 10
MOST_MEMORY_MIB = 2048


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description="Fuzz the framer, the codec and the relay.")
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"any of {', '.join(TARGETS)}; all of them if none"
    )
    parser.add_argument("--seconds", type=int, default=300, help="how long, for all targets together")
    parser.add_argument("--seed", type=int, default=0, help="for the same run again; 0 is another one each time")
    parser.add_argument("--again", type=Path, metavar="FILE", help="only try what this file holds")
    args = parser.parse_args()
    names = args.targets or list(TARGETS)
    if unknown := set(names) - TARGETS.keys():
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if args.again is not None:
        for name in names:
            TARGETS[name].check(args.again.read_bytes())
        return 0
    if len(names) == 1:
        fuzz(names[0], args.seconds, args.seed)
    # libFuzzer ends its process, so each target has one of its own.
    share = ["--seconds", str(max(1, args.seconds // len(names))), "--seed", str(args.seed)]
    command = [sys.executable, "-m", "tests.fuzz", *share]
    failed = [name for name in names if subprocess.run([*command, name], check=False).returncode]
    print(f"failed: {', '.join(failed)}" if failed else f"nothing found in {', '.join(names)}")
    return 1 if failed else 0


def fuzz(name: str, seconds: int, seed: int) -> None:
    """Does not return."""
    target = TARGETS[name]
    corpus = CORPORA / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(data)
    words = CORPORA / f"{name}.words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in WORDS))
    options = {
        "max_total_time": seconds,
        "seed": seed,
        "max_len": LONGEST,
        "timeout": SECONDS_FOR_ONE,
        "rss_limit_mb": MOST_MEMORY_MIB,
        "dict": words,
        "artifact_prefix": CORPORA / f"{name}.",
        "print_final_stats": 1,
    }
    print(f"fuzzing {name} for {seconds} s", flush=True)
    arguments = [sys.argv[0], *(f"-{option}={value}" for option, value in options.items()), str(corpus)]
    atheris.Setup(arguments, target.check, custom_mutator=mutator(target))
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def mutator(target: Target) -> Callable[[bytes, int, int], bytes]:
    """libFuzzer's own changes as often as ours, which know tokens and lines."""

    def change(data: bytes, most: int, seed: int) -> bytes:
        random_ = random.Random(seed)
        if random_.getrandbits(1):
            return bytes(atheris.Mutate(data, most))
        return mutate(bytes(data), target.ways, random_)[:most]

    return change


if __name__ == "__main__":
    sys.exit(main())
