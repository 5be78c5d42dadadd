"""Search attributes of a Temporal namespace that may exist already, through Temporal's CLI.

The server's own flag acts only when the namespace is first created, and the CLI's ``create``
adds only the first of several names, without an error: so the missing are created one by one.
"""

import json
import shutil
import subprocess
from typing import cast

from fleetwide.dev.plan import Plan
from fleetwide.errors import ServiceUnavailable

_SECONDS = 20
_TYPE_PREFIX = "INDEXED_VALUE_TYPE_"


def register_search_attributes(plan: Plan, path: str) -> None:
    """Create the search attributes that the plan's namespace lacks. Idempotent.

    Raises:
        ServiceUnavailable: the server refused, or has one of another type.
    """
    if not plan.search_attributes:
        return
    answer = json.loads(_ask(plan, path, "list", "--output", "json"))
    existing = cast("dict[str, str]", answer.get("customAttributes") or {})
    for name, kind in missing_attributes(plan.search_attributes, existing).items():
        _ask(plan, path, "create", "--type", kind, "--name", name)


def missing_attributes(wanted: dict[str, str], existing: dict[str, str]) -> dict[str, str]:
    """Those of ``wanted`` to create; ``existing`` has types as the server spells them.

    Raises:
        ServiceUnavailable: an attribute exists with another type, which can never change.
    """
    for name in wanted.keys() & existing.keys():
        if existing[name].removeprefix(_TYPE_PREFIX).replace("_", "") != wanted[name].upper():
            raise ServiceUnavailable(
                f"search attribute {name} is {existing[name]} on the server, not {wanted[name]}",
                hint="a type cannot change; start from nothing: fleetwide dev down, then reset",
            )
    return {name: kind for name, kind in wanted.items() if name not in existing}


def _ask(plan: Plan, path: str, verb: str, *flags: str) -> str:
    program = shutil.which(plan.process("temporal").command[0], path=path) or "temporal"
    where = ("--address", plan.temporal_address, "--namespace", plan.namespace)
    done = subprocess.run(
        [program, "operator", "search-attribute", verb, *where, *flags],
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        error = done.stderr.strip()[-400:]
        raise ServiceUnavailable(f"temporal refused to {verb} search attributes: {error}")
    return done.stdout
