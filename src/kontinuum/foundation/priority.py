"""Who is served first where processors are short: those that everybody else waits for, a millisecond at a time."""

from __future__ import annotations

import os

import structlog

log = structlog.get_logger(__name__)

FORWARD = -10
"""Nine times the share of a process of no priority (sched(7)); what has nothing to do takes none of it."""


def step_forward(otherwise: str) -> None:
    """Put the calling thread, and the threads that it starts from now on, before those of other processes.

    Only a privileged process may (setpriority(2)); the log says then what comes of it, in the words of ``otherwise``.
    """
    try:
        os.setpriority(os.PRIO_PROCESS, 0, FORWARD)
    except PermissionError as error:
        log.info(otherwise, error=str(error))
