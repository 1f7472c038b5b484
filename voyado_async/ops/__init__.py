"""For whoever runs the sidecar: is it alive, what does it do, and what needs a person.

In come events of this process and snapshots of the outbox; out go a heartbeat for systemd, metrics, and a page. Nothing
here changes an entry, and nothing personal is shown: ids, kinds, states, codes and names of files.

watch.py    one snapshot for all who ask; the heartbeat
pulse.py    whether it makes progress (pure), and what it was told
systemd.py  ready, alive, stopping                metrics.py  for Prometheus
page.py     the page's facts and its chart (pure)  page.html   how they stand on it
listen.py   who answers where
"""
