"""Tells on the Node what the runtime had to do without: templates of machines that were found damaged.

The runtime knows no Kubernetes. It leaves word in ``discarded`` below its templates, a file for each (its name the
template's, its content the reason); what has been told is taken away.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from kontinuum.foundation.clock import Clock

log = structlog.get_logger(__name__)

LOOK_SECONDS = 10.0
DISCARDED = "discarded"
REASON = "TemplateDiscarded"

Tell = Callable[[str, str, str], None]
"""Records an event of the node: type, reason, message."""


class _RuntimeConfig(msgspec.Struct):
    """Of the runtime's configuration, what matters here."""

    templates_dir: str = ""


def tell_news(runtime_config: Path, tell: Tell) -> None:
    """Tell of every template that was discarded since the last time. Raises OSError and MsgspecError."""
    templates = msgspec.json.decode(runtime_config.read_bytes(), type=_RuntimeConfig).templates_dir
    place = Path(templates) / DISCARDED
    for note in sorted(place.iterdir()) if templates and place.is_dir() else ():
        why = note.read_text()
        tell("Warning", REASON, f"Discarded microVM template {note.name}: {why}; pods boot cold until it is made again")
        note.unlink()


async def follow(runtime_config: Path, clock: Clock, tell: Tell) -> None:
    """Until cancelled."""
    while True:
        try:
            tell_news(runtime_config, tell)
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("it cannot be told which templates were discarded", error=str(error))
        await clock.sleep(LOOK_SECONDS)
