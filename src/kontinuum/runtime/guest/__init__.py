"""The words spoken with the agent inside the VM; ``agent/`` is that agent (static C)."""
