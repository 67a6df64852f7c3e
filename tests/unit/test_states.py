import pytest

from umbel import states


def test_every_state_is_its_own_name() -> None:
    other = ("PRECEDENCE", "PRECEDENCE_LOOKUP", "NONE_PRECEDENCE")
    names = [
        name
        for name in vars(states)
        if name.isupper() and not name.endswith("STATES") and name not in other
    ]
    assert [getattr(states, name) for name in names] == names
    assert len(names) == 10  # Celery's nine, and PROGRESS


@pytest.mark.parametrize(
    ("group", "members"),
    [
        ("READY_STATES", "FAILURE REVOKED SUCCESS"),
        ("UNREADY_STATES", "PENDING RECEIVED REJECTED RETRY STARTED"),
        ("EXCEPTION_STATES", "FAILURE RETRY REVOKED"),
        ("PROPAGATE_STATES", "FAILURE REVOKED"),
        ("ALL_STATES", "FAILURE PENDING RECEIVED RETRY REVOKED STARTED SUCCESS"),
    ],
)
def test_the_sets_are_those_of_celery(group: str, members: str) -> None:
    assert " ".join(sorted(getattr(states, group))) == members


def test_no_state_is_both_final_and_not() -> None:
    assert not states.READY_STATES & states.UNREADY_STATES
    assert states.PROPAGATE_STATES < states.READY_STATES


@pytest.mark.parametrize(
    ("state", "place"),
    [
        ("SUCCESS", 0),
        ("FAILURE", 1),
        (None, 2),
        ("PROGRESS", 2),
        ("IGNORED", 2),
        ("REVOKED", 3),
        ("STARTED", 4),
        ("RECEIVED", 5),
        ("REJECTED", 6),
        ("RETRY", 7),
        ("PENDING", 8),
    ],
)
def test_precedence_is_that_of_celery(state: str, place: int) -> None:
    assert states.precedence(state) == place


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        ("PENDING", "SUCCESS"),
        ("PENDING", "STARTED"),
        ("PENDING", "PROGRESS"),
        ("PROGRESS", "SUCCESS"),
        ("STARTED", "PROGRESS"),
        ("REVOKED", "IGNORED"),
        ("RETRY", "REVOKED"),
    ],
)
def test_states_are_compared_by_precedence(lower: str, higher: str) -> None:
    one, other = states.state(lower), states.state(higher)
    assert (one < other, one <= other, one > other, one >= other) == (True, True, False, False)
    assert (other < one, other <= one, other > one, other >= one) == (False, False, True, True)


def test_states_of_users_own_are_neither_higher_nor_lower() -> None:
    one, other = states.state("PROGRESS"), states.state("UPLOADING")
    assert (one < other, one <= other, one > other, one >= other) == (False, True, False, True)
    assert one != other
    assert states.state("PROGRESS") == "PROGRESS"
