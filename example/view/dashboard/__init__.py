"""The page: how everything does, and what an operator does about it, on a loopback port of its own.

access.py says who may, site.py what there is, page.py what is shown; templates/ and static/ have no
build step, and ask nobody else for anything.
"""
