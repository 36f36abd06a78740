"""Our containerd runtime-v2 shim: one small process per pod that owns the pod's virtual machine.

Belongs here: the ttrpc task service, VMMs behind a port, the guest agent, templates, pod disks and taps.
Does not belong here: Kubernetes kinds. The shim serves any containerd, under anybody's kubelet.
"""
