"""``python -m memexp.worker``, as a launch of an earlier memexp starts it; see :mod:`memexp.runs.worker`."""

from memexp.runs.worker import Trainer, main, serve

__all__ = ["Trainer", "main", "serve"]

if __name__ == "__main__":
    main()
