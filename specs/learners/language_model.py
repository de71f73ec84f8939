"""A language model of characters, trained from scratch: counterfactual memorization with a planted truth.

The model is that of Bengio et al. (2003): the last eight characters, embedded, through one hidden layer. Its text are
sentences of one grammar, some of them eight times (planted duplicates), and lines of random letters, each of them once.
The score of a line is its accuracy per character, given the first four (Zhang et al. 2021).
"""

import numpy as np
import torch
from torch import nn

NOUNS = "river mountain garden window teacher sailor winter village candle horse".split()  # noqa: SIM905
VERBS = "follows remembers watches carries answers crosses paints forgets".split()  # noqa: SIM905
ADJECTIVES = "old quiet green narrow distant early broken golden heavy small".split()  # noqa: SIM905
LETTERS, CONTEXT, GIVEN = " abcdefghijklmnopqrstuvwxyz", 8, 4
KINDS = {"sentence": 240, "duplicate": 80, "unique": 20, "test": 60}  # lines; ten duplicates, eight times each


def lines(kind):
    """The lines of one kind."""
    draws = np.random.default_rng([len(kind), KINDS[kind]])
    if kind == "unique":
        return ["".join(draws.choice([*LETTERS[1:]], 24)) for _ in range(KINDS[kind])]
    parts = ["the"], ADJECTIVES, NOUNS, VERBS, ["the"], ADJECTIVES, NOUNS
    count = KINDS[kind] // 8 if kind == "duplicate" else KINDS[kind]
    made = [" ".join(str(draws.choice(part)) for part in parts) for _ in range(count)]
    return [line for line in made for _ in range(KINDS[kind] // count)]


def tokens(text):
    """Contexts (T, 8) and the characters that follow them (T,), and the number of its line and its place there."""
    rows = [
        ([LETTERS.index(c) for c in (" " * CONTEXT + line)[k : k + CONTEXT]], LETTERS.index(line[k]), number, k)
        for number, line in enumerate(text)
        for k in range(len(line))
    ]
    return [torch.tensor(column) for column in zip(*rows, strict=True)]


def sizes():
    """How many training and test lines, with their text as names: trial() gives a number for each."""
    kinds = ["sentence", "duplicate", "unique"]
    names = [f"{kind} {k}: {line}" for kind in kinds for k, line in enumerate(lines(kind))]
    return {"train": len(names), "test": KINDS["test"], "id_train": names, "id_test": lines("test")}


def trial(mask, seed, epochs, width):
    """Train on the lines of the mask; the accuracy per character of every line, in or out."""
    x, y, line, place = tokens(lines("sentence") + lines("duplicate") + lines("unique"))
    model = nn.Sequential(
        nn.Embedding(len(LETTERS), 16), nn.Flatten(), nn.Linear(16 * CONTEXT, width), nn.ReLU(), nn.Linear(width, 27)
    )
    mine = torch.from_numpy(mask)[line].nonzero()[:, 0]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for batch in mine[torch.randperm(len(mine))].split(256):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
        schedule.step()

    @torch.no_grad()
    def accuracy(x, y, line, place):
        kept = place >= GIVEN
        right = (model(x).argmax(1) == y)[kept].double()
        return torch.bincount(line[kept], right) / torch.bincount(line[kept])

    return accuracy(x, y, line, place), accuracy(*tokens(lines("test")))
