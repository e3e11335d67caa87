"""The process-wide assembly: one agent with a lifecycle, in one thread."""
