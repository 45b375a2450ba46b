"""What is timed, each function in a process of its own (see `benchmarks.child`)."""
