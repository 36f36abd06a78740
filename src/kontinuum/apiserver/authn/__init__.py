"""Who is asking? Client certificates and bearer tokens; a request that shows neither is nobody's.

Does not belong here: what somebody may do (``authz``).
"""
