"""A book store that charges its readers in the background: a project of Django REST Framework."""
