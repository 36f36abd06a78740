"""Where a real Kubernetes 1.36 API server's answers are, if they are anywhere; tests that need them skip otherwise."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE_THE_CLONE = Path(__file__).parents[2] / "shared/kubernetes-1.36"
REFERENCE = Path(os.environ.get("KUBERNETES_REFERENCE", _BESIDE_THE_CLONE))
needs_reference = pytest.mark.skipif(
    not REFERENCE.exists(),
    reason="the answers of a real API server are not here; point KUBERNETES_REFERENCE at them",
)
