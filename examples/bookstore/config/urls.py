"""The shop's addresses."""

from rest_framework.routers import SimpleRouter

from bookstore.books.views import BookViewset, ReaderViewset
from bookstore.chat.race import RacyConversationViewset
from bookstore.chat.views import ConversationViewset

router = SimpleRouter()
router.register("readers", ReaderViewset, "readers")
router.register("books", BookViewset, "books")
router.register("conversations", ConversationViewset, "conversations")
router.register("race", RacyConversationViewset, "race")

urlpatterns = router.urls
