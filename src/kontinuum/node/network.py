"""What the pods' network needs of the host besides CNI: forwarding, and masquerading of what leaves the cluster."""

from __future__ import annotations

from pathlib import Path

from kontinuum.foundation import process
from kontinuum.node.settings import NodeSettings

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def table(settings: NodeSettings) -> str:
    return f"kontinuum_{settings.instance}"


def ruleset(settings: NodeSettings) -> str:
    """nftables' words for masquerading; applying it again replaces it as one transaction."""
    name = table(settings)
    return f"""add table ip {name}
delete table ip {name}
table ip {name} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {settings.pod_cidr} ip daddr != {{ {settings.cluster_cidr}, 224.0.0.0/4 }} masquerade
  }}
}}
"""


async def prepare(settings: NodeSettings) -> None:
    """Let the host forward packets and masquerade. Raises process.ProgramFailed and OSError."""
    if FORWARDING.read_text().strip() != "1":
        FORWARDING.write_text("1")
    if settings.masquerade:
        await process.run("nft", "-f", "-", stdin=ruleset(settings).encode())


async def remove(settings: NodeSettings) -> None:
    """Take back the rules and the bridge; what is absent is no error."""
    await process.run("nft", "delete", "table", "ip", table(settings), check=False)
    await process.run("ip", "link", "delete", settings.bridge_name, check=False)
