"""The authority issues what is asked for, renews in time, and starts nothing over without need."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography import x509

from kontinuum.foundation.pki import DAY, LIFETIME, Authority, AuthorityBroken, KeyPair


class SetClock:
    """A clock that stands where it was put."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def certificate_of(pair: KeyPair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes())


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def authority(tmp_path: Path, clock: SetClock) -> Authority:
    return Authority.ensure(tmp_path / "pki", clock)


def server(authority: Authority, *hosts: str) -> KeyPair:
    return authority.ensure_server("server", common_name="kube-apiserver", hosts=hosts or ("127.0.0.1", "localhost"))


def test_every_file_is_for_its_owner_alone(authority: Authority) -> None:
    server(authority)
    directory = authority.certificate.parent
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


def test_a_client_carries_user_and_groups(authority: Authority) -> None:
    pair = authority.ensure_client("admin", user="kubernetes-admin", groups=["system:masters", "others"])
    assert certificate_of(pair).subject.rfc4514_string() == "CN=kubernetes-admin,O=others,O=system:masters"


def test_tls_accepts_a_server_for_its_hosts_only(authority: Authority) -> None:
    pair = server(authority, "127.0.0.1", "localhost", "::1")
    names = certificate_of(pair).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)


def test_what_is_good_is_kept_over_a_restart(authority: Authority, tmp_path: Path, clock: SetClock) -> None:
    first = certificate_of(server(authority)).serial_number
    again = Authority.ensure(tmp_path / "pki", clock)
    assert certificate_of(server(again)).serial_number == first


def test_a_certificate_is_renewed_when_a_third_of_its_life_is_left(authority: Authority, clock: SetClock) -> None:
    first = certificate_of(server(authority)).serial_number
    clock.now += LIFETIME * 2 / 3 - DAY
    assert certificate_of(server(authority)).serial_number == first
    assert 0 < authority.renew_after(server(authority)) < 2 * DAY
    clock.now += 2 * DAY
    renewed = server(authority)
    assert certificate_of(renewed).serial_number != first
    assert authority.renew_after(renewed) > LIFETIME / 2


@pytest.mark.parametrize("what", ["other hosts", "lost key", "damaged", "other key"])
def test_what_is_not_as_asked_for_is_issued_again(authority: Authority, what: str) -> None:
    pair = server(authority)
    first = certificate_of(pair).serial_number
    if what == "lost key":
        pair.key.unlink()
    elif what == "damaged":
        pair.certificate.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n")
    elif what == "other key":
        pair.key.write_bytes(authority.ensure_client("other", user="x").key.read_bytes())
    again = server(authority, "10.0.0.1") if what == "other hosts" else server(authority)
    assert certificate_of(again).serial_number != first
    certificate_of(again).verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate.read_bytes()))


def test_a_new_authority_does_not_accept_what_the_old_one_issued(tmp_path: Path, clock: SetClock) -> None:
    old = Authority.ensure(tmp_path / "pki", clock)
    first = certificate_of(server(old)).serial_number
    for name in ("ca.crt", "ca.key"):
        (tmp_path / "pki" / name).unlink()
    clock.now += 1
    assert certificate_of(server(Authority.ensure(tmp_path / "pki", clock))).serial_number != first


def test_an_authority_that_does_not_fit_its_key_is_broken(tmp_path: Path, clock: SetClock) -> None:
    Authority.ensure(tmp_path / "one", clock)
    Authority.ensure(tmp_path / "two", clock)
    (tmp_path / "one" / "ca.key").write_bytes((tmp_path / "two" / "ca.key").read_bytes())
    with pytest.raises(AuthorityBroken, match=r"ca\.key is not the key"):
        Authority.ensure(tmp_path / "one", clock)
    (tmp_path / "one" / "ca.key").unlink()
    with pytest.raises(AuthorityBroken, match="cannot be read"):
        Authority.ensure(tmp_path / "one", clock)
