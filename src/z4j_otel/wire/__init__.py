"""The wire: frames, canonical JSON, signatures and the session between agent and brain.

Sans-IO: bytes and values in, bytes and values out. No clock, no socket, no thread, no
environment; time, ids and nonces are arguments.
"""
