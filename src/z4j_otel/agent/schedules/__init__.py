"""Schedules of the engines' own schedulers, mirrored at the brain (PROTOCOL §6.8)."""
