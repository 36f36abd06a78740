"""One file per volume type: what the pod sees under a mount, made on this machine."""
