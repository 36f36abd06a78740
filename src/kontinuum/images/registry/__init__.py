"""Talking to registries: the OCI distribution specification 1.1 with Docker's token authentication.

    hosts        where a registry's content is asked for: mirrors first, from containerd's own files
    credentials  who we are there
    challenge    what a registry wants to see before it answers (pure)
    client       one repository's HTTP
    transfer     pulling into and pushing from a store

Does not belong here: what is done with images, and who may pull them.
"""
