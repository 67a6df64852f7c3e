"""What a bug report should contain."""

from __future__ import annotations

import umbel
from umbel import Umbel


def test_the_report_of_an_app_masks_secrets() -> None:
    app = Umbel("proj", broker="memory://user:secret@here", set_as_current=False)
    text = app.bugreport()
    assert "secret" not in text
    assert f"umbel: {umbel.__version__}" in text
    assert "tasks: 0" in text
    assert umbel.bugreport(app) == text
