"""A faithful fake Engage on loopback: REST, SFTP with its importer, bad days on demand, and books of all that arrived.

In: requests and files of a client under test. Out: answers as `engage/REFERENCE.md` knows them. It shares no code with
the client, so that it cannot agree with the client's mistakes (an import contract holds this).
"""

from __future__ import annotations

from voyado_async.sandbox.faults import Fault, FaultKind
from voyado_async.sandbox.server import Sandbox
from voyado_async.sandbox.settings import SandboxSettings

__all__ = ["Fault", "FaultKind", "Sandbox", "SandboxSettings"]
