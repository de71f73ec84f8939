"""A measured stop: the standard error to reach, and at which numbers of trials it is looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Goal:
    """Train until a share of the examples has a standard error of memorization of at most ``se``.

    Attributes
    ----------
    se, quantile
        The goal: this quantile over the training examples of ``memorization_se`` is at most ``se``.
    looks
        Numbers of trials at which it is measured, ascending; the last is the most that are trained.
    trials
        The look that is being trained for.
    judged, measured, counted
        Whether that look was taken; what was measured, from how many trials (failed ones do not count). Without a
        number, too many examples were in, or out, in all of them.
    expected
        The look at which these trials let expect the goal to be reached; None where they let expect it at none.
    """

    se: float
    quantile: float
    looks: list[int]
    trials: int
    judged: bool = False
    measured: float | None = None
    counted: int = 0
    expected: int | None = None

    @property
    def reached(self) -> bool:
        """Whether it was measured and is small enough."""
        return self.measured is not None and self.measured <= self.se

    @property
    def next(self) -> int | None:
        """The next look; None after the last."""
        return min((look for look in self.looks if look > self.trials), default=None)

    @property
    def ended(self) -> bool:
        """Whether nothing more is trained for it."""
        return self.judged and (self.reached or self.next is None)

    def at(self, trials: int) -> Goal:
        """The same for a run of so many trials; one with fewer than the first look goes up to that."""
        return replace(self, trials=max(trials, self.looks[0]), judged=False, measured=None, counted=0, expected=None)

    @property
    def what(self) -> str:
        """What is measured."""
        share = "median" if self.quantile == 0.5 else f"{self.quantile:g} quantile"
        return f"{share} of memorization_se over the training examples"

    def __str__(self) -> str:
        wanted = f"{self.what} at most {self.se:g}"
        if not self.judged:
            return f"{wanted}: measured at {self.trials:,} trials, of at most {self.looks[-1]:,}"
        found = "undefined" if self.measured is None else f"{self.measured:.4f}"
        failed = f" ({self.trials - self.counted:,} failed)" if self.counted < self.trials else ""
        now = f"{wanted}: {found} with {self.counted:,} trials{failed}"
        if self.reached:
            return f"{now}, reached"
        if self.next is None:
            return f"{now}, not reached with all trials of the spec; give it more, or accept this"
        least = f"more than {self.looks[-1]:,}" if self.expected is None else f"about {self.expected:,}"
        return f"{now}; goes on to {self.next:,} ({least} in all, by these trials)"
