"""Secrets planted everywhere, and the search for them in all that leaves the process."""
