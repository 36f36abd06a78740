"""How many machines wait, when one more is made, and when they go."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from kontinuum.foundation import tallies
from kontinuum.runtime.jail.users import Users
from kontinuum.runtime.settings import STANDBYS, RuntimeSettings
from kontinuum.runtime.vmm.port import Size
from kontinuum.runtime.warm import bustle, sizes
from kontinuum.runtime.warm.keeper import QUIET_SECONDS, UNSEEN_SECONDS, Facts, Keeper, Step, plan
from kontinuum.runtime.warm.pool import Pool

SIZE = Size(128 << 20, 1)
SPARE = 1 << 30
PLENTY = 1 << 40


@given(
    st.integers(0, 4),
    st.integers(0, 2),
    st.floats(0, 10),
    st.integers(0, 4 << 30),
    st.integers(0, 2),
    st.integers(0, 3),
)
def test_no_step_undoes_the_one_before(
    ready: int, making: int, quiet: float, available: int, others: int, wanted: int
) -> None:
    """What is made is not ended again for want of room, even when it has used all of its memory."""
    before = Facts(ready, making, quiet, available, others)
    step = plan(before, wanted=wanted, spare_bytes=SPARE, size=SIZE)
    if step is Step.MAKE:
        assert quiet >= QUIET_SECONDS
        assert ready + others + making < wanted
        after = Facts(ready + 1, making, 0, available - SIZE.memory_bytes, others)
        assert plan(after, wanted=wanted, spare_bytes=SPARE, size=SIZE) is Step.WAIT
    if step is Step.END:
        assert ready + others > 0
        after = Facts(ready - (not others), making, 10, available + SIZE.memory_bytes, max(0, others - 1))
        assert plan(after, wanted=wanted, spare_bytes=SPARE, size=SIZE) is not Step.MAKE or ready <= wanted


@given(st.integers(1, 3), st.integers(0, 3))
def test_a_host_at_rest_comes_to_have_what_is_wanted_and_nothing_else(wanted: int, others: int) -> None:
    ready = 0
    for _ in range(10):
        step = plan(Facts(ready, 0, 10, PLENTY, others), wanted=wanted, spare_bytes=SPARE, size=SIZE)
        assert ready + others <= max(wanted, 3)
        if step is Step.MAKE:
            ready += 1
        if step is Step.END:
            ready, others = (ready, others - 1) if others else (ready - 1, 0)
    assert (ready, others, step) == (wanted, 0, Step.WAIT)


@given(st.integers(1, 4), st.integers(0, SPARE // 2 - 1))
def test_a_host_that_runs_out_of_memory_gets_back_what_waits_before_it_gets_worse(ready: int, available: int) -> None:
    for left in range(ready, 0, -1):
        assert plan(Facts(left, 0, 10, available), wanted=ready, spare_bytes=SPARE, size=SIZE) is Step.END
    assert plan(Facts(0, 0, 10, available), wanted=ready, spare_bytes=SPARE, size=SIZE) is Step.WAIT


@dataclass
class Watch:
    """A clock that is set by hand."""

    now: float = 1000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


@dataclass
class Bench:
    """A keeper whose standbys are made by the test."""

    directory: Path
    watch: Watch = field(default_factory=Watch)
    asked: list[Size] = field(default_factory=list)
    available: int = PLENTY

    def keeper(self, warm_machines: int = 1) -> Keeper:
        settings = RuntimeSettings(
            assets_dir="/",
            run_dir=str(self.directory),
            templates_dir="/",
            images_dir="/",
            warm_machines=warm_machines,
            warm_spare_bytes=SPARE,
        )
        pool = Pool(settings.warm, Users(settings.users, settings.user_range))
        return Keeper(pool, SIZE, settings, self.watch, self.asked.append, lambda: self.available)

    def look_after(self, keeper: Keeper, seconds: float) -> Step:
        self.watch.now += seconds
        return keeper.look()

    def tell(self, keeper: Keeper, what: str) -> None:
        tallies.add(keeper.settings.tallies(STANDBYS), what)


def test_one_is_made_when_the_host_is_quiet_and_another_when_that_one_was_taken(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    keeper = bench.keeper()
    assert keeper.look() is Step.WAIT
    assert bench.look_after(keeper, QUIET_SECONDS) is Step.MAKE
    directory = keeper.pool.begin(SIZE)
    assert bench.look_after(keeper, UNSEEN_SECONDS + 1) is Step.WAIT
    directory = keeper.pool.offer(directory)
    bench.tell(keeper, "made")
    assert bench.look_after(keeper, 1) is Step.WAIT
    pod = bustle.begin(keeper.settings.starting)
    directory.rename(tmp_path / "taken")
    assert bench.look_after(keeper, 1) is Step.WAIT, "a pod is starting"
    os.close(pod)
    assert bench.look_after(keeper, QUIET_SECONDS / 2) is Step.WAIT, "another of the same burst may follow"
    assert bench.look_after(keeper, QUIET_SECONDS) is Step.MAKE
    assert bench.asked == [SIZE, SIZE]


def test_what_cannot_be_made_is_tried_ever_more_rarely_and_what_was_lost_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    keeper = bench.keeper()
    keeper.look()
    assert bench.look_after(keeper, 1) is Step.MAKE
    assert bench.look_after(keeper, UNSEEN_SECONDS - 1) is Step.WAIT, "it may be on its way"
    assert bench.look_after(keeper, 2) is Step.MAKE, "it was lost"
    pauses = []
    for _ in range(6):
        bench.tell(keeper, "failed")
        begun = bench.watch.now
        while bench.look_after(keeper, 1) is not Step.MAKE:
            pass
        pauses.append(bench.watch.now - begun)
    assert pauses == sorted(pauses)
    assert pauses[-1] > 8 * pauses[0]


def test_a_new_keeper_ends_what_the_last_one_left_and_one_that_may_keep_none_makes_none(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    directory = bench.keeper().pool.begin(SIZE)
    keeper = bench.keeper(warm_machines=0)
    assert not directory.exists()
    keeper.look()
    assert bench.look_after(keeper, 100) is Step.WAIT
    assert not bench.asked


def test_who_starts_alone_knows_it_and_is_seen_by_others_afterwards(tmp_path: Path) -> None:
    lock = tmp_path / "starting"
    mine = bustle.begin(lock)
    assert bustle.is_alone(mine)
    other = bustle.begin(lock)
    assert not bustle.is_alone(mine)
    os.close(other)
    assert bustle.is_alone(mine)
    assert not bustle.is_over(lock)
    os.close(mine)
    assert bustle.is_over(lock)


LARGE = Size(256 << 20, 2)


def test_the_size_that_two_pods_have_asked_for_waits_in_place_of_the_one_before(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    keeper = bench.keeper()
    default = keeper.pool.offer(keeper.pool.begin(SIZE))
    assert bench.look_after(keeper, 1) is Step.WAIT
    sizes.note(keeper.settings.sizes, LARGE)
    assert bench.look_after(keeper, 1) is Step.WAIT, "one pod is no habit"
    sizes.note(keeper.settings.sizes, LARGE)
    bench.available = SPARE
    assert bench.look_after(keeper, 1) is Step.WAIT, "there is no room for a large one, and the small one is of use"
    bench.available = PLENTY
    assert bench.look_after(keeper, 1) is Step.END
    assert not default.exists()
    assert bench.look_after(keeper, 1) is Step.MAKE
    assert bench.asked == [LARGE]


def test_pods_of_two_sizes_in_turns_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "sizes"
    for size in (SIZE, LARGE, SIZE, LARGE):
        sizes.note(path, size)
        assert sizes.wanted(path) is None
    sizes.note(path, LARGE)
    assert sizes.wanted(path) == LARGE
    for size in (SIZE, LARGE, SIZE, LARGE):
        sizes.note(path, size)
        assert sizes.wanted(path) == LARGE


def test_what_pods_asked_for_is_a_guess_that_nobody_depends_on(tmp_path: Path) -> None:
    sizes.note(tmp_path / "absent" / "sizes", SIZE)
    (tmp_path / "sizes").write_text('{"last": 7}')
    assert sizes.wanted(tmp_path / "sizes") is None
    sizes.note(tmp_path / "sizes", SIZE)
    sizes.note(tmp_path / "sizes", SIZE)
    assert sizes.wanted(tmp_path / "sizes") == SIZE
    sizes.forget(tmp_path / "sizes")
    assert sizes.wanted(tmp_path / "sizes") is None
