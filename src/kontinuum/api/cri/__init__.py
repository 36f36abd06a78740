"""Messages of the Container Runtime Interface (runtime.v1), as far as the node uses them."""
