"""A program that runs a worker inside itself: ``python embedding.py HOW OPTION ...``.

``HOW`` is ``worker_main`` or ``Worker``. When the worker has ended the program goes on: it
publishes a task more and writes its id into the file ``later``.
"""

import sys

how, *options = sys.argv[1:]
if "--pool=gevent" in options:
    from gevent import monkey

    monkey.patch_all()

from pathlib import Path  # noqa: E402 -- gevent comes first

from pools_app import app  # noqa: E402 -- as above

if how == "worker_main":
    app.worker_main(["worker", "--hostname", "shop@demo", "--loglevel=INFO", *options])
else:
    settings = dict(option.lstrip("-").split("=") for option in options)
    settings["concurrency"] = int(settings.get("concurrency", 1))
    app.Worker(hostname="shop@demo", loglevel="INFO", **settings).start()
Path("later").write_text(app.tasks["shop.add"].delay(1, 1).id)
