"""Addresses in settings are checked where they are written, and taken ones are told before anything starts."""

from __future__ import annotations

import socket

import pytest

from kontinuum.foundation.addresses import AddressTaken, check_network, listening_at, split_listen, try_listen


@pytest.mark.parametrize(
    ("listen", "expected"),
    [("127.0.0.1:6443", ("127.0.0.1", 6443)), ("[::1]:0", ("::1", 0)), (":6443", ("", 6443))],
)
def test_addresses_are_host_and_port(listen: str, expected: tuple[str, int]) -> None:
    assert split_listen(listen) == expected


@pytest.mark.parametrize("listen", ["", "localhost", "localhost:", "localhost:http", "localhost:70000"])
def test_other_addresses_are_refused(listen: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        split_listen(listen)


@pytest.mark.parametrize("network", ["", "banana", "10.0.0.0/33", "10.0.0.7/24"])
def test_a_network_has_no_host_bits(network: str) -> None:
    check_network("pod_cidr", "10.0.0.0/24")
    with pytest.raises(ValueError, match=r"pod_cidr: .* is not a network"):
        check_network("pod_cidr", network)


def test_an_address_is_taken_while_somebody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(AddressTaken, match=f"{listen}: Address already in use"):
            try_listen(listen)
    try_listen(listen)


def test_a_name_that_cannot_be_resolved_is_said_in_the_resolvers_words() -> None:
    with pytest.raises(AddressTaken, match=r"nowhere:1: .*not known"), listening_at("nowhere:1"):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_a_host_that_nobody_knows_is_no_address_of_ours() -> None:
    with pytest.raises(AddressTaken, match=r"192\.0\.2\.1:0: Cannot assign requested address"):
        try_listen("192.0.2.1:0")
