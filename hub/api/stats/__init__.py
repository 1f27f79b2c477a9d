"""/api/v1/stats: what a user has played, in all, by season, week and day, and against whom."""
