"""Real clients log in, push and pull: docker, skopeo, and the platform's own."""

import json
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from fleetwide.errors import ImagePullFailed, RegistryUnavailable
from fleetwide.models.hosts import PullProgress
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.registry_auth import Credentials
from fleetwide.registry.references import parse_reference
from fleetwide.store import registry_accounts
from fleetwide.store.registry_accounts import Deed
from tests.api.oci.access_parts import Account, grants, make
from tests.oci_objects import digest_of, image
from tests.registry_stack import Stack, StackOptions, registry_stack

pytestmark = pytest.mark.integration
SOCKET = "unix:///var/run/docker.sock"


@pytest.fixture(scope="module", params=["nginx", "redirect"])
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    options = StackOptions(plane=request.param, auth="token")
    with registry_stack(tmp_path_factory.mktemp("clients"), options) as running:
        yield running


@pytest.fixture(scope="module")
def ci(stack: Stack) -> Account:
    return make(stack, "ci", grants(apps="pull,push,delete", base="pull"))


@dataclass(frozen=True)
class Docker:
    """The docker command with a configuration of its own."""

    config: Path
    stack: Stack

    def run(self, *arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
        command = ["docker", "--config", str(self.config), *arguments]
        return subprocess.run(
            command, input=given, capture_output=True, text=True, check=False, timeout=60
        )

    def login(self, account: Account) -> "subprocess.CompletedProcess[str]":
        words = ("login", self.stack.address, "-u", account.name, "--password-stdin")
        return self.run(*words, given=account.secret)

    def image(self, repository: str, tag: str = "1") -> str:
        return f"{self.stack.address}/{repository}:{tag}"


@pytest.fixture
def docker(stack: Stack, tmp_path: Path) -> Docker:
    return Docker(tmp_path / "docker", stack)


@pytest.fixture(scope="module")
def local_image(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A small image in the Docker daemon that no other test knows."""
    folder = tmp_path_factory.mktemp("image")
    (folder / "file").write_text(uuid4().hex)
    with tarfile.open(folder / "root.tar", "w") as tar:
        tar.add(folder / "file", "file")
    name = f"access-test:{uuid4().hex}"
    subprocess.run(["docker", "import", folder / "root.tar", name], check=True, capture_output=True)
    try:
        yield name
    finally:
        made = subprocess.run(
            ["docker", "images", "-q", "--no-trunc", name],
            capture_output=True,
            text=True,
            check=True,
        )
        subprocess.run(
            ["docker", "rmi", "-f", *made.stdout.split()], capture_output=True, check=True
        )


@pytest.fixture(scope="module")
def pushed(
    stack: Stack, ci: Account, local_image: str, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """``apps/hello:1`` in the registry; answers its digest."""
    docker = Docker(tmp_path_factory.mktemp("docker"), stack)
    docker.login(ci)
    name = docker.image("apps/hello")
    docker.run("tag", local_image, name)
    done = docker.run("push", name)
    assert done.returncode == 0, done.stderr
    with RegistryClient(stack.url, Credentials(ci.name, ci.secret)) as client:
        return client.resolve(parse_reference("apps/hello:1"))


def test_docker_logs_in_and_out(docker: Docker, ci: Account) -> None:
    done = docker.login(ci)
    assert done.returncode == 0, done.stderr
    assert "Login Succeeded" in done.stdout


def test_docker_tells_a_wrong_secret(docker: Docker, ci: Account) -> None:
    done = docker.login(Account(ci.name, "wrong"))
    assert done.returncode != 0
    assert "the account or its secret is wrong" in done.stderr
    assert "wrong" not in json.dumps(_config(docker))


def _config(docker: Docker) -> object:
    file = docker.config / "config.json"
    return json.loads(file.read_text()) if file.exists() else {}


def test_docker_pulls_what_it_may(docker: Docker, ci: Account, pushed: str) -> None:
    name = docker.image("apps/hello")
    refused = docker.run("pull", name)
    assert refused.returncode != 0
    assert "log in first" in refused.stderr
    docker.login(ci)
    done = docker.run("pull", name)
    assert done.returncode == 0, done.stderr


def test_docker_is_refused_a_push_elsewhere(docker: Docker, ci: Account, local_image: str) -> None:
    docker.login(ci)
    name = docker.image("base/debian")
    docker.run("tag", local_image, name)
    done = docker.run("push", name)
    assert done.returncode != 0
    assert "denied: requested access to the resource is denied" in done.stderr


def test_docker_mounts_between_repositories(
    docker: Docker, ci: Account, local_image: str, pushed: str
) -> None:
    docker.login(ci)
    docker.run("tag", local_image, docker.image("apps/hello"))
    name = docker.image("apps/copy")
    docker.run("tag", local_image, name)
    done = docker.run("push", name)
    assert done.returncode == 0, done.stderr
    assert "Mounted from apps/hello" in done.stdout, done.stdout


def test_skopeo_copies_lists_and_deletes(stack: Stack, ci: Account, pushed: str) -> None:
    source, target = (f"docker://{stack.address}/apps/{name}" for name in ("hello:1", "moved:1"))
    secret = f"{ci.name}:{ci.secret}"

    def skopeo(*arguments: str) -> str:
        done = subprocess.run(
            ["skopeo", *arguments], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
    both = ("--src-creds", secret, "--dest-creds", secret)
    skopeo("copy", *plain, *both, source, target)
    creds = ("--tls-verify=false", "--creds", secret)
    listed = json.loads(skopeo("list-tags", *creds, target.rpartition(":")[0]))
    assert listed["Tags"] == ["1"]
    skopeo("delete", *creds, target)
    refused = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", source],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode != 0
    assert "log in first" in refused.stderr


def test_the_platforms_client_logs_in_by_itself(stack: Stack, ci: Account, pushed: str) -> None:
    reference = parse_reference(f"apps/hello@{pushed}")
    with RegistryClient(stack.url, Credentials(ci.name, ci.secret)) as client:
        client.ping()
        manifest = client.get_manifest(reference)
        client.upload_blob("apps/own", b"x" * 1000, digest_of(b"x" * 1000))
        config = manifest.json()["config"]["digest"]
        assert client.mount_blob("apps/own", config, "apps/hello")
        assert client.get_blob_json("apps/hello", config)["os"] == "linux"
        assert "apps/hello" in client.list_repositories()
        with pytest.raises(RegistryUnavailable, match="may not pull and push base/x"):
            client.upload_blob("base/x", b"y", digest_of(b"y"))
    with RegistryClient(stack.url) as nobody:
        with pytest.raises(RegistryUnavailable, match="log in first"):
            nobody.get_manifest(reference)
    with RegistryClient(stack.url, Credentials(ci.name, "wrong")) as wrong:
        with pytest.raises(RegistryUnavailable, match="secret is wrong") as raised:
            wrong.get_manifest(reference)
    assert ci.secret not in str(raised.value)


def test_a_hosts_docker_pulls_with_the_hosts_account(stack: Stack, ci: Account) -> None:
    name = f"apps/fresh@{_fresh_image(stack, ci, 'apps/fresh')}"
    good = Credentials(ci.name, ci.secret)
    for refused in (None, Credentials(ci.name, "wrong")):
        with closing(_host(stack, refused)) as host:
            with pytest.raises(ImagePullFailed, match="refused this host"):
                host.pull(host.image_name(name), lambda _: True)
    seen: list[PullProgress] = []

    def note(progress: PullProgress) -> bool:
        seen.append(progress)
        return True

    with closing(_host(stack, good)) as host:
        try:
            host.pull(host.image_name(name), note)
        finally:
            subprocess.run(["docker", "rmi", "-f", host.image_name(name)], check=True)
    assert seen[-1].layers == seen[-1].layers_done == 1


def _host(stack: Stack, credentials: Credentials | None) -> ContainerHost:
    return ContainerHost(SOCKET, stack.url, host_id="h", platform="p", credentials=credentials)


def _fresh_image(stack: Stack, account: Account, repository: str) -> str:
    """An image that no Docker daemon has seen: one that knows a digest asks no registry."""
    made = image()
    with RegistryClient(stack.url, Credentials(account.name, account.secret)) as client:
        for blob in made.blobs:
            client.upload_blob(repository, blob, digest_of(blob))
        reference = parse_reference(f"{repository}:fresh")
        return client.put_manifest(reference, made.data, made.media_type)


def test_a_disabled_account_is_out_for_docker_too(docker: Docker, pushed: str) -> None:
    account = make(docker.stack, "leaver", grants(apps="pull"))
    assert docker.login(account).returncode == 0
    store = docker.stack.store()
    with store.write() as session:
        registry_accounts.disable(session, "leaver", Deed("tests", datetime.now(UTC)))
    store.engine.dispose()
    done = docker.run("pull", docker.image("apps/hello"))
    assert done.returncode != 0
    assert "is disabled" in done.stderr
