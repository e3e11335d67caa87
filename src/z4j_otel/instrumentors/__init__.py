"""Engines: how each task library is watched and acted on, one folder per engine."""
