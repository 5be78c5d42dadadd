"""Run the suite; let a few tests that failed beside others try once more, alone.

Three processes of tests with servers, containers and kills share two cores. What fails there and
passes by itself is told as unsteady: a fault to find, in the test or in the product, but no reason
to hold back everything else. What fails twice, or more than a few failures, fails the suite.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FAILED = ROOT / ".pytest_cache" / "v" / "cache" / "lastfailed"
SOME_FAILED = 1
"""Pytest's exit code when all tests ran and some failed."""
FEW = 12
"""More failures than these are not bad luck."""


def main(options: list[str]) -> int:
    FAILED.unlink(missing_ok=True)
    first = pytest(options)
    if first != SOME_FAILED:
        return first
    failed = sorted(json.loads(FAILED.read_text())) if FAILED.exists() else []
    if not 0 < len(failed) <= FEW:
        return first
    say(f"{len(failed)} failed beside others; each once more, alone:", failed)
    second = pytest(["-n", "0", *failed])
    if second == 0:
        say("UNSTEADY, passed alone; find out why:", failed)
    return second


def say(text: str, tests: list[str]) -> None:
    sys.stdout.write("\n  ".join([f"\n{text}", *tests]) + "\n")


def pytest(arguments: list[str]) -> int:
    sys.stdout.flush()
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
