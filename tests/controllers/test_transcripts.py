"""The transcripts in ``tests/scenarios/controllers`` are what really happens.

``KONTINUUM_REWRITE_TRANSCRIPTS=1 pytest tests/controllers/test_transcripts.py`` writes what happens now into them: read
the difference before you commit it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.controllers.transcript import play

DIRECTORY = Path(__file__).parent.parent / "scenarios" / "controllers"
REWRITE = os.environ.get("KONTINUUM_REWRITE_TRANSCRIPTS") == "1"


@pytest.mark.parametrize("path", sorted(DIRECTORY.glob("*.txt")), ids=lambda path: path.stem)
def test_the_controllers_do_what_the_transcript_says(path: Path) -> None:
    played = play(path.read_text())
    if REWRITE:
        path.write_text(played)
    assert played == path.read_text()


def test_there_are_transcripts() -> None:
    assert len(list(DIRECTORY.glob("*.txt"))) >= 5
