"""Service account tokens: what stands in them, who signs them, and whether they are still good.

Does not belong here: the TokenRequest verb (``subresources``), or what is mounted into pods (admission, node).
"""
