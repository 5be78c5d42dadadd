from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fleetwide.models.bakes import BaseImage
from fleetwide.providers.base_cache import BaseCache
from fleetwide.providers.distribution import RegistryClient

pytestmark = pytest.mark.integration


def test_a_base_is_fetched_once_by_many_at_a_time(
    base: BaseImage, client: RegistryClient, tmp_path: Path
) -> None:
    phrases: list[str] = []

    def fetch(_number: int) -> Path:
        caches = BaseCache(tmp_path, client)
        return caches.rootfs(base, lambda phrase, _fraction: phrases.append(phrase))

    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(fetch, range(4)))
    (ready,) = found
    assert (ready / "var/lib/dpkg/status").is_file()
    assert [one.name for one in tmp_path.iterdir() if one.is_dir()] == [ready.name]
    assert phrases.count("unpacking the base") >= 1


class Cancelled(Exception):
    pass


def test_a_cancelled_fetch_leaves_no_part_of_a_base(
    base: BaseImage, client: RegistryClient, tmp_path: Path
) -> None:
    def stop(phrase: str, _fraction: float | None) -> None:
        if phrase == "unpacking the base":
            raise Cancelled

    with pytest.raises(Cancelled):
        BaseCache(tmp_path, client).rootfs(base, stop)
    assert [one for one in tmp_path.iterdir() if one.is_dir()] == []
