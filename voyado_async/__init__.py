"""An asyncio client for Voyado Engage with an outbox that keeps a sale's data through an outage."""
