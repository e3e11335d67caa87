"""The agent's durable, bounded FIFO of entries, and the files it lives in.

``base`` holds the port, ``sqlite`` and ``memory`` its two implementations, ``files`` the
home directory and the question who owns which file. What is in an entry is not known here.
"""
