"""How to live off the API: requests, watches, caches, queues, leader election, events.

Belongs here: what any component needs to talk to any conformant Kubernetes API server.
Does not belong here: what to do about an object; anything that only our own API server promises.
"""
