"""memexp: train many models on random subsets, then estimate memorization and influence.

The package has two halves that share nothing but the store. ``memexp`` makes runs (spec, plan,
designs, data, models, training, worker, launch); ``memexp.analysis`` reads them (merge, counts,
estimators, report). Method: Feldman & Zhang, NeurIPS 2020.
"""

__version__ = "0.1.0"
