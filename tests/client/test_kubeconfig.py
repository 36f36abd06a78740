"""A kubeconfig is read as kubectl reads it, and what cannot be used is refused by name."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from typing import Any

import pytest
import yaml

from kontinuum.client.errors import BadKubeconfig
from kontinuum.client.kubeconfig import Connection, load
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.pki import Authority


def write(directory: Path, user: dict[str, Any], cluster: dict[str, Any] | None = None, **context: str) -> Path:
    path = directory / "kubeconfig"
    config = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", **context}}],
        "clusters": [{"name": "c", "cluster": cluster or {"server": "https://host:6443/"}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


def test_inline_data_wins_over_files_and_files_are_relative_to_the_kubeconfig(tmp_path: Path) -> None:
    cluster = {"server": "https://host", "certificate-authority": "pki/ca.crt"}
    inline = base64.b64encode(b"PEM").decode()
    user = {"client-certificate": "other.crt", "client-certificate-data": inline, "client-key": "/abs/key"}
    connection = load(write(tmp_path, user, cluster, namespace="mine"))
    assert connection.certificate_authority == tmp_path / "pki/ca.crt"
    assert connection.client_certificate == b"PEM"
    assert connection.client_key == Path("/abs/key")
    assert connection.namespace == "mine"


def test_a_trailing_slash_of_the_server_and_a_missing_namespace_are_no_matter(tmp_path: Path) -> None:
    connection = load(write(tmp_path, {"token": "secret"}))
    assert (connection.server, connection.namespace, connection.token) == ("https://host:6443", "default", "secret")


def test_secrets_are_not_shown_when_a_connection_is_printed(tmp_path: Path) -> None:
    user = {"token": "secret-token", "client-key-data": base64.b64encode(b"secret-key").decode()}
    assert "secret" not in repr(load(write(tmp_path, user)))


@pytest.mark.parametrize("is_inline", [True, False])
def test_only_the_authority_that_is_named_is_trusted(tmp_path: Path, is_inline: bool) -> None:
    file = Authority.ensure(tmp_path / "pki", RealClock(), name="ours").certificate
    named = file.read_bytes() if is_inline else file
    context = Connection("https://host", certificate_authority=named).tls_context()
    assert isinstance(context, ssl.SSLContext)
    [trusted] = context.get_ca_certs()
    assert "ours-ca@" in str(trusted["subject"])


@pytest.mark.parametrize(
    ("user", "problem"),
    [
        ({"exec": {"command": "x"}}, "authenticates by exec"),
        ({"username": "a", "password": "b"}, "authenticates by username"),
        ({"client-key-data": "%%%"}, "client-key-data in the kubeconfig"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(tmp_path: Path, user: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadKubeconfig, match=problem):
        load(write(tmp_path, user))


def test_names_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadKubeconfig, match='no context named "away"'):
        load(write(tmp_path, {}), context="away")
    with pytest.raises(BadKubeconfig, match="reading the kubeconfig"):
        load(tmp_path / "absent")
    (tmp_path / "empty").write_text("")
    with pytest.raises(BadKubeconfig, match="not a mapping"):
        load(tmp_path / "empty")
