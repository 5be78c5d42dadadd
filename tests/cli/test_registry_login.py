"""``fleetwide registry login|logout|whoami``: an account is kept privately, and used."""

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from fleetwide.cli import main
from fleetwide.errors import InvalidInput
from fleetwide.models.registry_access import AccountSpec
from fleetwide.providers.api_logins import LoginAuth, forget, login_for, own_file, remember
from fleetwide.providers.registry_auth import Credentials
from fleetwide.registry.accounts import hash_secret
from fleetwide.settings import Settings, get_settings
from fleetwide.store import registry_accounts
from fleetwide.store.registry_accounts import Deed
from fleetwide.store.session import Store
from tests.bare_api import bare_api

API = "http://api.example:8300"
ANA = Credentials("ana", "a secret of ana")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state", registry_logins=tmp_path / "logins.json")


def test_a_login_is_kept_for_its_api_alone_and_only_its_owner_reads_it(settings: Settings) -> None:
    path = own_file(settings)
    remember(path, API + "/", ANA)
    remember(path, "http://other.example", Credentials("bob", "b"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert login_for(API, settings) == ANA
    assert login_for("http://third.example", settings) is None
    assert forget(path, API)
    assert not forget(path, API)
    assert login_for(API, settings) is None
    assert login_for("http://other.example/", settings) == Credentials("bob", "b")


def test_the_environment_goes_before_the_person_and_the_person_before_the_platform(
    settings: Settings,
) -> None:
    remember(settings.state_dir / "registry-logins.json", API, Credentials("admin", "x"))
    assert login_for(API, settings) == Credentials("admin", "x")
    remember(own_file(settings), API, ANA)
    assert login_for(API, settings) == ANA
    given = settings.model_copy(update={"registry_username": "ci"})
    assert login_for(API, given) == Credentials("ci", "")


def test_the_file_lies_among_the_persons_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert own_file(Settings()) == tmp_path / "fleetwide" / "registry-logins.json"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert own_file(Settings()).parent == tmp_path / ".config" / "fleetwide"


def test_a_file_that_others_read_or_that_is_none_is_refused_without_its_content(
    settings: Settings,
) -> None:
    path = own_file(settings)
    remember(path, API, ANA)
    path.chmod(0o644)
    with pytest.raises(InvalidInput, match="read by others"):
        login_for(API, settings)
    path.chmod(0o600)
    path.write_text('{"http://x": {"username": "ana", "password": 5, "secret": "hidden"}')
    with pytest.raises(InvalidInput, match="no file of logins") as refused:
        login_for(API, settings)
    assert "hidden" not in str(refused.value)


def test_the_secret_goes_only_where_it_is_asked_for() -> None:
    for path, shown in (("/v1/registry/usage", True), ("/v1/tasks", False), ("/", False)):
        request = httpx2.Request("GET", API + path)
        sent = next(LoginAuth(ANA).auth_flow(request))
        assert ("Authorization" in sent.headers) == shown


@pytest.fixture
def command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """An API that asks for accounts; the command line reaches it in this process."""
    with bare_api(tmp_path, registry_auth="token", registry_token_key=tmp_path / "k") as http:
        store = Store.open(f"sqlite:///{tmp_path}/fleetwide.db")
        with store.write() as session:
            spec = AccountSpec.model_validate(
                {"name": "ana", "grants": [{"repositories": "apps/*", "actions": ["pull"]}]}
            )
            hashed = hash_secret(ANA.password)
            registry_accounts.create(session, spec, hashed, Deed("tests", datetime.now(UTC)))
        store.engine.dispose()

        class InProcess:
            """What a client's connection does, without a socket."""

            def __init__(self, **given: Any) -> None:
                self.auth = given["auth"]

            def request(self, method: str, path: str, **given: Any) -> Any:
                return http.request(method, path, auth=self.auth, **given)

            def close(self) -> None:
                """Nothing: the API goes on."""

        monkeypatch.setattr("fleetwide.client.transport.httpx2.Client", InProcess)
        monkeypatch.setenv("FLEETWIDE_REGISTRY_LOGINS", str(tmp_path / "logins.json"))
        monkeypatch.setenv("FLEETWIDE_STATE_DIR", str(tmp_path / "state"))
        monkeypatch.setenv("FLEETWIDE_API_URL", API)
        get_settings.cache_clear()
        yield http
    get_settings.cache_clear()


def run(*words: str) -> int:
    return main.run(["registry", *words])


def log_in(monkeypatch: pytest.MonkeyPatch, secret: str) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(secret + "\n"))
    return run("login", "-u", "ana", "--password-stdin")


def test_a_person_logs_in_and_out(
    command_line: TestClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("whoami") == 1
    assert "fleetwide registry login" in capsys.readouterr().err
    assert log_in(monkeypatch, "wrong") == 1
    assert not (tmp_path / "logins.json").exists()
    assert log_in(monkeypatch, ANA.password) == 0
    said = capsys.readouterr()
    assert ANA.password not in said.out + said.err
    assert run("whoami", "-o", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["account"], told["administers"]) == ("ana", False)
    assert run("account", "list") == 1
    assert "ana may not administer the registry" in capsys.readouterr().err
    assert run("logout") == 0
    assert run("whoami") == 1
