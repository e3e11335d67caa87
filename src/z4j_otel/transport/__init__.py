"""How bytes reach the brain and come back, and how long to wait after a failure.

A transport reads none of the bytes it moves; sessions and signatures live in ``wire``.
"""
