"""A program that asks a source tree's own build backend for a wheel.

``build_backend.py SOURCE OUTPUT BACKEND PATH...``: the source tree, a folder for the wheel, the
backend as ``module:object``, and what to import from, the first ones first. The last line that it
writes is the wheel's name, after ``WHEEL``. It runs confined in a base, by the base's Python, of
whose standard library the smallest packages have but a part: it imports as little as it can.
"""

import importlib
import os
import sys
from typing import Any

WHEEL = "fleetwide-wheel:"
MISSING = "fleetwide-missing:"


def main(source: str, output: str, name: str, paths: list[str]) -> None:
    os.chdir(source)
    sys.path[:0] = paths
    module, _, names = name.partition(":")
    backend: Any = importlib.import_module(module)
    for inner in filter(None, names.split(".")):
        backend = getattr(backend, inner)
    ask = getattr(backend, "get_requires_for_build_wheel", None)
    wanted: list[str] = ask({}) if ask else []
    missing = [one for one in wanted if not _is_here(one)]
    if missing:
        sys.exit(MISSING + ", ".join(missing))
    print(WHEEL + backend.build_wheel(output, {}), flush=True)  # noqa: T201 - the answer


def _is_here(requirement: str) -> bool:
    """Whether some version is installed: build requirements were resolved before."""
    import re  # noqa: PLC0415 - the smallest of Pythons lack them
    from importlib import metadata  # noqa: PLC0415

    name = re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0]
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
