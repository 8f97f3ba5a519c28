"""A second implementation of docs/PROTOCOL.md, version 1, written from the document alone.

It exists to find what the document leaves open and what the programs do differently, so it shares no code, no
constants and no vectors with them. Slow and plain on purpose: every function names the section it follows.
"""
