"""Each part has a token for the API server's socket: its own, the same for as long as the machine runs."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from kontinuum.apiserver.authn.tokens import TokenFile
from kontinuum.cli import assemble
from kontinuum.cli import settings as composing
from kontinuum.cli.identities import Identity, NoToken, ensure_tokens, identities, token_of
from kontinuum.cli.installation import Installation

ADMIN, SCHEDULER = Identity("kubernetes-admin", ("system:masters", "ops")), Identity("system:kube-scheduler")


def test_the_server_reads_what_is_written_for_the_parts(tmp_path: Path) -> None:
    file = tmp_path / "tokens.csv"
    ensure_tokens(file, [ADMIN, SCHEDULER])
    assert file.stat().st_mode & 0o777 == 0o600
    known = TokenFile.load(file)
    for one in (ADMIN, SCHEDULER):
        user = known.user_of(token_of(file, one))
        assert user is not None
        assert (user.name, user.groups, user.uid) == (one.user, (*one.groups, "system:authenticated"), "")


def test_a_token_stays_while_its_part_has_the_same_name(tmp_path: Path) -> None:
    file = tmp_path / "tokens.csv"
    ensure_tokens(file, [ADMIN, Identity("system:node:old", ("system:nodes",))])
    admins, old = token_of(file, ADMIN), token_of(file, Identity("system:node:old"))
    ensure_tokens(file, [ADMIN, Identity("system:node:new", ("system:nodes",))])
    assert token_of(file, ADMIN) == admins
    assert old not in file.read_text()
    assert len({admins, old, token_of(file, Identity("system:node:new"))}) == 3
    assert file.stat().st_mode & 0o777 == 0o600


def test_parts_that_are_prepared_at_once_agree(tmp_path: Path) -> None:
    file, begin, seen = tmp_path / "tokens.csv", threading.Barrier(8), list[str]()

    def prepare() -> None:
        begin.wait()
        ensure_tokens(file, [ADMIN, SCHEDULER])
        seen.append(file.read_text())

    threads = [threading.Thread(target=prepare) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(seen) == 8 and len(set(seen)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["tokens.csv"]


def test_without_a_token_it_is_said_which_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "tokens.csv"
    with pytest.raises(NoToken, match=r"tokens\.csv: there is no token for system:kube-scheduler"):
        token_of(file, SCHEDULER)
    ensure_tokens(file, [ADMIN])
    with pytest.raises(NoToken, match="no token for system:kube-scheduler"):
        token_of(file, SCHEDULER)


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is usually in /run lies in the data directory."""
    monkeypatch.setattr(Installation, "run", property(lambda self: self.data))


def prepared(data: Path, **environment: str) -> composing.Settings:
    settings = composing.load(data_dir=data, environment=environment)
    assert settings.server.socket_tokens is not None
    ensure_tokens(settings.server.socket_tokens, identities(settings).values())
    return settings


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("part", ["controllers", "scheduler", "network", "node"])
def test_parts_speak_to_the_server_beside_them_by_its_socket(tmp_path: Path, part: str) -> None:
    settings = prepared(tmp_path)
    found = assemble.connection_of(settings, part)
    assert found.socket == settings.server.socket == settings.installation.api_socket
    assert found.token == token_of(settings.installation.api_tokens, identities(settings)[part])
    assert found.server == settings.api_address
    assert found.client_certificate is None


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize(
    ("part", "environment"),
    [
        ("node", {"KONTINUUM_MEMBER_OF": "https://10.0.0.1:6443"}),
        ("controllers", {"KONTINUUM_API_ADDRESS": "https://balanced.example.com:6443"}),
        ("admin", {}),
    ],
)
def test_whoever_may_meet_another_server_shows_a_certificate(
    tmp_path: Path, part: str, environment: dict[str, str]
) -> None:
    found = assemble.connection_of(prepared(tmp_path, **environment), part)
    assert (found.socket, found.token) == (None, "")
    assert found.client_certificate == tmp_path / "pki" / f"{part}.crt"
