"""Logs are one JSON object a line, from us and from libraries; metrics are made once."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from kontinuum.foundation import telemetry


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield io.StringIO()
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.root.handlers[:], logging.root.level = handlers, level


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_line_says_who_when_and_what(stream: io.StringIO) -> None:
    telemetry.configure_logs(component="server", stream=stream)
    structlog.get_logger("x").info("it happened", pod="a", odd=object)
    structlog.get_logger("x").debug("too quiet")
    logging.getLogger("library").error("it %s", "broke")
    ours, theirs = lines(stream)
    assert ours["event"] == "it happened"
    assert (ours["component"], ours["level"], ours["pod"]) == ("server", "info", "a")
    assert str(ours["time"]).endswith("Z")
    assert (theirs["event"], theirs["logger"], theirs["level"]) == ("it broke", "library", "error")


def test_an_exception_stays_on_its_line(stream: io.StringIO) -> None:
    telemetry.configure_logs(component="server", stream=stream)
    try:
        raise ValueError("why")
    except ValueError:
        structlog.get_logger("x").exception("it failed")
    [line] = lines(stream)
    assert "ValueError: why" in str(line["exception"])


def test_a_metric_is_made_once_and_shown() -> None:
    telemetry.counter("kontinuum_test_total", "A test.", ["kind"]).labels("a").inc()
    telemetry.counter("kontinuum_test_total", "A test.", ["kind"]).labels("a").inc(2)
    body, content_type = telemetry.render()
    assert b'kontinuum_test_total{kind="a"} 3.0' in body
    assert content_type.startswith("text/plain")
    with pytest.raises(ValueError, match="was made as a Counter"):
        telemetry.gauge("kontinuum_test_total", "A test.")
