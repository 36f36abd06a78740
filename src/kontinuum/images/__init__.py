"""What workloads and hosts are made from: OCI content, disk images, guest kernels, and conversions between them.

Does not belong here: running anything, or Kubernetes kinds.
"""
