"""From a checked expression to nested functions, one per part, that compute its value and count what that costs.

A part costs what it costs in Kubernetes (cel-go's ``runtimecost.go``): one for each name and selection, ten for a list,
and for a function what its overload charges. The limit is looked at where cost can grow: in calls and in loops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kontinuum.api.machinery.cel import folds
from kontinuum.api.machinery.cel.errors import CostExceeded, EvaluationError, no_such_key, no_such_overload
from kontinuum.api.machinery.cel.nodes import (
    Bind,
    Call,
    Fold,
    Ident,
    ListNode,
    Literal,
    MapNode,
    Node,
    OptionalMap,
    Select,
    StructNode,
)
from kontinuum.api.machinery.cel.overloads import Overload
from kontinuum.api.machinery.cel.types import Type
from kontinuum.api.machinery.cel.values import NOTHING, Optional, Record, is_of, to_json

LIST_COST, MAP_COST, STRUCT_COST = 10, 30, 40
# What a function of a library raises when a dyn argument turns out to be something else inside.
MISMATCHES = (TypeError, AttributeError, KeyError, IndexError, ValueError, ArithmeticError)


class Frame:
    """One evaluation: the variables, the macros' own variables by place, and the cost so far."""

    __slots__ = ("cost", "limit", "locals", "values")

    def __init__(self, values: Mapping[str, Any], limit: int, places: int) -> None:
        self.values = values
        self.limit = limit
        self.cost = 0
        self.locals: list[Any] = [None] * places


Step = Callable[[Frame], Any]


class Constructed(Record):
    """What ``Object.spec{replicas: 1}`` makes."""

    __slots__ = ("_type", "fields")

    def __init__(self, type_: Type, fields: dict[str, Any]) -> None:
        self._type = type_
        self.fields = fields

    @property
    def type(self) -> Type:
        return self._type

    def select(self, name: str) -> Any:
        if name not in self.fields:
            raise no_such_key(name)
        return self.fields[name]

    def has(self, name: str) -> bool:
        return name in self.fields

    def equals(self, other: Any) -> bool:
        return isinstance(other, Constructed) and bool(to_json(self.fields) == to_json(other.fields))

    def to_json(self) -> Any:
        return to_json(self.fields)


