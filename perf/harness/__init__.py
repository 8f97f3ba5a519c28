"""What ./perf/run is made of. Standard library only; see perf/README.md."""
