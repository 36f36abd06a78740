"""Prometheus' text format, as far as a node needs it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@dataclass(slots=True)
class Family:
    """All samples of one name."""

    name: str
    kind: str
    """``counter``, ``gauge`` or ``histogram``."""
    help: str
    samples: list[str] = field(default_factory=list)

    def add(
        self, value: float, labels: Mapping[str, str] | None = None, *, at: float | None = None, suffix: str = ""
    ) -> None:
        """``at``: when it was so, in seconds since the epoch."""
        pairs = ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in (labels or {}).items())
        moment = "" if at is None else f" {round(at * 1000)}"
        number = repr(value) if isinstance(value, float) else str(value)
        self.samples.append(f"{self.name}{suffix}{f'{{{pairs}}}' if pairs else ''} {number}{moment}")


def text(families: Iterable[Family]) -> str:
    """Families without samples are left out."""
    lines = []
    for family in families:
        if family.samples:
            lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}", *family.samples]
    return "\n".join(lines) + "\n"
