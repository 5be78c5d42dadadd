"""Command lines and environments: who gets what."""

from pathlib import Path

import pytest

from fleetwide.dev.config import with_ports
from fleetwide.dev.parse import load
from fleetwide.dev.plan import GRANTS, MARKER, Plan, Surroundings, derive, inherited
from fleetwide.errors import InvalidInput

CONFIG = load(Path(__file__).parents[2] / "temporal-dev.yaml")
AROUND = Surroundings(Path("/srv/my state"), "unix:///run/other.sock", Path("/srv/venv/bin"))
PLAN = derive(CONFIG, AROUND)


def test_the_temporal_server_gets_every_setting_as_a_flag() -> None:
    command = " ".join(PLAN.process("temporal").command)
    assert command.startswith("temporal server start-dev --ip 127.0.0.1 --port 7233 --ui-port 8233")
    assert "--db-filename /srv/my state/temporal.db" in command
    assert "--search-attribute OSRelease=Keyword" in command
    assert '--dynamic-config-value history.timerProcessorMaxTimeShift="10ms"' in command
    assert "--dynamic-config-value matching.enableFairness=true" in command
    assert "--sqlite-pragma journal_mode=WAL" in command


def test_a_path_with_blanks_stays_one_argument() -> None:
    assert PLAN.process("distribution").command == (
        "docker-registry", "serve", "/srv/my state/registry.yml",
    )  # fmt: skip


def test_health_checks_follow_the_ports() -> None:
    plan = derive(with_ports(CONFIG, 20000), AROUND)
    registry = plan.process("registry")
    assert registry.health == f"http://127.0.0.1:{registry.ports[0]}/healthz"
    host = plan.process("host")
    assert host.environment["FLEETWIDE_METRICS_ADDRESS"] == f"127.0.0.1:{host.ports[0]}"
    assert host.health == f"http://127.0.0.1:{host.ports[0]}/metrics"


@pytest.mark.parametrize("name", list(CONFIG.processes))
def test_only_holders_get_the_database_and_aws(name: str) -> None:
    given = set(PLAN.process(name).environment)
    assert ("FLEETWIDE_DATABASE_URL" in given) == (
        name in {"migrate", "gateway", "api", "control", "scheduler", "storage", "replication"}
    )
    cloud = name in {"api", "control", "scheduler", "builder"}
    assert ("AWS_SECRET_ACCESS_KEY" in given) == cloud
    assert ("FLEETWIDE_AWS_ENDPOINT_URL" in given) == cloud
    assert ("FLEETWIDE_DOCKER_URL" in given) == (name == "host")
    behind = name in {"gateway", "storage"}
    assert ("FLEETWIDE_REGISTRY_BACKEND_URL" in given) == behind
    assert ("FLEETWIDE_REGISTRY_STORAGE" in given) == behind
    assert ("FLEETWIDE_REGISTRY_TOKEN_KEY" in given) == (name in {"gateway", "api"})
    assert ("FLEETWIDE_REGISTRY_ACCOUNTS" in given) == (name in {"gateway", "api"})


def test_everybody_reaches_the_registry_by_its_front_door() -> None:
    urls = {process.environment["FLEETWIDE_REGISTRY_URL"] for process in PLAN.processes}
    assert urls == {"http://127.0.0.1:5050"}
    gateway = PLAN.process("gateway").environment
    assert gateway["FLEETWIDE_REGISTRY_PORT"] == "5051"
    assert gateway["FLEETWIDE_REGISTRY_BACKEND_URL"] == "http://127.0.0.1:5052"
    assert gateway["FLEETWIDE_REGISTRY_STORAGE"] == "file:/srv/my state/registry"


def test_every_own_process_is_in_the_table_of_grants() -> None:
    own = {process.name for process in PLAN.processes if process.command[0] == "fleetwide"}
    assert own == set(GRANTS)


def test_credentials_of_the_shell_are_not_inherited() -> None:
    shell = {
        "PATH": "/usr/bin",
        "HOME": "/root",
        "AWS_SECRET_ACCESS_KEY": "real",
        "AWS_PROFILE": "production",
        "FLEETWIDE_DATABASE_URL": "postgresql://user:word@db/prod",
        "FLEETWIDE_LOG_LEVEL": "DEBUG",
        "FLEETWIDE_REGISTRY_USERNAME": "me",
        "FLEETWIDE_REGISTRY_PASSWORD": "word",
        "FLEETWIDE_REGISTRY_ACCOUNTS": "/etc/accounts.json",
        "GITHUB_TOKEN": "real",
    }
    kept = inherited(shell, AROUND)
    assert set(kept) == {"PATH", "HOME", "FLEETWIDE_LOG_LEVEL", MARKER}
    assert kept["PATH"] == "/srv/venv/bin:/usr/bin:/usr/sbin:/sbin"
    assert kept[MARKER] == "/srv/my state"


def test_an_environment_entry_is_filled_and_wins() -> None:
    text = "FLEETWIDE_HOST_ID='a b' FLEETWIDE_API_PORT={port}"
    api = CONFIG.processes["api"].model_copy(update={"environment": text})
    config = CONFIG.model_copy(update={"processes": CONFIG.processes | {"api": api}})
    values = derive(config, AROUND).process("api").environment
    assert values["FLEETWIDE_HOST_ID"] == "a b"
    assert values["FLEETWIDE_API_PORT"] == "8300"


@pytest.mark.parametrize("text", ["A='x ;y'", "A='x\ny'"])
def test_a_value_that_the_supervisor_would_cut_is_refused(text: str) -> None:
    api = CONFIG.processes["api"].model_copy(update={"environment": text})
    config = CONFIG.model_copy(update={"processes": {"api": api}})
    with pytest.raises(InvalidInput, match=r"processes\.api\.environment\.A"):
        derive(config, AROUND)


@pytest.mark.parametrize("state", ["/srv/a;b", "/srv/a\nb", "/srv/%(x)s", "relative"])
def test_a_state_folder_of_odd_letters_is_refused(state: str) -> None:
    with pytest.raises(InvalidInput, match="state folder"):
        derive(CONFIG, Surroundings(Path(state), "unix:///x", Path("/bin")))


def test_the_fingerprint_tells_configurations_apart() -> None:
    assert derive(CONFIG, AROUND).fingerprint == PLAN.fingerprint
    assert derive(with_ports(CONFIG, 20000), AROUND).fingerprint != PLAN.fingerprint


def test_a_stored_plan_reads_back_equal() -> None:
    assert Plan.model_validate_json(PLAN.model_dump_json()) == PLAN
