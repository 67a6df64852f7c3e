"""The worker: a supervisor and the children that fetch, execute and settle."""
