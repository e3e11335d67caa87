"""A brain for development and tests: in memory, embedded, as strict as the real one.

It verifies signatures and freshness, redacts, dedupes and projects events as PROTOCOL and
the observed brain do, issues commands, closes with the real close codes, and misbehaves
on request. ``brain`` holds the core without sockets, ``server`` puts it on a loopback port.
"""
