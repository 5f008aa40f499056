"""Many files: found, named, shared among processes, resumed, summed up."""
