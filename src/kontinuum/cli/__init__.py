"""The ``kontinuum`` command, and the only place that chooses backends and wires the parts together (``assemble``)."""
