"""What the server gives to Services when they are written: addresses, ports of nodes, and its own Service.

    create or update ──▶ reserve ──▶ rules, admission, store ──▶ what is no longer used is given back
                            │                  │ refused
                            └──── undone ◀─────┘

An address is taken by creating its IPAddress object, a port by creating a record of its own: the store's create is the
compare-and-swap, so any number of servers may give out at once. What a crash leaves behind ``repair`` finds.
Not here: the rules about a Service's fields (``api.kubernetes``), and the traffic itself (``node.proxy``).
"""
