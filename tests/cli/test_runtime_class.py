"""The RuntimeClass that goes with an installed runtime."""

from __future__ import annotations

import pytest
import yaml

from kontinuum.cli.commands import runtime


def test_the_class_is_printed_for_kubectl(capsys: pytest.CaptureFixture[str]) -> None:
    runtime.print_manifest(runtime.runtime_class("vm2", ["a.b/c=d"]))
    found = yaml.safe_load(capsys.readouterr().out)
    assert (found["apiVersion"], found["kind"], found["handler"]) == ("node.k8s.io/v1", "RuntimeClass", "vm2")
    assert found["metadata"]["name"] == "vm2" and found["scheduling"] == {"nodeSelector": {"a.b/c": "d"}}
    assert found["overhead"]["podFixed"] == {"memory": "128Mi", "cpu": "20m"}
    assert "scheduling" not in runtime.runtime_class("vm2", [])
    with pytest.raises(runtime.BadOption, match="NAME=VALUE"):
        runtime.runtime_class("vm2", ["a"])
