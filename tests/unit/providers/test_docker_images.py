import json

import pytest

from fleetwide.errors import ImageNotFound, ImagePullFailed
from fleetwide.models.hosts import PullProgress
from fleetwide.providers.docker_images import consume_pull, pull_failure


def lines(*messages: dict[str, object]) -> list[bytes]:
    return [json.dumps(message).encode() for message in messages]


def test_progress_adds_up_the_layers() -> None:
    seen: list[PullProgress] = []

    def note(progress: PullProgress) -> bool:
        seen.append(progress)
        return True

    answer = lines(
        {"status": "Pulling from x", "id": "sha256:1"},
        {"status": "Pulling fs layer", "id": "a"},
        {"status": "Already exists", "id": "b"},
        {"status": "Downloading", "id": "a", "progressDetail": {"current": 3, "total": 10}},
        {"status": "Download complete", "id": "a"},
    )
    consume_pull("i", iter(answer), note)
    assert seen[3] == PullProgress(layers=2, layers_done=1, bytes_done=3, bytes_total=10)
    assert seen[-1] == PullProgress(layers=2, layers_done=2, bytes_done=10, bytes_total=10)


def test_a_pull_is_given_up_when_told() -> None:
    answer = iter(lines({"status": "x"}, {"status": "y"}))
    consume_pull("i", answer, lambda _: False)
    assert len(list(answer)) == 1


def test_errors_amid_the_pull() -> None:
    with pytest.raises(ImagePullFailed, match="connection reset"):
        consume_pull("i", iter(lines({"error": "connection reset"})), lambda _: True)


@pytest.mark.parametrize(
    "said",
    [
        "manifest for 127.0.0.1:1/x@sha256:0 not found: manifest unknown: manifest unknown",
        "pull access denied for x, repository does not exist or may require 'docker login'",
        "name unknown: repository name not known to registry",
    ],
)
def test_a_missing_image_is_told_from_a_failed_pull(said: str) -> None:
    assert isinstance(pull_failure("i", said), ImageNotFound)
    assert isinstance(pull_failure("i", "dial tcp: connection refused"), ImagePullFailed)
