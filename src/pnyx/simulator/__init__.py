"""The node's own machines under virtual time."""
