"""What still moves by itself: one row per state and reason."""

from __future__ import annotations

from typing import Any

import pytest

from voyado_async.cli.settled import Exhausted, Facts, OpenFile, Verdict, reasons, verdict
from voyado_async.outbox.states import State

MOVING, SETTLED, PERSON = Verdict.MOVING, Verdict.SETTLED, Verdict.NEEDS_PERSON
FORM = Exhausted(outage=False, has_file_form=True)
FORM_OF_OUTAGE = Exhausted(outage=True, has_file_form=True)
BARE = Exhausted(outage=False, has_file_form=False)
IN_BULK = Exhausted(outage=False, has_file_form=False, has_bulk_form=True)
UNTOLD = Exhausted(outage=False, has_file_form=False, untold=True)
WITHHELD = Exhausted(outage=False, has_file_form=False, withheld=True)
WITHHELD_OF_OUTAGE = Exhausted(outage=True, has_file_form=False, withheld=True)
BARE_OF_OUTAGE = Exhausted(outage=True, has_file_form=False)


def file(**changes: Any) -> OpenFile:
    return OpenFile(**{"name": "f.xml", "state": "spooled"} | changes)


@pytest.mark.parametrize(
    ("states", "facts", "expected"),
    [
        ({}, {}, SETTLED),
        ({"delivered": 3, "discarded": 1}, {}, SETTLED),
        ({"sending": 1}, {}, MOVING),
        ({"sending": 1, "rejected": 1}, {}, MOVING),
        ({"delivered": 3, "rejected": 1}, {}, PERSON),
        # pending
        ({"pending": 1}, {"heads": ["redeem"]}, MOVING),
        ({"pending": 1, "rejected": 9}, {"heads": ["redeem"]}, MOVING),
        ({"pending": 1}, {"heads": ["redeem"], "halted": "401"}, PERSON),
        ({"pending": 1}, {"heads": ["redeem"], "halted": "403"}, PERSON),
        ({"pending": 1}, {"heads": ["redeem"], "halted": "403:redeem"}, PERSON),
        ({"pending": 2}, {"heads": ["redeem", "receipt"], "halted": "403:redeem"}, MOVING),
        ({"pending": 2}, {"heads": ["redeem", "receipt"], "halted": "403:receipt,redeem"}, PERSON),
        # held by what no longer moves
        ({"pending": 1, "exhausted": 1}, {"exhausted": [BARE]}, PERSON),
        ({"pending": 1, "exhausted": 1}, {"exhausted": [FORM]}, MOVING),
        # exhausted
        ({"exhausted": 1}, {"exhausted": [FORM]}, MOVING),
        ({"exhausted": 1}, {"exhausted": [BARE]}, PERSON),
        ({"exhausted": 1}, {"exhausted": [BARE_OF_OUTAGE]}, MOVING),
        ({"exhausted": 1}, {"exhausted": [BARE_OF_OUTAGE], "halted": "401"}, PERSON),
        ({"exhausted": 1}, {"exhausted": [FORM_OF_OUTAGE], "halted": "401"}, MOVING),
        ({"exhausted": 2}, {"exhausted": [BARE, FORM]}, MOVING),
        ({"exhausted": 1}, {"exhausted": [UNTOLD]}, MOVING),
        ({"exhausted": 1}, {"exhausted": [WITHHELD]}, PERSON),
        ({"exhausted": 2}, {"exhausted": [WITHHELD, FORM]}, MOVING),
        ({"exhausted": 1}, {"exhausted": [WITHHELD_OF_OUTAGE]}, MOVING),
        ({"exhausted": 1}, {"exhausted": [WITHHELD_OF_OUTAGE], "halted": "401"}, PERSON),
        ({"exhausted": 1}, {"exhausted": [IN_BULK]}, MOVING),
        ({"exhausted": 1}, {"exhausted": [IN_BULK], "halted": "401"}, PERSON),
        ({"uploaded": 1}, {"in_bulk": True}, MOVING),
        # spooled
        ({"spooled": 1}, {"files": [file()]}, MOVING),
        ({"spooled": 1}, {"files": [file(has_folder=False)]}, PERSON),
        ({"spooled": 1}, {"files": [file(has_folder=False, outage=True)]}, MOVING),
        ({"spooled": 1}, {"files": [file(has_folder=False, outage=True)], "halted": "401"}, PERSON),
        ({"spooled": 1}, {"files": [file(outage=True)], "halted": "401"}, MOVING),
        ({"spooled": 1}, {"files": [file(problem="unreachable")]}, MOVING),
        ({"spooled": 1}, {"files": [file(problem="no_space")]}, MOVING),
        ({"spooled": 1}, {"files": [file(problem="host_key")]}, PERSON),
        ({"spooled": 1}, {"files": [file(problem="login")]}, PERSON),
        ({"spooled": 1}, {"files": [file(problem="folder_missing")]}, PERSON),
        ({"spooled": 1}, {"files": [file(problem="name_taken")]}, PERSON),
        ({"spooled": 1}, {"files": [file(problem="login", outage=True)]}, MOVING),
        ({"spooled": 2}, {"files": [file(problem="login"), file()]}, MOVING),
        # uploading and uploaded
        ({"uploaded": 1}, {"files": [file(state="uploading")]}, MOVING),
        ({"uploaded": 1}, {"files": [file(state="uploading", problem="file_missing")]}, PERSON),
        ({"uploaded": 1}, {"files": [file(state="uploaded")]}, MOVING),
        ({"uploaded": 1}, {"files": [file(state="uploaded", problem="stays")]}, PERSON),
        ({"uploaded": 1}, {"files": [file(state="uploaded", has_folder=False)]}, PERSON),
        ({"uploaded": 1}, {"files": [file(state="uploaded", outage=True, has_folder=False)]}, PERSON),
        ({"uploaded": 1}, {"files": [file(state="uploaded", carried=True, has_folder=False)]}, MOVING),
        ({"uploaded": 1}, {"files": [file(state="uploaded", carried=True, problem="stays")]}, PERSON),
        # imported
        ({"imported": 1}, {"confirmable": True}, MOVING),
        ({"imported": 1}, {"confirmable": False}, PERSON),
        ({"imported": 2}, {"confirmable": True, "unconfirmed": 1}, MOVING),
        ({"imported": 2}, {"confirmable": False, "unconfirmed": 2}, PERSON),
        ({"imported": 1}, {"confirmable": True, "halted": "401"}, PERSON),
        ({"imported": 1}, {"confirm": False}, SETTLED),
        ({"imported": 1, "rejected": 1}, {"confirm": False, "confirmable": True}, PERSON),
    ],
)
def test_what_moves_by_itself(states: dict[str, int], facts: dict[str, Any], expected: Verdict) -> None:
    assert verdict(Facts(states, **facts)) is expected


