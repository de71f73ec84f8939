"""Logistic regression on scikit-learn's breast cancer table: 569 tumours, 30 measurements, benign or malignant."""

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def data():
    """Every fourth example is a test example."""
    x, y = load_breast_cancer(return_X_y=True)
    test = np.arange(len(y)) % 4 == 3
    return x[~test], y[~test], x[test], y[test]


def sizes():
    """Labels of the training and of the test examples: trial() gives classes, which are compared with them."""
    _, y_train, _, y_test = data()
    return y_train, y_test


def trial(mask, seed, c):
    """Train on the examples of the mask; the class predicted for every example, in or out."""
    x_train, y_train, x_test, _ = data()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=10_000))
    model.fit(x_train[mask], y_train[mask])
    return model.predict(x_train), model.predict(x_test)
