"""`make bench`: what this service adds to a call, beside what else there is. docs/performance.md explains it."""
