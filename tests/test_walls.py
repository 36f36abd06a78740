"""Every wall of the house stands: each contract holds on the code as it is, and breaks when a wrong import is planted.

A contract that nothing can break would be worse than none, because it would be trusted.
"""

from __future__ import annotations

import re
import shutil
import sys
import tomllib
from pathlib import Path

import pytest

from kontinuum.foundation import process

ROOT = Path(__file__).parents[1]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")
WRONG_IMPORTS = {
    "The house: a floor imports only the floors below it, never its neighbour": (
        "foundation/clock.py",
        "import kontinuum.api.machinery.objects",
    ),
    "Only the API server knows the store": ("scheduler/place.py", "import kontinuum.store.port"),
    "Store, images, infrastructure and runtime know no Kubernetes kinds": (
        "images/oci.py",
        "import kontinuum.api.kubernetes.resources",
    ),
    "A reconciler never imports another": (
        "controllers/reconcilers/deployment.py",
        "import kontinuum.controllers.reconcilers.replicaset",
    ),
    "A store engine never imports another": ("store/memory/store.py", "import kontinuum.store.sqlite"),
    "A VMM never imports another": ("runtime/vmm/fake/__init__.py", "import kontinuum.runtime.vmm.qemu"),
    "Controllers take the infrastructure port, never a driver": (
        "controllers/manager.py",
        "import kontinuum.infrastructure.drivers",
    ),
    "sqlite3 has one home": ("apiserver/app.py", "import sqlite3"),
    "subprocess has one home": ("node/network.py", "import subprocess"),
}


def contracts() -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [contract["name"] for contract in settings["tool"]["importlinter"]["contracts"]]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code in which every wrong import has been planted."""
    copy = tmp_path_factory.mktemp("house")
    shutil.copy(ROOT / "pyproject.toml", copy)
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for file, line in WRONG_IMPORTS.values():
        planted = copy / "src" / "kontinuum" / file
        planted.write_text(f"{planted.read_text()}\n\n{line}\n")
    return copy


async def judge(directory: Path) -> tuple[dict[str, str], str]:
    """The verdict (KEPT or BROKEN) on each contract, and everything that was said."""
    done = await process.run(
        LINT_IMPORTS, "--no-cache", cwd=directory, check=False, env={"PYTHONPATH": str(directory / "src")}
    )
    said = done.stdout.decode()
    return dict(re.findall(r"^(.+?) (KEPT|BROKEN)\b", said, re.MULTILINE)), said


def test_every_contract_has_a_wrong_import_that_tries_it() -> None:
    assert set(WRONG_IMPORTS) == set(contracts())


async def test_the_code_as_it_is_keeps_every_contract() -> None:
    verdicts, said = await judge(ROOT)
    assert verdicts == dict.fromkeys(contracts(), "KEPT"), said


async def test_each_contract_breaks_on_the_wrong_import_and_names_it(house: Path) -> None:
    verdicts, said = await judge(house)
    assert verdicts == dict.fromkeys(contracts(), "BROKEN"), said
    for name, (file, line) in WRONG_IMPORTS.items():
        importer = "kontinuum." + file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        imported = line.removeprefix("import ")
        section = said.split("Broken contracts")[1].split(name)[1]
        assert re.search(rf"{re.escape(importer)} ->\s+{re.escape(imported)}", section), (
            f"{name}: {importer} -> {imported}"
        )
