"""What runs: the hub that owns the tree, and a supervisor a source."""