class Linker:
    """Builds the functions of one expression. ``places`` is how many variables its macros need at once."""

    def __init__(self) -> None:
        self._scopes: list[dict[str, int]] = []
        self._used = 0
        self.places = 0

    def link(self, node: Node) -> Step:
        match node:
            case Literal():
                value = node.value
                return lambda frame: value
            case Ident():
                return self._ident(node)
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case ListNode():
                return self._list(node)
            case MapNode():
                return self._map(node)
            case StructNode():
                return self._struct(node)
            case Fold():
                return self._fold(node)
            case Bind():
                return self._bind(node)
            case OptionalMap():
                return self._optional_map(node)
        raise AssertionError(f"no such node: {node}")

    def _declare(self, names: Iterable[str]) -> tuple[int, ...]:
        """Places for the names; the caller gives them back with ``_forget``."""
        places = {name: self._used + count for count, name in enumerate(names)}
        self._used += len(places)
        self.places = max(self.places, self._used)
        self._scopes.append(places)
        return tuple(places.values())

    def _forget(self) -> None:
        self._used -= len(self._scopes.pop())

    def _ident(self, node: Ident) -> Step:
        name = node.name
        if node.is_local:
            place = next(scope[name] for scope in reversed(self._scopes) if name in scope)
            return lambda frame: _local(frame, place)
        if node.constant is not None:
            constant = node.constant
            return lambda frame: constant

        def load(frame: Frame) -> Any:
            frame.cost += 1
            try:
                return frame.values[name]
            except KeyError:
                raise EvaluationError(f"no such attribute(s): {name}") from None

        return load

    def _select(self, node: Select) -> Step:
        if node.ident is not None:
            return self._ident(node.ident)
        operand, name = self.link(node.operand), node.field_name
        if node.is_test:
            return lambda frame: has(operand(frame), name)
        if node.is_optional:

            def maybe(frame: Frame) -> Any:
                target = operand(frame)
                frame.cost += 1
                return select_optional(target, name)

            return maybe

        def select(frame: Frame) -> Any:
            target = operand(frame)
            frame.cost += 1
            if type(target) is dict:
                try:
                    return target[name]
                except KeyError:
                    raise no_such_key(name) from None
            return select_from(target, name)

        return select

    def _call(self, node: Call) -> Step:
        steps = [self.link(one) for one in (*([node.target] if node.target else ()), *node.arguments)]
        match node.function:
            case "_&&_":
                return _decided_by(*steps, decisive=False)
            case "_||_":
                return _decided_by(*steps, decisive=True)
            case "_?_:_":
                return _conditional(*steps)
        if node.function in ("or", "orValue"):
            return _present_or(*steps, is_value=node.function == "orValue")
        given = [one.type for one in (*([node.target] if node.target else ()), *node.arguments)]
        candidates = [
            (_tests(overload, given, alone=len(node.overloads) == 1), overload) for overload in node.overloads
        ]
        if len(candidates) == 1 and not candidates[0][0]:
            return _direct(candidates[0][1], steps)
        return _dispatched(candidates, steps)

    def _list(self, node: ListNode) -> Step:
        steps, optionals = [self.link(one) for one in node.elements], node.optionals

        def make(frame: Frame) -> Any:
            frame.cost += LIST_COST
            if not optionals:
                return [step(frame) for step in steps]
            made = []
            for place, step in enumerate(steps):
                value = step(frame)
                if place in optionals:
                    value = _as_optional(value)
                    if not value.is_present:
                        continue
                    value = value.value
                made.append(value)
            return made

        return make

    def _map(self, node: MapNode) -> Step:
        entries = [(self.link(one.key), self.link(one.value), one.is_optional) for one in node.entries]

        def make(frame: Frame) -> Any:
            frame.cost += MAP_COST
            made: dict[Any, Any] = {}
            for key_step, value_step, is_optional in entries:
                key, value = key_step(frame), value_step(frame)
                if is_optional:
                    value = _as_optional(value)
                    if not value.is_present:
                        continue
                    value = value.value
                if not isinstance(key, (str, int)):
                    raise EvaluationError("unsupported key type")
                if key in made:
                    raise EvaluationError(f"Failed with repeated key: {key}")
                made[key] = value
            return made

        return make

    def _struct(self, node: StructNode) -> Step:
        inits, type_ = [(one.name, self.link(one.value), one.is_optional) for one in node.inits], node.type

        def make(frame: Frame) -> Any:
            frame.cost += STRUCT_COST
            fields: dict[str, Any] = {}
            for name, step, is_optional in inits:
                value = step(frame)
                if is_optional:
                    value = _as_optional(value)
                    if not value.is_present:
                        continue
                    value = value.value
                fields[name] = value
            return Constructed(type_, fields)

        return make

    def _fold(self, node: Fold) -> Step:
        over = self.link(node.range)
        places = self._declare(node.variables)
        condition = self.link(node.condition) if node.condition is not None else None
        body = self.link(node.body) if node.body is not None else None
        self._forget()
        return folds.fold(node.macro, over, places, condition, body)

    def _bind(self, node: Bind) -> Step:
        value = self.link(node.value)
        (place,) = self._declare([node.name])
        body = self.link(node.body)
        self._forget()

        def bind(frame: Frame) -> Any:
            frame.cost += LIST_COST
            frame.locals[place] = value(frame)
            return body(frame)

        return bind

    def _optional_map(self, node: OptionalMap) -> Step:
        operand = self.link(node.operand)
        (place,) = self._declare([node.name])
        body, is_flat = self.link(node.body), node.is_flat
        self._forget()

        def mapped(frame: Frame) -> Any:
            found = _as_optional(operand(frame))
            if not found.is_present:
                return NOTHING
            frame.locals[place] = found.value
            value = body(frame)
            return _as_optional(value) if is_flat else Optional(value)

        return mapped


def _local(frame: Frame, place: int) -> Any:
    frame.cost += 1
    return frame.locals[place]


