"""An honest little API server in memory, for the quick tests of whatever lives off the API.

Honest means: what a caller may rely on here, a conformant server promises; and what a real server may do to a caller
(conflicts, expired watches, lost answers, slow answers), this one can be told to do. It checks no schema and sets no
defaults beyond metadata: those are the API server's business, and tests that need them send whole objects.
"""

from kontinuum.client.transport.fake.api import FakeApi
from kontinuum.client.transport.fake.faults import Faults

__all__ = ["FakeApi", "Faults"]
