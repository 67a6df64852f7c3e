"""Integrations of frameworks that are there without being asked for; see `umbel.integrations`."""
