"""What runs the book store for `make demo`, and looks at it. Who copies the project leaves this out."""
