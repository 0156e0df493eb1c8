"""The use cases. Each owns its transaction."""
