"""The delay queue beside others."""
