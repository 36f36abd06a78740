"""The loops behind the macros: ``all``, ``exists``, ``map`` ... over lists and maps.

cel-go rewrites each macro into one general loop with an accumulator; what that costs per element is charged here
without going through it: e.g. for ``all`` two for the loop's condition, one for the accumulator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from kontinuum.api.machinery.cel.errors import CostExceeded, EvaluationError, no_such_overload

if TYPE_CHECKING:
    from kontinuum.api.machinery.cel.programs import Frame, Step

# macro: cost before the loop and of its result; cost of each element that counts; of each that does not
COSTS = {
    "all": (1, 3, 3),
    "exists": (1, 4, 4),
    "existsOne": (2, 2, 1),
    "filter": (11, 13, 1),
    "map": (11, 12, 1),
    "transformList": (11, 12, 1),
    "transformMap": (31, 3, 1),
    "transformMapEntry": (31, 2, 1),
}


def fold(macro: str, over: Step, places: tuple[int, ...], condition: Step | None, body: Step | None) -> Step:
    """``places`` are where the macro's variables live in a frame."""
    base, counted, skipped = COSTS[macro]
    elements = _pairs(over, places) if len(places) == 2 else _singles(over, places[0])
    if condition is not None and macro in ("all", "exists"):
        return _quantified(elements, condition, base, counted, decisive=macro == "exists")
    if condition is not None and macro == "existsOne":
        return _exactly_one(elements, condition, base, counted, skipped)
    chosen = _chosen(elements, condition, counted, skipped)
    if macro == "filter" or body is None:
        return _kept(chosen, base)
    if macro == "transformMap":
        return _keyed(chosen, body, places[0], base)
    if macro == "transformMapEntry":
        return _entered(chosen, body, base)
    return _mapped(chosen, body, base)


Elements = Callable[["Frame"], Iterator[Any]]


def _singles(over: Step, place: int) -> Elements:
    def iterate(frame: Frame) -> Iterator[Any]:
        values = over(frame)
        if not isinstance(values, (list, dict)):
            raise no_such_overload()
        places = frame.locals
        for value in values:
            places[place] = value
            yield value
            if frame.cost > frame.limit:
                raise CostExceeded

    return iterate


def _pairs(over: Step, places: tuple[int, ...]) -> Elements:
    first, second = places

    def iterate(frame: Frame) -> Iterator[Any]:
        values = over(frame)
        if isinstance(values, dict):
            pairs: Any = values.items()
        elif isinstance(values, list):
            pairs = enumerate(values)
        else:
            raise no_such_overload()
        for key, value in pairs:
            frame.locals[first], frame.locals[second] = key, value
            yield value
            if frame.cost > frame.limit:
                raise CostExceeded

    return iterate


def _chosen(elements: Elements, condition: Step | None, counted: int, skipped: int) -> Elements:
    """The elements that the condition keeps."""
    if condition is None:

        def everything(frame: Frame) -> Iterator[Any]:
            for element in elements(frame):
                frame.cost += counted
                yield element

        return everything

    def iterate(frame: Frame) -> Iterator[Any]:
        for element in elements(frame):
            is_kept = condition(frame)
            if is_kept is True:
                frame.cost += counted
                yield element
            elif is_kept is False:
                frame.cost += skipped
            else:
                raise no_such_overload()

    return iterate


def _quantified(elements: Elements, condition: Step, base: int, each: int, *, decisive: bool) -> Step:
    """``all`` and ``exists``: the first decisive element ends the loop; an error only counts if there is none."""

    def decide(frame: Frame) -> Any:
        frame.cost += base
        problem: EvaluationError | None = None
        for _ in elements(frame):
            frame.cost += each
            try:
                found = condition(frame)
            except EvaluationError as error:
                problem = problem or error
                continue
            if found is decisive:
                return decisive
            if found is not (not decisive):
                problem = problem or no_such_overload()
        if problem is not None:
            raise problem
        return not decisive

    return decide


def _exactly_one(elements: Elements, condition: Step, base: int, counted: int, skipped: int) -> Step:
    def count(frame: Frame) -> Any:
        frame.cost += base
        return sum(1 for _ in _chosen(elements, condition, counted, skipped)(frame)) == 1

    return count


def _kept(chosen: Elements, base: int) -> Step:
    def keep(frame: Frame) -> Any:
        frame.cost += base
        return list(chosen(frame))

    return keep


def _mapped(chosen: Elements, body: Step, base: int) -> Step:
    def transform(frame: Frame) -> Any:
        frame.cost += base
        return [body(frame) for _ in chosen(frame)]

    return transform


def _keyed(chosen: Elements, body: Step, place: int, base: int) -> Step:
    def transform(frame: Frame) -> Any:
        frame.cost += base
        made: dict[Any, Any] = {}
        for _ in chosen(frame):
            key = frame.locals[place]
            made[key] = body(frame)
        return made

    return transform


def _entered(chosen: Elements, body: Step, base: int) -> Step:
    def transform(frame: Frame) -> Any:
        frame.cost += base
        made: dict[Any, Any] = {}
        for _ in chosen(frame):
            entries = body(frame)
            if not isinstance(entries, dict):
                raise no_such_overload()
            for key, value in entries.items():
                if key in made:
                    raise EvaluationError(f"insert failed: key {key} already exists")
                made[key] = value
        return made

    return transform
