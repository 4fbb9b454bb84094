"""From a trained network to model files that are known to compute the same, judged before they replace anything."""
