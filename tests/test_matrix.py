"""The tables of what each isolation class can do say what the tests saw, and nothing else."""

from __future__ import annotations

from tests.machines.pods.cases import all_cases
from tools import matrix

AGAIN = "run: pytest tests/machines/pods --matrix"


def test_every_behaviour_has_been_tried_in_every_class_that_it_is_meant_for() -> None:
    declared = {cell for cases in all_cases() for cell in cases.cells()}
    recorded = {
        (area, behaviour, one)
        for area, behaviours in matrix.read().items()
        for behaviour, told in behaviours.items()
        for one in told
    }
    assert declared == recorded, AGAIN


def test_what_is_refused_is_what_cases_expect_to_be_and_it_has_a_reason() -> None:
    recorded = matrix.read()
    for cases in all_cases():
        for entry in cases.entries.values():
            for one in entry.classes if len(entry.classes) > 1 else ():
                told = recorded[cases.title][entry.title][one]
                assert (told != "yes") == (one in entry.refused), (entry.title, one, AGAIN)
                assert told == "yes" or len(told) > len("no: "), (entry.title, one)


def test_the_pages_show_the_record() -> None:
    recorded = matrix.read()
    for page, lines in ((matrix.README, matrix.summary(recorded)), (matrix.PAGE, matrix.everything(recorded))):
        text = page.read_text()
        assert text == matrix.filled(text, lines), f"{page.name}: run python -m tools.matrix"
