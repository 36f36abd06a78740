"""Who runs as whom, and what a VMM is told to see."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.runtime.jail import confine
from kontinuum.runtime.jail.confine import Shown
from kontinuum.runtime.jail.users import NoUserLeft, Users
from kontinuum.runtime.settings import RuntimeSettings, SettingsUnreadable
from kontinuum.runtime.vmm.qemu import arguments


def settings(**values: str) -> RuntimeSettings:
    return RuntimeSettings(assets_dir="/", run_dir="/run", templates_dir="/", images_dir="/", **values)  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.sampled_from(["begin", "end", "crash"]), st.integers(0, 9)), max_size=40))
def test_no_two_machines_that_live_share_a_user(moves: list[tuple[str, int]]) -> None:
    """A machine that ends gives its user back; one that crashes leaves the claim, and loses its directory."""
    with tempfile.TemporaryDirectory() as directory:
        users = Users(Path(directory) / "users", range(1000, 1008))
        living: dict[int, int] = {}
        for move, number in moves:
            owner = Path(directory) / f"machine-{number}"
            if move == "begin" and number not in living and len(living) < 8:
                owner.mkdir()
                living[number] = users.claim(owner)
            elif move != "begin" and number in living:
                user = living.pop(number)
                if move == "end":
                    users.release(user)
                owner.rmdir()
            assert len(set(living.values())) == len(living)
            assert all(user in range(1000, 1008) for user in living.values())


def test_when_every_user_has_a_machine_the_next_one_is_told_which_setting_gives_more(tmp_path: Path) -> None:
    users = Users(tmp_path / "users", range(7, 9))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        users.claim(tmp_path / name)
    with pytest.raises(NoUserLeft, match=r"runtime\.machine_users"):
        users.claim(tmp_path)


@pytest.mark.parametrize("text", ["", "5", "0-9", "9-5", "a-b", "1-4294967295", "-1-5", "1-2-3"])
def test_a_range_of_users_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SettingsUnreadable, match="machine_users"):
        _ = settings(machine_users=text).user_range


def test_a_range_of_users_has_both_its_ends() -> None:
    assert settings(machine_users="5-9").user_range == range(5, 10)


def test_a_clone_sees_its_template_and_nothing_it_could_write_or_run_besides_its_own_program() -> None:
    hardware = arguments.Hardware("tcg", 128 << 20, 1)
    clone = arguments.Clone(memory=Path("/t/memory"), library=Path("/b/readonly.so"))
    seen = arguments.shown(hardware, clone, program=Path("/usr/bin/qemu"))
    assert Shown("read", "/t/memory", "/memory") in seen
    assert [one for one in seen if one.kind in ("write", "device")] == []
    runnable = {one.source for one in seen if one.kind == "run"}
    assert runnable - set(confine.LIBRARIES) == {"/usr/bin/qemu", "/b/readonly.so"}


def test_only_a_machine_on_kvm_sees_kvm() -> None:
    boot = arguments.Boot(Path("/k"), Path("/i"), tsc_khz=1)
    for accelerator, expected in (("tcg", []), ("kvm", ["/dev/kvm"])):
        seen = arguments.shown(arguments.Hardware(accelerator, 1 << 27, 1), boot, program=Path("/q"))  # type: ignore[arg-type]
        assert [one.target for one in seen if one.kind == "device"] == expected


def test_the_words_for_the_jail_end_before_those_of_the_program() -> None:
    words = confine.command(
        jail=Path("/jail"), user=7, root=Path("/r"), parent=3, shown=(Shown.same("run", "/lib"),), program=["/q", "--"]
    )
    assert words == ["/jail", "7", "/r", "3", "run", "/lib", "/lib", "--", "/q", "--"]
