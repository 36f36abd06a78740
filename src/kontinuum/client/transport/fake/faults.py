"""What can be made to go wrong between one caller and the fake API server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kontinuum.api.machinery.status import ApiError, internal_error
from kontinuum.client.errors import Unreachable
from kontinuum.client.transport.port import Request


@dataclass(slots=True)
class Faults:
    """One caller's faults; all of them are off until a test sets them."""

    down: bool = False
    """Nothing is answered."""
    delay: float = 0.001
    """Seconds before each request is looked at: over a network nothing is answered at once."""
    errors: dict[int, ApiError] = field(default_factory=dict)
    """The n-th write (from 1) is refused with this error and not carried out."""
    lost: set[int] = field(default_factory=set)
    """The n-th write (from 1) is carried out, but its answer is lost."""
    refuse: Callable[[Request], ApiError | None] = lambda request: None
    """Asked before every request; an error it returns is the answer."""
    after_write: Callable[[int, Request], None] = lambda number, request: None
    """Told of every write that was carried out, with its number (from 1)."""
    writes: list[Request] = field(default_factory=list)
    """Every write that was asked for, in order."""

    def fail_write(self, number: int, error: ApiError | None = None) -> None:
        """Refuse the ``number``-th write from now (1 is the next one)."""
        self.errors[len(self.writes) + number] = error or internal_error("a fault was injected")

    def lose_answer(self, number: int) -> None:
        """Carry out the ``number``-th write from now, but lose its answer."""
        self.lost.add(len(self.writes) + number)

    def check(self, request: Request) -> None:
        """Raises what the caller is to feel instead of the request being carried out."""
        if self.down:
            raise Unreachable("talking to the fake API server: it is down")
        if request.is_write:
            self.writes.append(request)
            if error := self.errors.get(len(self.writes)):
                raise error
        if error := self.refuse(request):
            raise error

    def check_answer(self, request: Request, number: int) -> None:
        """Raises Unreachable if the answer to this carried-out write is to be lost."""
        if not request.is_write:
            return
        self.after_write(number, request)
        if number in self.lost:
            raise Unreachable("talking to the fake API server: the connection was cut before the answer")
