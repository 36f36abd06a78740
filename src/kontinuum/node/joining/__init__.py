"""How a machine becomes a node: it finds the cluster's authority, gets certificates, and is given its pods' network.

    token ──discovery──▶ whom to believe ──certificates──▶ who we are ──membership──▶ Node, networks, settings

Nothing here runs anything; what a host does once it has joined is the rest of this floor.
"""
