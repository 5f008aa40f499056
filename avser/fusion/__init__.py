"""Fitting fusion rules to out-of-fold logits, and measuring them; the rules themselves are in `avser.models`."""
