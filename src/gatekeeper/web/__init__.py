"""What does the server show over HTTP? Metrics for Prometheus, and whether it is alive and ready."""
