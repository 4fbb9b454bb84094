"""Training: recipes, protocols, examples, fitting, scores and plots."""
