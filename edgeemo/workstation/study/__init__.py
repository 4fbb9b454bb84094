"""A comparison: recipes, varied, in every fold and seed; trained where there is room, and put side by side."""