def has(target: Any, name: str) -> bool:
    if type(target) is dict:
        return name in target
    if isinstance(target, Record):
        return target.has(name)
    if type(target) is Optional:
        return target.is_present and has(target.value, name)
    raise no_such_overload()


def select_from(target: Any, name: str) -> Any:
    """A field of whatever is no plain map."""
    if isinstance(target, Record):
        return target.select(name)
    if type(target) is Optional:
        return select_optional(target, name)
    if target is None:
        raise no_such_key(name)
    raise no_such_overload()


def select_optional(target: Any, name: str) -> Any:
    """``target.?name``."""
    if type(target) is Optional:
        if not target.is_present:
            return NOTHING
        target = target.value
    if target is None or not has(target, name):
        return NOTHING
    return Optional(target[name] if type(target) is dict else select_from(target, name))


def _as_optional(value: Any) -> Optional:
    if type(value) is not Optional:
        raise no_such_overload()
    return value


def _decided_by(left: Step, right: Step, *, decisive: bool) -> Step:
    """``&&`` and ``||``: the decisive value wins, on whichever side it is, even over an error on the other."""

    def decide(frame: Frame) -> Any:
        problem: EvaluationError | None = None
        first: Any = None
        try:
            first = left(frame)
        except EvaluationError as error:
            problem = error
        if first is decisive:
            return decisive
        second = right(frame)
        if second is decisive:
            return decisive
        if problem is not None:
            raise problem
        if first is not (not decisive) or second is not (not decisive):
            raise no_such_overload()
        return second

    return decide


def _conditional(condition: Step, yes: Step, no: Step) -> Step:
    def choose(frame: Frame) -> Any:
        chosen = condition(frame)
        if chosen is True:
            return yes(frame)
        if chosen is False:
            return no(frame)
        raise no_such_overload()

    return choose


def _present_or(optional: Step, other: Step, *, is_value: bool) -> Step:
    """``or`` and ``orValue`` of optionals: the other side is only looked at where it is needed."""

    def choose(frame: Frame) -> Any:
        found = _as_optional(optional(frame))
        frame.cost += 1
        if found.is_present:
            return found.value if is_value else found
        return other(frame) if is_value else _as_optional(other(frame))

    return choose


Test = tuple[int, Callable[[Any], bool]]


def _tests(overload: Overload, given: list[Type], *, alone: bool) -> list[Test]:
    """What has to be found out about the arguments before this overload may be called."""
    tests: list[Test] = []
    for place, (wanted, known) in enumerate(zip(overload.parameters, given, strict=True)):
        if wanted.kind not in ("dyn", "param") and (not alone or known.is_dyn or known.kind != wanted.kind):
            tests.append((place, is_of(wanted.kind, wanted.name)))
    return tests


def _direct(overload: Overload, steps: list[Step]) -> Step:
    """The types have decided what is called."""
    do, charge = overload.implementation, overload.charge
    if len(steps) == 2 and isinstance(charge, int):
        first, second = steps

        def call_two(frame: Frame) -> Any:
            one, other = first(frame), second(frame)
            frame.cost += charge
            try:
                return do(one, other)
            except MISMATCHES:
                raise no_such_overload() from None

        return call_two

    def call(frame: Frame) -> Any:
        values = [step(frame) for step in steps]
        return _charged(frame, do, charge, values)

    return call


def _dispatched(candidates: list[tuple[list[Test], Overload]], steps: list[Step]) -> Step:
    """The values decide what is called."""

    def call(frame: Frame) -> Any:
        values = [step(frame) for step in steps]
        for tests, overload in candidates:
            if all(test(values[place]) for place, test in tests):
                return _charged(frame, overload.implementation, overload.charge, values)
        raise no_such_overload()

    return call


def _charged(frame: Frame, do: Callable[..., Any], charge: Callable[..., int] | int, values: list[Any]) -> Any:
    try:
        frame.cost += charge if isinstance(charge, int) else charge(*values)
        if frame.cost > frame.limit:
            raise CostExceeded
        return do(*values)
    except MISMATCHES:
        raise no_such_overload() from None
