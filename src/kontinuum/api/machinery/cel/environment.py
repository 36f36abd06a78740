"""What expressions of one kind may use, and compiled expressions: the package's front door."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.checker import Checked, Checker
from kontinuum.api.machinery.cel.costs import Estimator, Range
from kontinuum.api.machinery.cel.errors import (
    RECURSION,
    BudgetExceeded,
    CompileError,
    CostExceeded,
    EvaluationError,
    Issue,
)
from kontinuum.api.machinery.cel.library import functions
from kontinuum.api.machinery.cel.library.regex import compiled
from kontinuum.api.machinery.cel.nodes import Call, Literal, Node
from kontinuum.api.machinery.cel.parser import parse
from kontinuum.api.machinery.cel.programs import Frame, Linker
from kontinuum.api.machinery.cel.schemas import Declared, object_of, plain
from kontinuum.api.machinery.cel.times import parse_duration, parse_timestamp
from kontinuum.api.machinery.cel.types import Type
from kontinuum.api.machinery.cel.values import NOTHING, Optional

PER_CALL = 1_000_000
"""What one evaluation may cost; about a tenth of a second."""
PER_REQUEST = 10_000_000
"""What all evaluations for one object or request may cost together."""
PER_EXPRESSION = 10_000_000
"""The largest estimated cost of a rule in a CRD."""
PER_DEFINITION = 100_000_000
"""The largest estimated cost of all rules of a CRD."""

PATCH_TYPES = t.Type(
    "object", "patches", fields={"JSONPatch": object_of("JSONPatch", {
        "op": plain(t.STRING), "path": plain(t.STRING), "from": plain(t.STRING), "value": plain(t.DYN),
    })},
)  # fmt: skip
JSON_PATCH: Type = PATCH_TYPES.fields["JSONPatch"].type
OBJECT = t.Type("object", "Object", fields={"*": None})


class Budget:
    """What several evaluations may cost together."""

    __slots__ = ("remaining",)

    def __init__(self, remaining: int = PER_REQUEST) -> None:
        self.remaining = remaining


class Program:
    """A compiled expression. Holds no state: one program serves every request."""

    __slots__ = ("_converted", "_places", "_step", "cost", "references", "source", "type")

    def __init__(self, source: str, checked: Checked, cost: Range, variables: Mapping[str, Declared]) -> None:
        linker = Linker()
        self._step = linker.link(checked.root)
        self._places = linker.places
        used = {name: variables[name].convert for name in checked.references}
        self._converted = [(name, convert) for name, convert in used.items() if convert is not None]
        self.source = source
        self.type = checked.root.type
        self.cost = cost
        """Estimated: ``least`` and ``most``."""
        self.references = checked.references
        """The variables that the expression uses."""

    def evaluate(self, values: Mapping[str, Any], budget: Budget | None = None, *, limit: int = PER_CALL) -> Any:
        """The expression's value for the variables' JSON. Raises EvaluationError, CostExceeded, BudgetExceeded.

        A variable that is missing is an error where it is used.
        """
        allowed = limit if budget is None else min(limit, budget.remaining)
        frame = Frame(values, allowed, self._places)
        try:
            if self._converted:
                frame.values = {**values, **{name: to(values[name]) for name, to in self._converted if name in values}}
            found = self._step(frame)
        except RecursionError:
            raise EvaluationError("the expression and its data are nested too deeply") from None
        except CostExceeded as error:
            if budget is None or budget.remaining >= limit or isinstance(error, BudgetExceeded):
                raise
            raise BudgetExceeded from error
        finally:
            if budget is not None:
                budget.remaining -= frame.cost
        if frame.cost > allowed:
            raise CostExceeded if allowed == limit else BudgetExceeded
        # Variables that were evaluated on the way have paid from the same budget.
        if budget is not None and budget.remaining < 0:
            raise BudgetExceeded
        return found


class Environment:
    """The variables of one kind of expression, each a Type, or Declared by a schema."""

    def __init__(self, variables: Mapping[str, Type | Declared], *, patches: bool = False) -> None:
        """``patches``: the constructors ``Object{...}`` and ``JSONPatch{...}`` exist."""
        self._variables = {
            name: one if isinstance(one, Declared) else Declared(one, largest=2**63 - 1)
            for name, one in variables.items()
        }
        self._types = {name: one.type for name, one in self._variables.items()}
        self._structs = PATCH_TYPES if patches else None

    def extended(self, variables: Mapping[str, Type | Declared]) -> Environment:
        made = Environment({**self._variables, **variables})
        made._structs = self._structs
        return made

    def compile(self, source: str, *results: Type) -> Program:
        """``results`` are the types that the expression may have; none: any. Raises CompileError."""
        root = parse(source)
        checked = Checker(source, self._types, functions(), self._structs).check(root)
        _check_literals(source, checked.nodes)
        if results and not any(_is_exactly(root.type, one) for one in results):
            raise CompileError(source, [], wrong_result(root.type, results))
        # Functions have been resolved, so a free list of unknown elements is one of dyn by now.
        try:
            cost = Estimator(self._variables).estimate(root).cost
            return Program(source, checked, cost, self._variables)
        except RecursionError:
            raise CompileError(source[:80], [], RECURSION) from None


def wrong_result(found: Type, wanted: tuple[Type, ...]) -> str:
    names = [_declared_name(one) for one in wanted]
    expected = names[0] if len(names) == 1 else f"one of [{' '.join(names)}]"
    return f"must evaluate to {expected} but got {_declared_name(found)}"


def _declared_name(type_: Type) -> str:
    """A type as cel-go prints it outside of the checker's messages."""
    if type_.kind in ("list", "map"):
        return f"{type_.kind}({', '.join(map(_declared_name, type_.parameters))})"
    return {
        "null": "null_type", "timestamp": "google.protobuf.Timestamp", "duration": "google.protobuf.Duration",
    }.get(type_.kind, str(type_))  # fmt: skip


def optional(declared: Declared) -> Declared:
    """A variable that may be absent: ``oldSelf`` under ``optionalOldSelf``. JSON null means absent."""

    def convert(value: Any) -> Any:
        if value is None:
            return NOTHING
        return Optional(value if declared.convert is None else declared.convert(value))

    return Declared(t.optional_of(declared.type), convert, declared.largest, 0, declared.items, declared.keys,
                    declared.fields)  # fmt: skip


def _is_exactly(found: Type, wanted: Type) -> bool:
    return found == wanted or wanted.kind == "dyn"


LITERAL_READERS: dict[str, tuple[int, Callable[[str], Any], str]] = {
    "duration": (0, parse_duration, "invalid duration argument"),
    "timestamp": (0, parse_timestamp, "invalid timestamp argument"),
    "matches": (1, compiled, "invalid matches argument"),
}


def _check_literals(source: str, nodes: Iterable[Node]) -> None:
    """Texts that are written into the expression can be judged at once."""
    issues: list[Issue] = []
    for node in nodes:
        if not isinstance(node, Call) or node.function not in LITERAL_READERS:
            continue
        place, read, problem = LITERAL_READERS[node.function]
        parts = [*([node.target] if node.target else ()), *node.arguments]
        literal = parts[place] if place < len(parts) else None
        if isinstance(literal, Literal) and isinstance(literal.value, str):
            try:
                read(literal.value)
            except EvaluationError:
                issues.append(Issue(literal.position, problem))
    if issues:
        raise CompileError(source, issues)
