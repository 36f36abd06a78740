"""ResourceQuota: no namespace uses more than its quotas allow, however many writes come at once.

    write ──▶ charging ──▶ desk of the namespace ──▶ ledger: a reservation, by compare-and-swap ──▶ the write itself
                               │                                                                        │
                        accounts: what is used, counted from the caches ◀─────────── the feed ──────────┘

What is used is never stored: it is counted from the objects that are there. Only what is just being written is: the
ledger is one record for each namespace, with a reservation for each write under way. A reservation is made if what is
there, what is reserved and what is wanted fit together, and only if the ledger is still as it was read; it is dropped
when the caches show the object, or when the write has failed. So:

  - Never too much: an object that the caches do not show has a reservation, or was written before the ledger was read.
  - Never too little: who does not fit only because of reservations waits until they have become objects or nothing.

Kubernetes adds to ``status.used`` instead, which its controller overwrites by what it has counted; between the two,
room is lost until the controller comes by, or found twice. Here ``status.used`` is only told (by ``controllers``).
"""
