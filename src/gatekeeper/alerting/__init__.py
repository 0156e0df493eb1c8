"""Ways to tell people of an alert: a log file, a signed webhook, and what Apprise knows."""
