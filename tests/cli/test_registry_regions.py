"""``fleetwide registry replicate|replicas|preheat|delete|retention apply`` on a whole control plane.

The other region is the same registry once more; how bytes travel is tried elsewhere.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from starlette.testclient import TestClient
from temporalio import activity
from temporalio.exceptions import ApplicationError

from api.app import create_app
from fleetwide.cli import main
from fleetwide.client import Client
from fleetwide.models.hosts import HostSpec, host_task_queue
from fleetwide.models.registry_preheat import WarmedHost, WarmHost
from fleetwide.settings import get_settings
from fleetwide.store import hosts, registry_replicas
from fleetwide.store.registry_tables import ReplicaRow
from fleetwide.store.session import Store
from fleetwide.temporal.worker import WorkerRole, make_worker
from tests.api.harness import Plane, registry
from tests.bare_api import bare_api
from tests.cli.conftest import Ran
from tests.registry_index import NOW, image, push, upload
from tests.workflow.scripted_regions import ScriptedRegion

# A command that waits gives its requests more time, which needs no time with this client.
pytestmark = pytest.mark.filterwarnings("ignore:You should not use the 'timeout' argument")

IMAGE = "apps/hello:1.0.0"
A, B = image("a"), image("a", "b")
Cli = Callable[..., Ran]
MODULES = ("registry_contents", "registry_regions", "registry_retention", "registry_tags")


@dataclass
class Engine:
    """A host that has an image at once, or never."""

    host_id: str

    @activity.defn(name="preheat.warm_host")
    async def warm_host(self, request: WarmHost) -> WarmedHost:
        if self.host_id.startswith("full"):
            raise ApplicationError("the disk is full", type="Internal", non_retryable=True)
        return WarmedHost(host_id=self.host_id, bytes_registry=2048)


ENGINES = [Engine("warm1"), Engine("warm2"), Engine("full1")]


@asynccontextmanager
async def workers(plane: Plane, region: ScriptedRegion) -> AsyncIterator[None]:
    roles = [
        WorkerRole("replication", activities=region.activities()),
        *(WorkerRole(host_task_queue(one.host_id), activities=[one.warm_host]) for one in ENGINES),
    ]
    async with AsyncExitStack() as stack:
        for role in roles:
            await stack.enter_async_context(make_worker(plane.client, role))
        yield


def fill(store: Store) -> None:
    """Hosts in two zones, repositories with old tags, and the books of one copy."""
    with store.write() as session:
        for engine in ENGINES:
            offer = {"host_id": engine.host_id, "cpu": 1, "memory": "1GiB"}
            labels = {"zone": engine.host_id.rstrip("12")}
            spec = HostSpec.model_validate({**offer, "labels": labels})
            hosts.register(session, spec, now=datetime.now(UTC))
    for name in ("ci/x", "ci/old"):
        upload(store, name, "config", "a", "b")
        push(store, name, A, tags=["1.0"])
        push(store, name, B, tags=["2.0"], now=NOW + timedelta(hours=1))


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    folder = tmp_path_factory.mktemp("regional")
    policy, regions = folder / "policy.yaml", folder / "regions.yaml"
    rule = {"name": "old", "repositories": ["ci/x"], "keep_newest": 1}
    policy.write_text(yaml.safe_dump({"retention": [rule]}))
    with registry(folder) as url, ExitStack() as stack:
        rules = [{"repositories": ["apps/*"], "regions": ["far"]}]
        places = {"far": {"url": url}, "further": {"url": url}}
        regions.write_text(yaml.safe_dump({"regions": places, "rules": rules}))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FLEETWIDE_REGISTRY_POLICY", str(policy))
            patch.setenv("FLEETWIDE_REGISTRY_REGIONS", str(regions))
            made = stack.enter_context(Plane(folder, url))
        store = Store.open(made.settings.database_url.get_secret_value())
        fill(store)
        store.engine.dispose()
        more = workers(made, ScriptedRegion())
        made.call(lambda _: more.__aenter__())
        yield made
        made.call(lambda _: more.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def http(plane: Plane) -> Iterator[TestClient]:
    with TestClient(create_app(plane.settings)) as opened:
        yield opened


def cli_of(
    http: TestClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    @contextmanager
    def in_process() -> Iterator[Client]:
        yield Client("http://testserver", http=http)

    for module in MODULES:
        monkeypatch.setattr(f"fleetwide.cli.{module}.client", in_process)

    def run(*arguments: str) -> Ran:
        code = main.run(["registry", *arguments])
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return run


@pytest.fixture
def cli(
    http: TestClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    return cli_of(http, monkeypatch, capsys)


def test_an_image_is_copied_where_the_rules_say_or_where_one_asks(cli: Cli) -> None:
    ruled = cli("replicate", IMAGE)
    assert ruled.code == 0, ruled.err
    (line,) = ruled.out.splitlines()[1:]
    assert line.startswith("far/apps/hello@sha256:")
    assert line.split()[-1] == "completed"
    asked = cli("replicate", IMAGE, "--region", "further", "--region", "far", "-o", "json")
    found = [one["id"].split("/")[0] for one in json.loads(asked.out)["items"]]
    assert (asked.code, found) == (0, ["further", "far"])


def test_who_names_no_region_that_there_is_gets_a_hint(cli: Cli) -> None:
    unruled = cli("replicate", "ci/x:1.0")
    assert (unruled.code, unruled.out) == (3, "")
    assert "no rule says where ci/x is copied to" in unruled.err
    assert "hint: fleetwide registry replicate ci/x:TAG --region NAME, of far, further" in (
        unruled.err
    )
    unknown = cli("replicate", IMAGE, "--region", "north")
    assert unknown.code == 3
    assert "there is no region north" in unknown.err
    assert cli("replicate", "apps/hello:none").code == 4


def test_where_an_image_lies_is_told_by_the_books_or_by_the_regions(cli: Cli, plane: Plane) -> None:
    digest = json.loads(cli("show", IMAGE, "-o", "json").out)["digest"]
    store = Store.open(plane.settings.database_url.get_secret_value())
    row = ReplicaRow(
        repository="apps/hello",
        digest=digest,
        region="further",
        state=registry_replicas.FAILED,
        message="the region is full",
        workflow_id=f"replicate/further/apps/hello@{digest}",
        updated_at=NOW,
    )
    with store.write() as session:
        registry_replicas.book(session, row)
    store.engine.dispose()
    booked = {line.split()[0]: line for line in cli("replicas", IMAGE).out.splitlines()[1:]}
    assert "absent" in booked["far"].split()
    assert "the region is full" in booked["further"]
    one = cli("replicas", f"apps/hello@{digest}", "--region", "far", "--check", "-o", "json")
    (checked,) = json.loads(one.out)["items"]
    assert (checked["region"], checked["state"], checked["checked"]) == ("far", "present", True)
    unknown = cli("replicas", IMAGE, "--region", "north")
    assert unknown.code == 4
    assert "hint: the file of regions has far, further" in unknown.err


def test_a_registry_that_stands_alone_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with bare_api(tmp_path) as alone:
        cli = cli_of(alone, monkeypatch, capsys)
        refused = cli("replicate", IMAGE)
        assert (refused.code, refused.out) == (3, ""), refused.err
        assert "this registry knows of no other region" in refused.err
        assert "FLEETWIDE_REGISTRY_REGIONS" in refused.err
        assert "docs/guides/registry-regions.md" in refused.err
        assert "FLEETWIDE_REGISTRY_REGIONS" in cli("replicas", IMAGE, "--region", "far").err


def test_hosts_are_warmed_and_told(cli: Cli) -> None:
    warmed = cli("preheat", IMAGE, "--label", "zone=warm")
    assert warmed.code == 0, warmed.err
    told = dict(line.strip().split(":", 1) for line in warmed.out.splitlines() if ":" in line)
    assert told["warm hosts"].strip() == "2 of 2"
    assert told["from the registry"].strip() == "4.0 KiB"
    half = cli("preheat", IMAGE, "--label", "zone=warm", "--fraction", "0.5", "-o", "json")
    assert json.loads(half.out)["result"]["hosts"] == 1


def test_a_host_that_could_not_be_warmed_is_told_and_fails_the_command(cli: Cli) -> None:
    ran = cli("preheat", IMAGE, "--host", "warm1", "--host", "full1")
    assert ran.code == 1
    assert "1 of 2" in ran.out
    assert "the disk is full" in ran.out
    assert cli("preheat", IMAGE, "--host", "nobody").code == 1
    assert cli("preheat", IMAGE, "--fraction", "2").code == 2
    assert cli("preheat", "apps/hello:none").code == 4


def test_tags_go_when_a_report_is_applied_and_not_before(cli: Cli) -> None:
    report = cli("retention", "run", "--repository", "ci/x", "-o", "json")
    assert report.code == 0, report.err
    assert json.loads(report.out)["goes"] == 1
    assert cli("tags", "ci/x", "-o", "name").out.split() == ["ci/x:1.0", "ci/x:2.0"]
    (number,) = waiting(cli)
    applied = cli("retention", "apply", number, "--reason", "spring", "--by", "ada", "-o", "json")
    assert applied.code == 0, applied.err
    assert json.loads(applied.out)["phase"] == "applied"
    assert cli("tags", "ci/x", "-o", "name").out.split() == ["ci/x:2.0"]
    assert cli("retention", "apply", number).code == 5
    assert cli("retention", "apply", "none").code == 4


def waiting(cli: Cli) -> list[str]:
    """What a table tells as the next command, after one more report on the same tags."""
    told = cli("retention", "run", "--repository", "ci/x").err
    line = next(line for line in told.splitlines() if "nothing has gone yet" in line)
    return [line.split()[-1]]


def test_a_repository_is_deleted_with_all_that_is_in_it(cli: Cli) -> None:
    assert "ci/old" in cli("list", "-o", "name").out.split()
    ran = cli("delete", "ci/old", "--reason", "gone", "--by", "ada")
    assert ran.code == 0, ran.err
    assert "ci/old" in ran.out
    assert "ci/old" not in cli("list", "-o", "name").out.split()
    assert cli("delete", "ci/old").code == 4


def test_the_configuration_of_nginx_follows_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLEETWIDE_REGISTRY_URL", "http://registry.example:5000")
    monkeypatch.setenv("FLEETWIDE_REGISTRY_PORT", "5099")
    monkeypatch.setenv("FLEETWIDE_REGISTRY_STORAGE", f"file:{tmp_path}/blobs")
    folder = tmp_path / "own"

    def run(*arguments: str) -> Ran:
        get_settings.cache_clear()
        code = main.run(["registry", "nginx-config", "--folder", str(folder), *arguments])
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    shown = run()
    assert shown.code == 0, shown.err
    assert "listen registry.example:5000" in shown.out
    assert "127.0.0.1:5099" in shown.out
    assert f"{tmp_path}/blobs" in shown.out
    assert folder.is_dir()
    assert "listen 0.0.0.0:80" in run("--listen", "0.0.0.0:80").out
    secure = run("--certificate", "c.pem", "--certificate-key", "k.pem").out
    assert f'ssl_certificate "{Path("c.pem").resolve()}"' in secure
    monkeypatch.setenv("FLEETWIDE_REGISTRY_STORAGE", "s3://bucket/prefix")
    assert "alias" not in run().out
    monkeypatch.setenv("FLEETWIDE_REGISTRY_URL", "http://registry.example/path")
    refused = run()
    assert (refused.code, refused.out) == (3, "")
    assert "registry_url" in refused.err
    get_settings.cache_clear()
