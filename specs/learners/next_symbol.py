"""Next-symbol prediction (Brown et al. 2021): a transformer keeps the noise of the strings that it saw once.

Each cluster has a centre of random bits; a string is a centre of which each bit is flipped with probability NOISE / 2,
cut to a random length. A bit is to be predicted from those before it, so that the best answer for a fresh string is the
centre's bit: where a string of the training set differs from its centre, it tells nothing. The score of a string is the
accuracy over its bits.

After training, strings that were alone in their cluster are read out: how many of their bits the network says after
fresh strings of the cluster, and how many of their *noise*, the bits in which they differ from the centre.
"""

import numpy as np
import torch
from torch import nn

CLUSTERS, LENGTH, NOISE = 40, 128, 0.05
STRINGS = {"train": 80, "test": 400}


def strings(part):
    """Bits (N, LENGTH), which of them each string has, its cluster (N,), and the centres (CLUSTERS, LENGTH)."""
    count, draws = STRINGS[part], np.random.default_rng([part == "test", 1])
    centres = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (CLUSTERS, LENGTH)))
    cluster, lengths = draws.integers(0, CLUSTERS, count), draws.integers(2, LENGTH + 1, count)
    return noisy(centres[cluster], draws), torch.arange(LENGTH) < torch.from_numpy(lengths)[:, None], cluster, centres


def noisy(centres, draws):
    """The same bits, each flipped with probability NOISE / 2."""
    return centres ^ torch.from_numpy(draws.random(tuple(centres.shape)) < NOISE / 2)


def sizes():
    """How many training and test strings, with their clusters as names: trial() gives a number for each."""
    clusters = {part: strings(part)[2] for part in STRINGS}
    names = {f"id_{part}": [f"{part} {k}, cluster {c}" for k, c in enumerate(of)] for part, of in clusters.items()}
    return STRINGS | names


class Transformer(nn.Module):
    """One causal layer: bits (B, T) -> logits (B, T) of each bit being 1, from those before it."""

    def __init__(self, width):
        super().__init__()
        self.bits, self.places = nn.Embedding(3, width), nn.Embedding(LENGTH, width)  # 2: nothing came before
        self.layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.out = nn.Linear(width, 1)

    def forward(self, bits):
        """Of the bit at each place."""
        before = nn.functional.pad(bits[:, :-1], (1, 0), value=2)
        x = self.bits(before) + self.places.weight
        return self.out(self.layer(x, nn.Transformer.generate_square_subsequent_mask(LENGTH), is_causal=True))[..., 0]


def trial(mask, seed, epochs, width):
    """Train on the strings of the mask; the accuracy per bit of every string, in or out."""
    x, kept, cluster, centres = strings("train")
    model = Transformer(width)
    mine = torch.from_numpy(mask).nonzero()[:, 0]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(epochs):
        for batch in mine[torch.randperm(len(mine))].split(20):
            optimizer.zero_grad()
            losses = nn.functional.binary_cross_entropy_with_logits(model(x[batch]), x[batch].float(), reduction="none")
            losses[kept[batch]].mean().backward()
            optimizer.step()
    model.eval()

    @torch.no_grad()
    def accuracy(x, kept):
        right = ((model(x) > 0) == x) & kept
        return right.sum(1) / kept.sum(1)

    x_test, kept_test, *_ = strings("test")
    train, test = accuracy(x, kept), accuracy(x_test, kept_test)
    alone = mask & (np.bincount(cluster[mask], minlength=CLUSTERS) == 1)[cluster]
    return {"train": train, "test": test} | readout(model, x[alone], kept[alone], centres[cluster[alone]], seed)


@torch.no_grad()
def readout(model, x, kept, centres, seed):
    """Ask at each place which bit comes next after 100 fresh strings of the cluster; shares of bits that are so."""
    draws = np.random.default_rng(seed)
    said = torch.stack([model(noisy(centre.expand(100, -1), draws)).sigmoid().mean(0) > 0.5 for centre in centres])

    def share(of, where):
        return float(((said == of) & where).sum() / where.sum())

    fresh = noisy(centres, draws)
    return {
        "bits": share(x, kept),  # of the strings
        "noise": share(x, kept & (x != centres)),  # of those of their bits that differ from the centre
        "bits_fresh": share(fresh, kept),  # of strings that nobody trained on
        "noise_fresh": share(fresh, kept & (fresh != centres)),
    }
