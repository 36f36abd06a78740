"""Encryption at rest: what is stored of some resources is readable only with keys that are kept elsewhere.

    verbs, feed ──▶ EncryptedStore ──▶ store        a Store around a Store, and only where something is configured
                        │
                        └──▶ Ciphers: by resource, the first writes, all of them read

Caches hold objects as clients get them: what is encrypted is what reaches a disk or another machine.
"""
