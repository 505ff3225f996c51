"""Further estimators, and reductions, of mutual information."""
