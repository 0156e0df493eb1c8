"""PostgreSQL: functions that take a connection. The only place that sees SQL and driver errors."""
