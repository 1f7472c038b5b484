"""From the outbox out.

In come messages of lanes that are due; out go settlements. Decides when and how fast, and what follows from an outcome;
knows carriers, not what they are. In the order of reading:

drainer.py   claim -> carry -> settle
gate.py      where a request waits until it may go out
health.py    what answers tell of Engage as a whole: the breaker, the pace, the key (pure)
policy.py    outcome -> next state and due time (pure)
breaker.py   when to stop sending (pure)
throttle.py  how fast (pure)
"""
