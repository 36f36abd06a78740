"""Services on this node: whoever connects to a Service's address is led to one of its endpoints.

Belongs here: which endpoints a node uses (pure), the packet filter's rules for them (pure), the loop that keeps them in
the kernel, and the health that load balancers ask for. Not here: names (``node.dns``), who may connect to whom
(``node.policy``).
"""
