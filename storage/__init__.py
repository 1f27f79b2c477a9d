"""SQL and Redis in full: functions over a connection."""
