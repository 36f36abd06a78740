"""CEL, the Common Expression Language, as Kubernetes 1.36 speaks it.

    environment = Environment({"self": declare(schema, "self"), "limit": types.INT})     once per schema
    program = environment.compile("self.replicas <= limit", types.BOOL)                   once per expression
    program.evaluate({"self": {"replicas": 3}, "limit": 5})                               per object: True

**Compiling** (``Environment.compile``) raises ``CompileError``: behind "compilation failed: " its text is what
Kubernetes answers (``ERROR: <input>:1:6: undefined field 'x'`` and the marked line); for a wrong result type
(``issues`` is empty) it is "must evaluate to bool but got int", which stands alone. ``patches=True`` adds
``Object{...}`` and ``JSONPatch{...}``.

**Variables** are a ``Type`` (``types.DYN`` for untyped JSON, ``types.STRING`` ...), or ``Declared``:
``declare(schema, name, is_root=...)`` of a structural schema (None: its values are not visible to expressions),
``object_of(name, fields)`` for an object type of one's own, ``optional(declared)`` for ``oldSelf`` with
``optionalOldSelf``. JSON of a declared variable is typed while it is read: int or double, date-time as timestamp, byte
as bytes; fields are named by ``escape`` (``x-y`` is ``x__dash__y``); a dotted name (``authorizer.requestResource``) is
one variable. The ``authorizer`` is ``library.authorizers.Authorizer(ask)``; composed ``variables`` are a
``values.Record``.

**Evaluating** (``Program.evaluate``) raises
``EvaluationError``   the data do not fit ("no such key: x"): the rule has failed;
``CostExceeded``      this call cost more than ``PER_CALL``: "operation cancelled: actual cost limit exceeded";
``BudgetExceeded``    the ``Budget`` shared by the calls for one object or request is used up: make no more of them.
The result is a value (``values``): bool, int, str, float, list, dict, None, or one of that module's classes;
``values.to_json`` makes JSON of it.

**Costs**: ``program.cost.most`` is the estimate from the schema's limits. A CRD's rule must stay within
``PER_EXPRESSION``, with the number of times that it may run (the product of maxItems and maxProperties above it) as
factor, and all its rules together within ``PER_DEFINITION``. A call is counted while it runs, in Kubernetes' units.

``program.references`` names the variables used: a rule that names ``oldSelf`` is a transition rule.

The parts, in the order in which an expression goes through them: lexer, parser (with macros), checker (types), costs,
programs (with folds); ``library/`` has the functions, ``schemas`` the way from OpenAPI to types, ``values`` what they
compute with. It is our own because no library has Kubernetes' typing and costs: docs/decisions/0019.

Does not belong here: what the variables of a policy or rule are, and what happens when one fails.
"""

from kontinuum.api.machinery.cel.environment import (
    PER_CALL,
    PER_DEFINITION,
    PER_EXPRESSION,
    PER_REQUEST,
    Budget,
    Environment,
    Program,
    optional,
)
from kontinuum.api.machinery.cel.errors import (
    BudgetExceeded,
    CelError,
    CompileError,
    CostExceeded,
    EvaluationError,
    EvaluationFailed,
)
from kontinuum.api.machinery.cel.schemas import Declared, declare, escape, object_of, plain

__all__ = [
    "PER_CALL",
    "PER_DEFINITION",
    "PER_EXPRESSION",
    "PER_REQUEST",
    "Budget",
    "BudgetExceeded",
    "CelError",
    "CompileError",
    "CostExceeded",
    "Declared",
    "Environment",
    "EvaluationError",
    "EvaluationFailed",
    "Program",
    "declare",
    "escape",
    "object_of",
    "optional",
    "plain",
]
