"""What a shop calls, one file per noun.

In comes what the shop hands over; out goes a `Draft` for the outbox, or a direct question to Engage. Nothing here
waits for Engage on behalf of a write.
"""
