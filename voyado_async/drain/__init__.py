"""From the outbox out.

In come messages of lanes that are due; out go settlements. Decides when and how fast, and what follows from an outcome;
knows carriers, not what they are. In the order of reading:

drainer.py   the life of a drainer, from the right to drain to the end
rounds.py    what is due is taken in hand, or it sleeps until then
hands.py     what is in hand: the order of a lane, and the joining of two
carrying.py  the way of one entry in hand: look, send, or confirm after a file
ledger.py    what came of it, written down and told
gate.py      where a request waits for its turn
rests.py     how long a lane still rests, by the machine's own clock (pure)
recent.py    whether what Engage told of an address a moment ago still holds
beside.py    what goes on meanwhile: lost pokes, the heartbeat, the second road
health.py    what answers tell of Engage as a whole: the breaker, the pace, the key (pure)
policy.py    outcome -> next state and due time (pure)
breaker.py   when to stop sending (pure)
throttle.py  how fast (pure)
"""
