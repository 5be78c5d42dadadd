"""The file of upstreams: what a refusal and a kill leave behind, and a real nginx under load."""

from pathlib import Path

import pytest

from fleetwide.errors import InvalidInput, ServiceUnavailable
from fleetwide.providers.nginx_targets import NginxUpstreams
from fleetwide.services.upstreams import names_in
from tests.api.harness import wait_until
from tests.http_servers import server
from tests.nginx_load import Load, ending, real_nginx, status

ONE, TWO = ("127.0.0.1", 20_001), ("127.0.0.1", 20_002)


class Scripted:
    """An nginx of two commands, which refuse what they are told to; each run leaves a line."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "etc/upstreams.conf"
        test, reload = self._script("test"), self._script("reload")
        self.upstreams = NginxUpstreams(self.file, test, reload, folder / "pid")

    def _script(self, name: str) -> str:
        path = self.folder / name
        path.write_text(
            f"echo {name} >> {self.folder}/log\n"
            f"test ! -e {self.folder}/no-{name} || {{ echo '[emerg] no {name}' >&2; exit 1; }}\n"
        )
        return f"sh {path}"

    def refuse(self, name: str, *, refuses: bool = True) -> None:
        mark = self.folder / f"no-{name}"
        mark.touch() if refuses else mark.unlink()

    def ran(self) -> list[str]:
        """The commands since the last call."""
        log = self.folder / "log"
        lines = log.read_text().split() if log.exists() else []
        log.write_text("")
        return lines


@pytest.fixture
def nginx(tmp_path: Path) -> Scripted:
    return Scripted(tmp_path)


def test_nginx_is_told_of_changes_alone(nginx: Scripted) -> None:
    assert nginx.upstreams.put({"web": [ONE, TWO]})
    assert nginx.ran() == ["test", "reload"]
    assert not nginx.upstreams.put({"web": [TWO, ONE]})
    assert nginx.ran() == []
    nginx.file.write_text("# an operator was here\n")
    assert nginx.upstreams.put({"web": [ONE, TWO]})
    assert nginx.upstreams.put({})
    # nginx's own configuration may still name it.
    assert names_in(nginx.file.read_text()) == {"web"}
    assert nginx.file.read_text().count("server ") == 1


def test_a_file_that_is_refused_is_taken_back(nginx: Scripted) -> None:
    nginx.upstreams.put({"web": [ONE]})
    before = nginx.file.read_bytes()
    nginx.refuse("test")
    with pytest.raises(ServiceUnavailable, match=r"refused the upstreams .*\[emerg\] no test"):
        nginx.upstreams.put({"web": [TWO]})
    assert nginx.file.read_bytes() == before
    with pytest.raises(InvalidInput):
        nginx.upstreams.put({"web": [("10.0.0.1; evil", 80)]})
    assert nginx.file.read_bytes() == before


def test_what_was_written_and_not_loaded_is_loaded_by_the_next_one(
    nginx: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    nginx.refuse("reload")
    with pytest.raises(ServiceUnavailable, match="could not be told"):
        nginx.upstreams.put({"web": [ONE]})
    nginx.refuse("reload", refuses=False)
    nginx.ran()
    assert nginx.upstreams.put({"web": [ONE]})
    assert nginx.ran() == ["test", "reload"]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(NginxUpstreams, "_check", killed)
        nginx.upstreams.put({"web": [TWO]})
    # It was written and never tested: the next one loads it, or goes back to what nginx has.
    nginx.refuse("test")
    with pytest.raises(ServiceUnavailable):
        nginx.upstreams.put({"web": [TWO]})
    assert "20001" in nginx.file.read_text()
    nginx.refuse("test", refuses=False)
    assert nginx.upstreams.put({"web": [TWO]})
    assert "20002" in nginx.file.read_text()


def test_two_schedulers_take_turns_and_a_program_that_is_missing_is_told(nginx: Scripted) -> None:
    nginx.upstreams.put({})
    with nginx.upstreams._alone(), pytest.raises(ServiceUnavailable, match="cannot be written"):
        nginx.upstreams.put({"web": [ONE]})
    gone = NginxUpstreams(nginx.file, "/no/such/nginx -t", "true", nginx.folder / "pid")
    with pytest.raises(ServiceUnavailable, match="No such file"):
        gone.put({"web": [ONE]})


def test_a_real_nginx_loses_no_request_while_servers_come_and_go(tmp_path: Path) -> None:
    with real_nginx(tmp_path) as upstreams, server() as stays:
        assert status(tmp_path) == 502
        upstreams.put({"web": [stays]})
        load = Load(tmp_path / "door")
        try:
            for _ in range(2):
                with server() as comes:
                    upstreams.put({"web": [stays, comes]})
                    load.only(stays, comes)
                    upstreams.put({"web": [comes]})
                    load.only(comes)
                    upstreams.put({"web": [stays]})
                    # Old processes end with the last request that they took: the drain.
                    wait_until(lambda: not ending(tmp_path), "no request is left behind")
                load.only(stays)
        finally:
            load.end()
        assert load.failures == []
        upstreams.put({"web": []})
        assert status(tmp_path) == 502
