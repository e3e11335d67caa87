"""A Celery workload that lives through everything a task can live through.

The demo runs it, and the tests compare what each brain made of it with what is true.
"""
