"""Gradient boosting on scikit-learn's diabetes table: 442 patients, 10 measurements, progression after a year."""

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingRegressor


def data():
    """Every fourth example is a test example."""
    x, y = load_diabetes(return_X_y=True)
    test = np.arange(len(y)) % 4 == 3
    return x[~test], y[~test], x[test], y[test]


def sizes():
    """How many training and test examples: trial() gives a number for each."""
    _, y_train, _, y_test = data()
    return len(y_train), len(y_test)


def trial(mask, seed, trees):
    """Train on the examples of the mask; how much of the variance is explained for every example, in or out."""
    x_train, y_train, x_test, y_test = data()
    model = HistGradientBoostingRegressor(max_iter=trees, min_samples_leaf=5, early_stopping=False, random_state=seed)
    model.fit(x_train[mask], y_train[mask])

    def explained(x, y):
        return 1 - (y - model.predict(x)) ** 2 / y_train.var()

    train, test = explained(x_train, y_train), explained(x_test, y_test)
    return {"train": train, "test": test, "r2_in": train[mask].mean(), "r2_test": test.mean()}
