"""Where a VMM is put so that whoever breaks out of a guest into it has gained nothing: see ``jail.c`` and ``view``.

Belongs here: users of their own, namespaces, the few files that a confined program sees. Any VMM can be put into it.
"""
