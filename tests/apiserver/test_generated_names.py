"""Names that the server makes: short enough, and tried again when somebody has them already."""

from __future__ import annotations

import pytest
from tests.apiserver.serving import CONFIGMAPS, Api, configmap

from kontinuum.apiserver import writing


async def test_a_name_that_is_taken_is_made_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    suffixes = iter(["aaaaa", "aaaaa", "aaaaa", "bbbbb"])
    monkeypatch.setattr(writing, "new_suffix", lambda: next(suffixes))
    made = [(await api.create(CONFIGMAPS, {"metadata": {"generateName": "x-"}})).body for _ in range(2)]
    assert [one["metadata"]["name"] for one in made] == ["x-aaaaa", "x-bbbbb"]
    assert {one["metadata"]["generateName"] for one in made} == {"x-"}


async def test_it_is_not_tried_for_ever(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "new_suffix", lambda: "aaaaa")
    await api.create(CONFIGMAPS, configmap("x-aaaaa"))
    refused = await api.create(CONFIGMAPS, {"metadata": {"generateName": "x-"}})
    assert (refused.code, refused.body["reason"]) == (409, "AlreadyExists")


async def test_a_long_prefix_is_cut_and_a_given_name_wins(api: Api) -> None:
    made = await api.create(CONFIGMAPS, {"metadata": {"generateName": "x" * 100}})
    assert len(made.body["metadata"]["name"]) == 63 and made.body["metadata"]["name"].startswith("x" * 58)
    named = await api.create(CONFIGMAPS, {"metadata": {"generateName": "x-", "name": "own"}})
    assert named.body["metadata"]["name"] == "own"
