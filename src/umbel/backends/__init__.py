"""Result stores that other packages write as Celery's `Backend` classes, and what makes a store of them."""
