"""What people write after ``kontinuum image build`` means what it says, or is refused by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kontinuum.cli.commands import image
from kontinuum.cli.commands.image import BadOption


def test_options_become_an_images_configuration() -> None:
    made = image.image_config(
        entrypoint="/bin/app --loud 'two words'", command='["a", "b c"]', environment=["PATH=/bin", "X=1=2"],
        user="10:20", workdir="/srv", labels=["a.b=c"], ports=["80", "53/udp"], volumes=["/data"],
        stop_signal="SIGQUIT",
    )  # fmt: skip
    assert made.as_json() == {
        "Entrypoint": ["/bin/app", "--loud", "two words"], "Cmd": ["a", "b c"], "Env": ["PATH=/bin", "X=1=2"],
        "WorkingDir": "/srv", "User": "10:20", "StopSignal": "SIGQUIT", "Volumes": {"/data": {}},
        "ExposedPorts": {"53/udp": {}, "80/tcp": {}}, "Labels": {"a.b": "c"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: image.words_of("--cmd", "'open"), "--cmd 'open"), (lambda: image.words_of("--cmd", "[1]"), "strings"),
        (lambda: image.words_of("--cmd", "["), r"--cmd \["), (lambda: image.port_of("0"), "--port 0"),
        (lambda: image.port_of("80/http"), "--port 80/http"),
        (lambda: image.pairs("--env", ["X"]), "--env X: write NAME"),
        (lambda: image.pairs("--label", ["=x"]), "--label =x"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_by_its_name(wrong: Callable[[], object], words: str) -> None:
    with pytest.raises(BadOption, match=words):
        wrong()


def test_sizes_are_shown_as_docker_shows_them() -> None:
    shown = [image.megabytes(size) for size in (0, 999, 4070, 1_150_000, 10_460_000, 2_500_000_000)]
    assert shown == ["0B", "999B", "4.07kB", "1.15MB", "10.5MB", "2.5GB"]
