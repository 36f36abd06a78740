"""Where containers' logs lie, and that those of attempts that are gone do not stay."""

from __future__ import annotations

from pathlib import Path

from tests.node.world import pod

from kontinuum.node import log_files
from kontinuum.node.observed import Container, ContainerState, Observed
from kontinuum.node.sandbox_config import log_directory
from kontinuum.node.settings import NodeSettings

POD = pod()
POD["metadata"]["uid"] = "u"


def written(settings: NodeSettings, *names: str) -> Path:
    directory = log_directory(settings, POD)
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("a line")
    return directory


def attempt(name: str, number: int) -> Container:
    return Container(f"id{number}", "s0", name, number, ContainerState.EXITED)


def test_the_usual_installation_has_them_where_every_kubernetes_has_them_and_any_other_to_itself() -> None:
    usual, other = NodeSettings(), NodeSettings(data_dir="/srv/second")
    assert (usual.pod_logs, usual.container_logs) == (Path("/var/log/pods"), Path("/var/log/containers"))
    assert (other.pod_logs, other.container_logs) == (
        Path("/srv/second/logs/pods"),
        Path("/srv/second/logs/containers"),
    )
    assert NodeSettings(pod_logs_dir="/logs/pods").pod_logs == Path("/logs/pods")


def test_logs_go_with_their_attempts_and_links_with_their_logs(tmp_path: Path) -> None:
    settings = NodeSettings(data_dir=str(tmp_path))
    directory = written(
        settings, "app/0.log", "app/0.log.20260101-000000", "app/3.log", "app/4.log", "app/5.log", "b/0.log"
    )
    for number in (0, 3, 4):
        log_files.link(settings, POD, "app", f"id{number}", directory / f"app/{number}.log")
    log_files.prune(settings, POD, directory, Observed.of([], [attempt("app", 3), attempt("app", 4)]))
    left = sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())
    # The fifth is newer than what was seen: it is just being made.
    assert left == ["app/3.log", "app/4.log", "app/5.log", "b/0.log"]
    links = {path.name: path.read_text() for path in settings.container_logs.iterdir()}
    assert links == {"p_default_app-id3.log": "a line", "p_default_app-id4.log": "a line"}


def test_links_of_another_pod_of_the_same_name_stay(tmp_path: Path) -> None:
    settings = NodeSettings(data_dir=str(tmp_path))
    mine = written(settings, "app/0.log")
    theirs = mine.with_name("default_p_v")
    theirs.mkdir()
    for container_id, directory in (("mine", mine), ("theirs", theirs)):
        (directory / "0.log").touch()
        log_files.link(settings, POD, "app", container_id, directory / "0.log")
    log_files.unlink_all(settings, POD, mine)
    assert [path.name for path in settings.container_logs.iterdir()] == ["p_default_app-theirs.log"]


def test_a_pod_runs_where_its_log_cannot_be_linked(tmp_path: Path) -> None:
    (tmp_path / "containers").write_text("not a directory")
    settings = NodeSettings(data_dir=str(tmp_path), pod_logs_dir=str(tmp_path / "pods"))
    directory = written(settings, "app/0.log")
    log_files.link(settings, POD, "app", "id0", directory / "app/0.log")
    assert (directory / "app/0.log").exists()
