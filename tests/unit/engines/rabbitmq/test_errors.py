"""What a server says when it refuses something, as our errors."""

from __future__ import annotations

from tests.each import for_each
from umbel.engines.rabbitmq.address import address_of
from umbel.engines.rabbitmq.errors import closed


@for_each(
    ("code", "said", "told", "passes"),
    [
        (403, "Login was refused using authentication mechanism PLAIN.", "the password", False),
        (403, "PLAIN login refused: user 'u' can only connect via localhost", "password", False),
        (403, "write access to exchange 'login' in vhost '/' refused", "exchange 'login'", True),
        (530, "vhost 'v' not found", "virtual host", False),
        (530, "vhost 'v' is down", "virtual host", True),
    ],
)
def test_a_refused_login_is_told_from_other_refusals(
    code: int, said: str, told: str, passes: bool
) -> None:
    text = f"{'ACCESS_REFUSED' if code == 403 else 'NOT_ALLOWED'} - {said}"
    error = closed(address_of("amqp://u:p@h/v", {}), code, text)
    assert told in str(error)
    assert error.passes is passes
