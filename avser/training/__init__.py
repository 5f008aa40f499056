"""Training branches and fused models: data, networks in the making, folds, sweeps."""
