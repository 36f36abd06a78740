"""What is served is found by a real client in the aggregated form of discovery."""

from __future__ import annotations

import pytest
from tests.conformance.cluster import Kubectl

from kontinuum.api.kubernetes.resources import RESOURCES


@pytest.mark.behaviour("AggregatedDiscovery should support aggregated discovery interface")
def test_every_built_in_resource_is_found_by_the_aggregated_form(any_kubectl: Kubectl) -> None:
    command = ("api-resources", "--output=name", "--cached=false")
    assert "as=APIGroupDiscoveryList" in any_kubectl.warns(*command, "-v=8"), "it did not ask for that form"
    assert set(any_kubectl(*command).split()) >= {one.qualified for one in RESOURCES}
