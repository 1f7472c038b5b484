"""What a shop calls, one file per noun.

In comes what the shop hands over; out goes a `Draft` for the outbox, or a direct call to Engage: a question, or a
change that is made now and never repeated by itself. Nothing here waits for Engage on behalf of a durable write.
"""
