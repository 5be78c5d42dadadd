"""One child of a batch array: counts the primes of its slice of the numbers."""

import os
import sys


def count_primes(start: int, stop: int) -> int:
    """How many primes lie in ``start`` <= n < ``stop``."""
    if stop <= 2:
        return 0
    sieve = bytearray([1]) * stop
    sieve[0:2] = b"\0\0"
    for number in range(2, int(stop**0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, stop, number)))
    return sum(sieve[start:stop])


def is_flaky(index: int, attempt: int, every: int) -> bool:
    """Whether this attempt plays flaky input: the first one of each ``every``-th index."""
    return every > 0 and attempt == 1 and index % every == 0


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdigit():
        sys.exit(f"{name} must be a whole number, not {text!r}")
    return int(text)


def main() -> None:
    index = _number("FLEETWIDE_ARRAY_INDEX", 0)
    attempt = _number("FLEETWIDE_ATTEMPT", 1)
    size = _number("SLICE_SIZE", 20_000)
    if is_flaky(index, attempt, _number("FAIL_FIRST_ATTEMPT", 0)):
        sys.exit(f"index {index}: simulated flaky input on attempt {attempt}")
    start, stop = index * size, (index + 1) * size
    primes = count_primes(start, stop)
    sys.stdout.write(f"index {index}: {primes} primes in [{start}, {stop}), attempt {attempt}\n")
