"""A book store that charges its readers in the background. Start with tasks.py, or `make demo`."""
