"""The only room that knows local and Slurm: launch, status, cancel, doctor."""
