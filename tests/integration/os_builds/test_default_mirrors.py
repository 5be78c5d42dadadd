"""Real mmdebstrap, no network: where it would take a suite's packages from."""

from pathlib import Path

import pytest

from fleetwide.errors import PlatformError
from fleetwide.models.baseos import Architecture
from fleetwide.providers.default_mirrors import default_mirrors

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("suite", ["bookworm", "trixie", "noble"])
def test_a_living_suite_has_a_mirror_and_a_security_mirror(suite: str) -> None:
    found = default_mirrors(suite, Architecture.AMD64)
    assert found.main is not None
    assert found.main.startswith("http")
    assert "security" in (found.security or "")


def test_a_rolling_suite_has_no_security_mirror() -> None:
    found = default_mirrors("sid", Architecture.AMD64)
    assert found.main == default_mirrors("bookworm", Architecture.AMD64).main
    assert found.security is None


def test_ubuntu_s_other_architectures_lie_elsewhere() -> None:
    amd64, arm64 = (default_mirrors("noble", one) for one in Architecture)
    assert arm64.main is not None
    assert arm64.main != amd64.main


def test_a_builder_without_mmdebstrap_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PlatformError, match="does not tell where jammy lies") as caught:
        default_mirrors.__wrapped__("jammy", Architecture.AMD64)
    assert "FLEETWIDE_APT_MIRROR" in (caught.value.hint or "")
