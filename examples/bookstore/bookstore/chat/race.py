"""The article's race, kept to be looked at: a task looks for what is not committed yet.

`delay()` sends at once, and a worker is fast. It looks for the conversation before the view has come to
the end of its transaction, does not find it, and the task fails with DoesNotExist. The reader never gets an
answer. And if the transaction is rolled back then, the task was sent for something that never was.

The cure is in views.py: `delay_on_commit` in place of `delay`.
"""

from .models import Conversation
from .tasks import respond_to_message
from .views import ConversationViewset


class RacyConversationViewset(ConversationViewset):
    """As `ConversationViewset`, with the mistake."""

    def have_answered(self, conversation: Conversation) -> None:
        """Have an answer sent too early."""
        respond_to_message.delay(conversation.pk)
