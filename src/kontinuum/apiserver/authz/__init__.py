"""May this user do this? A port (``authorizer``), and the answers that are combined behind it.

Belongs here: the question itself, role-based rules and their defaults, what nodes may see, the words of a refusal.
Does not belong here: who somebody is (``authn``), HTTP (``handler``), and what an object may contain (``admission``).
"""
