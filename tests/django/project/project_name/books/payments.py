"""Tasks that take money."""

from umbel.contrib.django import shared_task


@shared_task(name="charge_user")
def charge_user(user: int) -> int:
    """Charge a user."""
    return user
