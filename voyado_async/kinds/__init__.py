"""What can wait in the outbox, one file each.

In comes what a shop handed over, out go a `Draft` (checked, with its lane and its natural key), the `Call` that brings
it to Engage, the look-up before a repeat, and its form in a file. Nothing here sends, waits, reads a clock or knows
paths: a `Call` names an operation, and `api/v2.py` or `api/v3.py` say what that is over HTTP.
"""
