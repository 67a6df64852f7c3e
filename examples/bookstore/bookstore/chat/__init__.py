"""Readers write to the shop, and are answered at once."""
