"""May this request happen, and what exactly is stored.

Belongs here: HTTP, authentication, authorization, admission, the verbs, watch cache, discovery, OpenAPI, streams.
Does not belong here: what should happen because of an object (controllers, node), or how bytes are kept (store).
"""
