"""The drill: faults by a seed against a real worker, counted to the last event.

A drill runs a worker of an application, its own or a user's, behind an embedded brain and a
proxy that breaks connections. The worker consumes one queue that belongs to the drill, and
gets the drill's tasks beside the application's own (``celery worker --include``). Whatever
the application is set to, the worker's agent knows the drill's brain only.

Every task notes in a plain file when it begins and ends (:mod:`.tasks`). While tasks run,
brain, network and processes break at random times (:mod:`.faults`, :mod:`.storm`). At the
end the notes, the brain's events and the agents' ledgers must agree (:mod:`.judge`). What a
broker can promise to a worker that is killed decides which faults are played
(:mod:`.brokers`). Only :mod:`.client` and the worker ever import the application.
"""
