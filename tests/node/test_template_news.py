"""A template that was found damaged is told on the Node, once, by whatever the runtime left word of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from kontinuum.node import template_news
from kontinuum.runtime.vmm.templates import Templates


@dataclass(frozen=True)
class Size:
    memory_bytes: int = 128 << 20
    cpus: int = 1
    kind: str = "any"


HARDWARE = Size()


def test_a_discarded_template_is_told_once(tmp_path: Path) -> None:
    config, told = tmp_path / "runtime.json", list[tuple[str, str, str]]()

    def tell(kind: str, reason: str, message: str) -> None:
        told.append((kind, reason, message))

    config.write_text(json.dumps({"templates_dir": str(tmp_path / "templates"), "run_dir": "/run"}))
    template_news.tell_news(config, tell)
    assert told == []
    templates = Templates(tmp_path / "templates", guest_version="g", vmm_version="q")
    with templates.making(HARDWARE) as template:
        template.memory.write_bytes(b"m")
        template.state.write_bytes(b"s")
        template.seal()
    found = templates.find(HARDWARE)
    assert found is not None
    found.state.chmod(0o600)
    found.state.write_bytes(b"damaged")
    for _ in range(2):
        assert templates.find(HARDWARE) is None
        template_news.tell_news(config, tell)
    [(kind, reason, message)] = told
    assert (kind, reason) == ("Warning", "TemplateDiscarded")
    assert found.directory.name in message
    assert "its files are not what they were when it was finished; pods boot cold" in message
