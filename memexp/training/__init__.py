"""One block of trials: recipes, batches, models, architectures, features."""
