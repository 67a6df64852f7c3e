"""Each typical mistake gives an error or a warning that names the setting, the value and what to do."""

import types

import pytest

from tests.unit.settings import typical_mistakes
from umbel import Umbel
from umbel.exceptions import ImproperlyConfigured
from umbel.settings import TABLE

#: What is told of each name: the whole sentence, but for the setting's own description.
ERRORS = {
    "task_acks_late": "The setting task_acks_late is 'sometimes', but must be True or False.",
    "task_ack_on_failure": (
        "There is no setting 'task_ack_on_failure'. Did you mean 'task_acks_on_failure'?"
    ),
    "CELERYD_CONCURENCY": (
        "There is no setting 'CELERYD_CONCURENCY'. Did you mean 'CELERYD_CONCURRENCY'?"
    ),
    "task_serializer": (
        "The setting task_serializer is 'jsno', but must be the name of a serializer. There is no"
        " serializer 'jsno'; known are: auth, json, msgpack, pickle, yaml. Others are made known by"
        " umbel.serialization.register."
    ),
    "accept_content": (
        "The setting accept_content is ['json', 'yamll'], but must be a list of serializers' names or"
        " content types. There is no serializer 'yamll'; known are: auth, json, msgpack, pickle, yaml."
    ),
    "timezone": (
        "The setting timezone is 'Europe/Pari', but must be the name of an IANA time zone, such as"
        " Europe/Paris, or None."
    ),
    "broker_url": (
        "The setting broker_url is 'guest:********@localhost:5672', but must be a URL, or a list of"
        " URLs, or None. It does not begin with a scheme, such as sqlite:// or redis://."
    ),
    "result_expires": (
        "The setting result_expires is '5m', but must be a number of seconds, such as 300, or a"
        " timedelta, of 300 years at most, or None."
    ),
    "broker_transport_options": (
        "The setting broker_transport_options is ['wait', 1], but must be a mapping, such as a dict."
    ),
    "task_default_priority": (
        "The setting task_default_priority is 300, but must be a whole number from 0 to 255, or None."
    ),
    "task_publish_retry_policy": (
        "The setting task_publish_retry_policy is {'max_retry': 3}, but must be a mapping with"
        " max_retries, interval_start and so on."
    ),
    "worker_pool": "The setting worker_pool is 'thread', but must be one of 'prefork', 'solo', 'thr",
    "imports": "The setting imports is None, but must be a list of texts.",
}
WARNINGS = {
    "CELERY_TASK_ALWAYS_EAGER": (
        "proj.settings sets CELERY_TASK_ALWAYS_EAGER, which means nothing unless the settings are read"
        " with namespace='CELERY'. Without it the setting is called task_always_eager."
    ),
    "BROKR_URL": (
        "proj.settings sets BROKR_URL, which umbel does not know. Did you mean broker_url?"
    ),
}


def load(*names: str) -> None:
    """Load some of the mistakes, as of a module of their own."""
    module = types.ModuleType("proj.settings")
    for name in names:
        setattr(module, name, getattr(typical_mistakes, name))
    Umbel(set_as_current=False).config_from_object(module)


def test_here_stands_what_is_told_of_each() -> None:
    names = {name for name in vars(typical_mistakes) if not name.startswith("_")}
    assert names == ERRORS.keys() | WARNINGS.keys()


@pytest.mark.parametrize("name", ERRORS)
def test_an_error(name: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        load(name)
    told = str(caught.value)
    assert told.startswith(ERRORS[name])
    assert told.endswith(" It comes from proj.settings.")
    assert name not in TABLE or TABLE[name].doc in told
    assert "geheim" not in told


@pytest.mark.parametrize("name", WARNINGS)
def test_a_warning(name: str, caplog: pytest.LogCaptureFixture) -> None:
    load(name)
    assert caplog.messages == [WARNINGS[name]]
    assert [(record.name, record.levelname) for record in caplog.records] == [("umbel", "WARNING")]


def test_all_of_them_are_told_at_once() -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        load(*ERRORS, *WARNINGS)
    first, *others = str(caught.value).splitlines()
    assert first == f"{len(ERRORS)} settings of proj.settings are wrong:"
    for told in ERRORS.values():
        assert [line for line in others if line.startswith(f"  - {told}")]


def test_two_names_of_one_setting() -> None:
    module = types.ModuleType("proj.settings")
    module.__dict__.update(result_expires=60, CELERY_TASK_RESULT_EXPIRES=3600)
    with pytest.raises(ImproperlyConfigured) as caught:
        Umbel(set_as_current=False).config_from_object(module)
    assert str(caught.value) == (
        "proj.settings sets CELERY_TASK_RESULT_EXPIRES and result_expires, two names of the setting"
        " result_expires, to 3600 and 60. Keep one of them."
    )


def test_a_scheme_that_nobody_serves_is_told_when_it_is_opened() -> None:
    app = Umbel(set_as_current=False)
    app.config_from_object({"broker_url": "redish://host"})
    with pytest.raises(ImproperlyConfigured, match=r"No engine serves URLs .* 'redish'"):
        _ = app.broker
