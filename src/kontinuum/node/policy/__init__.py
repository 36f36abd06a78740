"""NetworkPolicies on this node: who may connect to its pods, and to whom they may connect.

Belongs here: what policies say about each pod (pure), as chains and sets of the packet filter; the loop that keeps them
so. The packets are judged on the host's side of the pod's wire, so that every isolation class is held to the same.
"""
