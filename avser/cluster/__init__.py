"""The same prediction on many machines, by Ray Data (Moritz et al. 2018, arXiv:1712.05889)."""
