"""Interactive streams: from the API server's WebSocket to containerd's streaming endpoint and back.

Belongs here: the two wire protocols (WebSocket channels, SPDY/3.1) and the bridge between them.
Does not belong here: who may open a stream, and to which container (``server``).
"""
