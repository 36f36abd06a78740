"""Logs of the node itself (KEP-2258): files below /var/log, and what its services say.

?query=kubelet&tailLines=20&pattern=evict      our own parts: kubelet (node), containerd, network, server, shim
?query=ssh&sinceTime=2026-01-02T03:04:05Z      any other: the journal where there is one, else a file in /var/log
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from kontinuum.foundation import process
from kontinuum.foundation.clock import parse_rfc3339
from kontinuum.foundation.errors import Refused

SYSTEM = Path("/var/log")
ALIASES = {"kubelet": "node", "kube-proxy": "network"}
OPTIONS = ("query", "boot", "pattern", "sinceTime", "untilTime", "tailLines")
MOST_LINES = 100_000
SECONDS = 30.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9@:._-]*\Z")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9@:._/-]*\Z")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")


class BadQuery(Refused):
    """The question makes no sense; answered with 400."""


class NoSuchLog(Refused):
    """There is no such file or service; answered with 404."""


@dataclass(frozen=True, slots=True)
class Query:
    """``since`` and ``until`` are in seconds since the epoch; ``boot`` counts from this one (0) backwards."""

    of_what: str
    boot: int | None = None
    pattern: str = ""
    since: float | None = None
    until: float | None = None
    tail: int | None = None

    @staticmethod
    def of(asked: Mapping[str, str]) -> Query:
        """Raises BadQuery, its message in the kubelet's words where it has some."""
        for name in asked:
            if name not in OPTIONS:
                raise BadQuery(f"{name}: there is no such option; there are {', '.join(OPTIONS)}")
        what = asked["query"]
        if not _FILE.match(what) or ".." in what:
            raise BadQuery(f'query: "{what}" is neither a service\'s name nor a file below {SYSTEM}')
        try:
            re.compile(asked.get("pattern", ""))
        except re.error as error:
            raise BadQuery(f"pattern: {error}") from error
        try:
            boot = int(asked["boot"]) if asked.get("boot") else None
            tail = int(asked["tailLines"]) if asked.get("tailLines") else None
            since, until = (parse_rfc3339(asked[one]) if asked.get(one) else None for one in ("sinceTime", "untilTime"))
        except ValueError as error:
            raise BadQuery(f"reading the options: {error}") from error
        if boot is not None and boot > 0:
            raise BadQuery("boot: must be less than 1")
        if tail is not None and not 0 <= tail <= MOST_LINES:
            raise BadQuery(f"tailLines: must be between 0 and {MOST_LINES:,}, inclusive")
        if since is not None and until is not None and since > until:
            raise BadQuery("untilTime: must be after `sinceTime`")
        return Query(what, boot, asked.get("pattern", ""), since, until, tail)


def place_of(path: str) -> Path:
    """The file or directory below /var/log. Raises NoSuchLog, for one that leads elsewhere, too."""
    place = (SYSTEM / path.lstrip("/")).resolve()
    if not (place.exists() and place.is_relative_to(SYSTEM.resolve())):
        raise NoSuchLog(f"there is no {SYSTEM / path}")
    return place


async def query(own: Path, asked: Query) -> bytes:
    """``own`` is the directory of our own parts' logs. Raises NoSuchLog, BadQuery, process.ProgramFailed."""
    name = ALIASES.get(asked.of_what, asked.of_what)
    for place in (own / f"{name}.log", *_candidates(asked.of_what)):
        if place.is_file():
            if asked.boot not in (None, 0):
                raise BadQuery("boot: only the journal knows of earlier boots")
            return await asyncio.to_thread(_of_file, place, asked)
    program = process.find_program("journalctl")
    if program is None or not _NAME.match(asked.of_what):
        raise NoSuchLog(f"there is no log of {asked.of_what}")
    return (await process.run(str(program), *_journal(asked), timeout=SECONDS)).stdout


def _candidates(name: str) -> list[Path]:
    places = (SYSTEM / name, SYSTEM / f"{name}.log", SYSTEM / name / f"{name}.log", SYSTEM / name / f"{name}.INFO")
    return [one for one in places if one.resolve().is_relative_to(SYSTEM.resolve())]


def _journal(asked: Query) -> list[str]:
    arguments = ["--utc", "--no-pager", "--output=short-precise", f"--unit={asked.of_what}"]
    if asked.since is not None:
        arguments.append(f"--since={_for_journal(asked.since)}")
    if asked.until is not None:
        arguments.append(f"--until={_for_journal(asked.until)}")
    if asked.tail is not None:
        arguments.append(f"--lines={asked.tail}")
    if asked.boot is not None:
        arguments.append(f"--boot={asked.boot}")
    if asked.pattern:
        arguments.append(f"--grep={asked.pattern}")
    return arguments


def _for_journal(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _of_file(place: Path, asked: Query) -> bytes:
    """Lines without a time of their own belong to the line before them."""
    kept: list[bytes] = []
    is_within = asked.since is None
    pattern = re.compile(asked.pattern.encode())
    with place.open("rb") as file:
        for line in file:
            moment = _MOMENT.search(line[:200].decode(errors="replace"))
            if moment and not (asked.since is None and asked.until is None):
                at = parse_rfc3339(moment[0])
                is_within = (asked.since is None or at >= asked.since) and (asked.until is None or at <= asked.until)
            if is_within and pattern.search(line):
                kept.append(line)
                if asked.tail is not None and len(kept) > asked.tail:
                    del kept[0]
    return b"".join(kept)
