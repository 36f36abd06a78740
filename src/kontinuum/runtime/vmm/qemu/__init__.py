"""QEMU as a VMM: argument lists, QMP, templates and clones."""
