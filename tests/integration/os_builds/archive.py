"""A real apt archive of a few packages, signed with a key of its own, on loopback."""

import hashlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SUITE = "tiny"
PLACE = f"dists/{SUITE}"
INDEX = "main/binary-amd64/Packages"
# Name to what its control file says beside the usual; the first is all that ?essential finds.
PACKAGES: dict[str, dict[str, str]] = {
    "tiny-base": {"Essential": "yes", "Priority": "required", "Depends": "tiny-lib (>= 1.0)"},
    "tiny-lib": {"Priority": "required"},
    "hello-tool": {"Depends": "tiny-lib, hello-engine | hello-motor"},
    "hello-engine": {"Depends": "tiny-lib"},
    "hello-motor": {"Depends": "tiny-lib"},
    "hello-enemy": {"Conflicts": "hello-tool"},
    "hello-broken": {"Depends": "not-in-any-archive"},
}
DESCRIPTION = "a package of a few bytes\n And not only ASCII ones: naïve"


class Archive:
    """The archive's folder; ``publish`` signs what lies in it now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "gnupg"
        self.www = folder / "www"
        self.keyring = folder / "archive.gpg"
        self.url = ""
        self.published = int(time.time()) - 10_000
        self.requests: list[str] = []
        self.home.mkdir(mode=0o700)
        # apt reads as a user of its own.
        folder.chmod(0o755)
        self._gpg("--quick-gen-key", "Tiny Archive <tiny@archive.test>", "ed25519", "sign", "never")
        self._gpg("--output", str(self.keyring), "--export")
        self.keyring.chmod(0o644)
        (self.www / PLACE / INDEX).parent.mkdir(parents=True)
        (self.www / "pool").mkdir()
        for name, fields in PACKAGES.items():
            self.add(name, "1.0-1", fields)
        self.publish()

    @property
    def index(self) -> Path:
        return self.www / PLACE / INDEX

    @property
    def in_release(self) -> Path:
        return self.www / PLACE / "InRelease"

    def add(self, name: str, version: str, fields: dict[str, str]) -> Path:
        """Build a package, and put its paragraph into the index."""
        control = {
            "Package": name,
            "Version": version,
            "Architecture": "amd64",
            "Maintainer": "Tiny Archive <tiny@archive.test>",
            "Priority": "optional",
            **fields,
            "Description": DESCRIPTION,
        }
        deb = self.www / "pool" / f"{name}_{version}_amd64.deb"
        build_deb(self.folder / "work" / name, control, deb)
        data = deb.read_bytes()
        listed = {
            **control,
            "Description-md5": hashlib.md5(f"{DESCRIPTION}\n".encode()).hexdigest(),
            "X-Kept-As-It-Is": "Yes",
            "Filename": f"pool/{deb.name}",
            "Size": str(len(data)),
            "SHA256": hashlib.sha256(data).hexdigest(),
        }
        with self.index.open("a") as index:
            index.write("".join(f"{key}: {value}\n" for key, value in listed.items()) + "\n")
        return deb

    def publish(self, valid: timedelta = timedelta(days=7)) -> None:
        """Sign the index, for as long as ``valid`` from now; a negative time has run out."""
        data = self.index.read_bytes()
        now = datetime.now(UTC)
        made, until = (
            f"{moment:%a, %d %b %Y %H:%M:%S} UTC"
            for moment in (now - timedelta(days=9), now + valid)
        )
        release = self.folder / "Release"
        release.write_text(
            f"Origin: Tiny\nSuite: {SUITE}\nCodename: {SUITE}\nDate: {made}\nValid-Until: {until}\n"
            f"Architectures: amd64\nComponents: main\n"
            f"SHA256:\n {hashlib.sha256(data).hexdigest()} {len(data)} {INDEX}\n"
        )
        self.in_release.unlink(missing_ok=True)
        self._gpg("--output", str(self.in_release), "--clearsign", str(release))
        # HTTP tells seconds: an index that was published twice in one must not look unchanged.
        self.published += 10
        os.utime(self.in_release, (self.published, self.published))
        os.utime(self.index, (self.published, self.published))

    def paragraphs(self) -> dict[str, str]:
        """Package to its paragraph in the index, the newest where there are several."""
        found = self.index.read_text().split("\n\n")
        return {text.split("\n")[0].removeprefix("Package: "): text for text in found if text}

    def _gpg(self, *words: str) -> None:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--passphrase", "", *words]
        subprocess.run(command, check=True, capture_output=True)

    def close(self) -> None:
        """End the agent that gpg left."""
        command = ["gpgconf", "--homedir", str(self.home), "--kill", "all"]
        subprocess.run(command, check=True, capture_output=True)


def build_deb(work: Path, control: dict[str, str], target: Path) -> None:
    (work / "DEBIAN").mkdir(parents=True, exist_ok=True)
    text = "".join(f"{key}: {value}\n" for key, value in control.items())
    (work / "DEBIAN/control").write_text(text)
    command = ["dpkg-deb", "--root-owner-group", "--build", str(work), str(target)]
    subprocess.run(command, check=True, capture_output=True)


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *given: object, archive: Archive) -> None:
        self.archive = archive
        super().__init__(*given, directory=str(archive.www))  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.archive.requests.append(self.path)
        super().do_GET()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """With the usual words of a code, as mirrors do."""
        super().send_error(code, None, explain)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """The tests read ``requests``."""


@contextmanager
def served(archive: Archive) -> Iterator[Archive]:
    """Answer for the archive while the block lasts."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, archive=archive)) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        archive.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield archive
        finally:
            server.shutdown()
            thread.join()
