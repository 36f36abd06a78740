"""A cluster's behaviour at a size that no one machine has: hollow nodes, and the real everything else."""
