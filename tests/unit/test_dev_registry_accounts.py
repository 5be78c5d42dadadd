"""The registry accounts of a development platform: who gets which, and who reads what."""

import json
from pathlib import Path

import pytest

from fleetwide.dev.parse import load
from fleetwide.dev.plan import Plan, Surroundings, derive
from fleetwide.dev.registry_accounts import ADMIN, FILE, admin_secret, prepare_accounts
from fleetwide.models.registry_access import AccountKind
from fleetwide.providers.api_logins import login_for
from fleetwide.providers.registry_auth import Credentials
from fleetwide.registry.accounts import Account, is_secret, parse_accounts
from fleetwide.registry.scopes import actions_on
from fleetwide.settings import Settings

CONFIG = load(Path(__file__).parents[2] / "temporal-dev.yaml")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return derive(CONFIG, Surroundings(tmp_path, "unix:///x", Path("/bin")))


def accounts(state: Path) -> dict[str, Account]:
    return parse_accounts((state / FILE).read_bytes(), FILE)


def test_every_process_has_an_account_of_its_own_with_the_least_rights(plan: Plan) -> None:
    logins = prepare_accounts(plan, {})
    known = accounts(plan.state)
    rights = {name: set(actions_on(one.grants, "apps/hello")) for name, one in known.items()}
    assert rights == {
        "admin": {"pull", "push", "delete"},
        "api": {"pull"},
        "control": {"pull"},
        "builder": {"pull", "push", "delete"},
        "replication": {"pull"},
        "host/local": set(),
    }
    assert known["host/local"].kind is AccountKind.HOST
    assert known["builder"].kind is AccountKind.PLATFORM
    for process, values in logins.items():
        account = known[values["FLEETWIDE_REGISTRY_USERNAME"]]
        assert is_secret(values["FLEETWIDE_REGISTRY_PASSWORD"], account.secret_hash), process
    assert set(logins) == {"api", "control", "builder", "replication", "host"}
    assert len({values["FLEETWIDE_REGISTRY_PASSWORD"] for values in logins.values()}) == 5


def test_the_hosts_account_is_named_after_the_host(plan: Plan) -> None:
    logins = prepare_accounts(plan, {"FLEETWIDE_HOST_ID": "rack-7"})
    assert logins["host"]["FLEETWIDE_REGISTRY_USERNAME"] == "host/rack-7"


def test_secrets_stay_and_only_their_owner_reads_them(plan: Plan) -> None:
    first = prepare_accounts(plan, {})
    assert prepare_accounts(plan, {}) == first
    folder = admin_secret(plan.state).parent
    assert folder.stat().st_mode & 0o077 == 0
    for file in (*folder.iterdir(), plan.state / FILE):
        assert file.stat().st_mode & 0o077 == 0, file
    admin = admin_secret(plan.state).read_text()
    assert is_secret(admin, accounts(plan.state)[ADMIN].secret_hash)


def test_the_persons_command_line_logs_in_at_the_platforms_api_by_itself(plan: Plan) -> None:
    prepare_accounts(plan, {})
    settings = Settings(state_dir=plan.state, registry_logins=plan.state / "none.json")
    known = login_for(plan.process("api").environment["FLEETWIDE_API_URL"], settings)
    assert known == Credentials(ADMIN, admin_secret(plan.state).read_text())
    assert login_for("http://elsewhere.example", settings) is None


def test_no_secret_is_in_the_gateways_file_nor_in_the_plan(plan: Plan) -> None:
    logins = prepare_accounts(plan, {})
    texts = (plan.state / FILE).read_text() + plan.model_dump_json()
    for values in logins.values():
        assert values["FLEETWIDE_REGISTRY_PASSWORD"] not in texts
    assert json.loads((plan.state / FILE).read_text())["api"]["grants"]
