"""The run directory: paths, manifest, trials.zarr, and how a block is committed."""
