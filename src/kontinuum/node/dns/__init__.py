"""The cluster's DNS, answered on every node for its own pods (Kubernetes' DNS specification, version 1.1).

Belongs here: what a name of the cluster means (pure), the server on UDP and TCP, the way to other servers, and the
Service ``kube-dns`` by which pods find us. Not here: a pod's ``resolv.conf``, which is the agent's (``node.names``).
"""
