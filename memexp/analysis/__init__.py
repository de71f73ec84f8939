"""From trials to answers: merge, counts, estimators, pairs, report.

Of the rest of memexp only the store's reader, the spec and the errors are used here; the store's
schema is the contract. Axes: T trials, N train, M test. Rows of an influence matrix are test
examples, columns training examples.
"""

SHOWN_FDR = 0.05  # pairs above this false discovery rate are shown only where they are asked for
