"""Static pods: pods that this node runs because a file in a folder says so, with or without an API server.

Belongs here: reading the files, and the *mirror pod* of each, by which the API shows what runs and takes its status.
Does not belong here: how pods run; once read, a static pod has a worker like any other.
"""
