"""The messages of the Container Runtime Interface (runtime.v1) that the node uses, as protobuf classes.

Belongs here: names, numbers and types on the CRI's wire (``runtime_v1.txt``), and the classes made from them.
Does not belong here: a connection, or any decision about which call to make.
"""