@pytest.mark.parametrize("state", [state for state in State if state not in ("delivered", "discarded")])
def test_an_entry_of_which_nothing_is_known_needs_a_person_unless_it_is_under_way(state: State) -> None:
    expected = MOVING if state is State.SENDING else PERSON
    assert verdict(Facts({state.value: 1})) is expected


def test_a_person_is_told_what_to_do() -> None:
    facts = Facts(
        {"rejected": 2, "exhausted": 4, "spooled": 2, "pending": 1},
        halted="401",
        exhausted=[BARE, WITHHELD, WITHHELD, FORM],
        files=[file(has_folder=False), file(name="g.xml", problem="login"), file(name="h.xml")],
    )
    assert reasons(facts) == [
        "2 rejected",
        "the API key is refused (401)",
        "2 exhausted and refused by what VOYADO_FALLBACK_XSLT_* or VOYADO_FALLBACK_XSD_* name: "
        "voyado-async list --error withheld_from_files",
        "1 exhausted that can leave in no file: voyado-async replay --state exhausted",
        "file f.xml: has to be carried by hand, or withdrawn to go over the API",
        "file g.xml: login",
    ]
    assert reasons(Facts({"pending": 1})) == ["entries that nothing moves: run `voyado-async verify`"]
    failing = Facts({"imported": 2}, unconfirmed=2)
    assert reasons(failing) == ["2 whose confirmation fails: voyado-async list --error ConfirmationFails"]
    unwatched = Facts({"uploaded": 1}, files=[file(state="uploaded", has_folder=False)])
    assert reasons(unwatched) == ["file f.xml: nobody looks whether it was imported"]
