"""`make smoke`: the product as installed, seen from outside.

Its own folder and environment (requirements/base.txt alone), real processes, and only the standard library here:
what the tests bring along must not stand in for what the product lacks.
"""
