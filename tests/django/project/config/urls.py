"""The addresses of the project."""

from django.urls import path
from project_name.books import views
from rest_framework.routers import SimpleRouter

router = SimpleRouter()
router.register("article", views.ArticleViewset, "article")
router.register("books", views.BookViewset, "books")

urlpatterns = [
    *router.urls,
    path("buy/<int:pk>", views.buy),
    path("order/<str:title>", views.order),
]
