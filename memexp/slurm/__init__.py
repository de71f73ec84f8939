"""Tasks on a Slurm cluster: planned, submitted, followed up."""
