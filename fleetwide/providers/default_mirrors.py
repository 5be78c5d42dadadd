"""Where a suite's packages lie when nobody says so: mmdebstrap knows, we do not."""

import re
import subprocess
from functools import cache

from fleetwide.baseos.suites import Mirrors
from fleetwide.errors import PlatformError
from fleetwide.models.baseos import Architecture

TIMEOUT_SECONDS = 30
TOLD_LINES = 5
# One line of sources.list: options in brackets, the address, the suite.
_LINE = re.compile(r"^deb (?:\[[^]]*\] )?(?P<url>https?://\S+) (?P<suite>\S+) ")
# A hook that tells the archives and ends the run before anything is fetched.
_TELL_AND_STOP = 'cat "$1/etc/apt/sources.list" >&2; exit 1'


@cache
def default_mirrors(suite: str, architecture: Architecture) -> Mirrors:
    """The distribution's own mirrors of a suite; ``security`` is None where there is none.

    Asked once in a process's life: it takes half a second and goes to no network.

    Raises:
        PlatformError: mmdebstrap is missing or told nothing.
    """
    command = [
        *("mmdebstrap", "--mode=root", "--variant=custom", "--format=null"),
        *(f"--architectures={architecture}", "--skip=check/qemu", "--components=main"),
        *(f"--setup-hook={_TELL_AND_STOP}", suite, "-"),
    ]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _unknown(suite, str(error)) from error
    lines = [match for line in done.stderr.splitlines() if (match := _LINE.match(line))]
    main = next((line["url"] for line in lines if line["suite"] == suite), None)
    if main is None:
        raise _unknown(suite, "\n".join(done.stderr.splitlines()[-TOLD_LINES:]))
    security = (line["url"] for line in lines if line["suite"].startswith(f"{suite}-security"))
    return Mirrors(main, next(security, None))


def _unknown(suite: str, words: str) -> PlatformError:
    return PlatformError(
        f"mmdebstrap does not tell where {suite} lies: {words}",
        hint="name a mirror: `mirror` and `security_mirror` of the spec, "
        "or FLEETWIDE_APT_MIRROR and FLEETWIDE_APT_SECURITY_MIRROR of the builder",
    )
