"""The registry accounts of a development platform: one for each process, and the person's.

Secrets lie in the state folder, each in a file of its own that only its owner reads. The gateway
knows their hashes; a process gets its own secret, and no process another's.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fleetwide.dev.plan import Plan
from fleetwide.dev.state import stored_secret, write_private
from fleetwide.models.registry_access import (
    HOST_PREFIX,
    AccountEntry,
    AccountsFile,
    Action,
    Grant,
)
from fleetwide.providers.api_logins import FILE as LOGINS
from fleetwide.providers.api_logins import remember
from fleetwide.providers.registry_auth import Credentials
from fleetwide.registry.accounts import hash_secret
from fleetwide.settings import Settings

ADMIN = "admin"
"""The person's account."""
FOLDER = "registry-accounts"
FILE = "registry-accounts.json"

_EVERYWHERE: dict[str, Sequence[Action]] = {
    ADMIN: [Action.ALL],
    "api": [Action.PULL],
    "control": [Action.PULL],
    "builder": [Action.PULL, Action.PUSH, Action.DELETE],
    "replication": [Action.PULL],
    "host": [],
}
"""What each may do with every repository; a host pulls what it is to run.

Replication writes to other regions alone, as whom their accounts say.
"""


def prepare_accounts(plan: Plan, variables: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Write the gateway's file of accounts; what each process logs in with, as its environment.

    ``variables`` are those that all processes inherit.
    """
    folder = plan.state / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    entries: dict[str, AccountEntry] = {}
    logins: dict[str, dict[str, str]] = {}
    for process in (ADMIN, *(one.name for one in plan.processes)):
        if process not in _EVERYWHERE:
            continue
        name = _account_name(process, plan, variables)
        secret = stored_secret(folder / process)
        entries[name] = AccountEntry(secret=hash_secret(secret), grants=_grants(process))
        logins[process] = {
            "FLEETWIDE_REGISTRY_USERNAME": name,
            "FLEETWIDE_REGISTRY_PASSWORD": secret,
        }
    write_private(plan.state / FILE, AccountsFile(entries).model_dump_json(indent=1))
    _keep_login(plan, logins.pop(ADMIN))
    return logins


def _keep_login(plan: Plan, login: Mapping[str, str]) -> None:
    """Let the person's command line log in at the platform's API by itself."""
    api = next((one for one in plan.processes if one.name == "api"), None)
    if api is not None:
        known = Credentials(
            login["FLEETWIDE_REGISTRY_USERNAME"], login["FLEETWIDE_REGISTRY_PASSWORD"]
        )
        remember(plan.state / LOGINS, api.environment["FLEETWIDE_API_URL"], known)


def admin_secret(state: Path) -> Path:
    """The file with the person's secret."""
    return state / FOLDER / ADMIN


def _account_name(process: str, plan: Plan, variables: Mapping[str, str]) -> str:
    if process != "host":
        return process
    known = {**variables, **plan.process(process).environment}
    default: str = Settings.model_fields["host_id"].default
    return HOST_PREFIX + known.get("FLEETWIDE_HOST_ID", default)


def _grants(process: str) -> list[Grant]:
    actions = list(_EVERYWHERE[process])
    return [Grant(repositories="*", actions=actions)] if actions else []
