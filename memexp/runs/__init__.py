"""A run as a whole: run, plan, pilot, worker, pool of workers, verification."""
