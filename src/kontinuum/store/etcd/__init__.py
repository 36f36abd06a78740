"""The store on etcd version 3: several API servers beside it, each as good as the others.

    EtcdStore ── verbs ──▶ Session (writes whose outcome is certain) ──▶ Members (whoever answers) ──▶ etcd
        └─ watch ──▶ history ───────────────────────────────────────────────┘
                     era: where the keys are, and which revision of ours is which of etcd's

The keys and bytes are ours; nobody else's Kubernetes can read them.
Does not belong here: what a value means, running etcd.
"""

from kontinuum.store.etcd.access import Access
from kontinuum.store.etcd.store import EtcdStore

__all__ = ["Access", "EtcdStore"]
