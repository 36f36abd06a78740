"""The real packet filter, in a network namespace of its own, takes what we say and tells what it has learned."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kontinuum.node.filter_sample import sample

pytestmark = pytest.mark.machine
LEARNING = """
import asyncio
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.nftables import TransactionRefused
from kontinuum.node.filter_table import FilterTable
from kontinuum.node.ruleset import Fragment, Frame, Ruleset, Set

kinds = "flags dynamic,timeout; size 100;"
own = Fragment(sets={
    "clients4": Set("map", f"type ipv4_addr : ipv4_addr . inet_service; {kinds}",
                    {"10.0.0.1 timeout 1h": "10.0.1.1 . 80", "10.0.0.2 timeout 1h": "10.0.1.2 . 80"}),
    "clients6": Set("map", f"type ipv6_addr : ipv6_addr; {kinds}",
                    {"fd00::1 timeout 1h": "fd01::1", "fd00::2 timeout 1h": "fd01::2"}),
})

async def main():
    ruleset = Ruleset("inet tried", Frame({}, {"entry": ("type filter hook forward priority 0; policy accept;",)}))
    table = FilterTable("inet tried", ruleset, RealClock())
    ruleset.put("one", own)
    await table.replace()
    await table.keep_only("clients4", {"10.0.1.1 . 80"})
    await table.keep_only("clients6", {"fd01::1"})
    for name in ("clients4", "clients6"):
        [found] = [one["map"] for one in table._nftables.list(f"map inet tried {name}") if "map" in one]
        print(name, [key["elem"]["val"] for key, _ in found["elem"]])
    # Somebody removes everything under us: the change is refused, and all of it is written again.
    table._nftables.apply("delete table inet tried")
    print("there", await table._is_there())
    ruleset.put("two", Fragment(chains={"more": ("drop",)}))
    await table.apply()
    print("there", await table._is_there())
    try:
        table._nftables.apply("add rule inet tried entry nonsense")
    except TransactionRefused as error:
        print("refused", "nonsense" in str(error))

asyncio.run(main())
"""


def inside(*command: str, stdin: str = "") -> str:
    """What ``command`` prints in a network namespace of its own."""
    done = subprocess.run(["unshare", "--net", *command], input=stdin, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_kernel_takes_every_sentence_that_we_know() -> None:
    inside("nft", "--file", "-", stdin=sample())


def test_what_packets_have_written_is_forgotten_and_a_table_that_has_gone_comes_back() -> None:
    told = [line for line in inside(sys.executable, "-c", LEARNING).splitlines() if "[warning" not in line]
    assert told == [
        "clients4 ['10.0.0.1']",
        "clients6 ['fd00::1']",
        "there False",
        "there True",
        "refused True",
    ]
