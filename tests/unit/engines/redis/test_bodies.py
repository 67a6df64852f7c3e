"""Bodies in base64, with and without pybase64: what is written and read is the same."""

from __future__ import annotations

import base64
import binascii
import importlib.util
import random
import sys
from types import ModuleType

import pytest

from umbel.engines.redis import bodies


@pytest.fixture(params=["with pybase64", "without"])
def module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    if request.param == "with pybase64":
        pytest.importorskip("pybase64")
    else:
        monkeypatch.setitem(sys.modules, "pybase64", None)
    spec = importlib.util.spec_from_file_location("bodies_again", bodies.__file__)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize("size", [*range(9), 1000, 100_000])
def test_bodies_are_written_and_read(module: ModuleType, size: int) -> None:
    body = random.Random(size).randbytes(size)
    text = module.encoded(body)
    assert text == base64.b64encode(body).decode()
    assert module.decoded(text) == body


@pytest.mark.parametrize("text", ["YQ===", "Y Q==", "YQ==YQ==", "YW\n==", "=", "AA==x", "YWJj\r\n"])
def test_what_python_takes_is_taken(module: ModuleType, text: str) -> None:
    assert module.decoded(text) == binascii.a2b_base64(text)


@pytest.mark.parametrize("text", ["YQ", "YQ=", "A", "ab-_x", "é", "\ud800"])
def test_what_is_none_is_an_error(module: ModuleType, text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
        module.decoded(text)
