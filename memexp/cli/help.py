"""What `--help` says beside the commands' own words: their groups, and an example of each."""

from __future__ import annotations

GROUPS = RUN, RESULTS, TOOLS = "Run", "Results", "Tools"

# Group and example of every command, in the order in which a user comes to them.
EXAMPLES: dict[str, tuple[str, str]] = {
    "init": (RUN, "memexp init mine.yaml --kind folder"),
    "plan": (RUN, "memexp plan specs/digits.yaml"),
    "launch": (RUN, "memexp launch specs/digits.yaml --until se=0.03"),
    "status": (RUN, "memexp status runs/digits --usage"),
    "resume": (RUN, "memexp resume runs/digits --only timeout,oom --time-min 240"),
    "cancel": (RUN, "memexp cancel runs/digits"),
    "logs": (RUN, "memexp logs runs/digits --failed"),
    "verify": (RUN, "memexp verify runs/digits --retrain 3"),
    "merge": (RESULTS, "memexp merge runs/digits runs/digits_seed1"),
    "estimate": (RESULTS, "memexp estimate runs/digits --fdr 0.05"),
    "report": (RESULTS, "memexp report runs/digits"),
    "labels": (RESULTS, "memexp labels runs/digits --csv labels.csv"),
    "values": (RESULTS, "memexp values runs/digits --top 10"),
    "compare": (RESULTS, "memexp compare runs/digits runs/digits_seed1"),
    "attack": (RESULTS, "memexp attack runs/digits --json"),
    "lds": (RESULTS, "memexp lds runs/digits scores.npy"),
    "datamodel": (RESULTS, "memexp datamodel runs/digits --out weights.npy"),
    "select": (RESULTS, "memexp select runs/digits --out removed.json"),
    "export": (RESULTS, "memexp export runs/digits --out digits.csv"),
    "doctor": (TOOLS, "memexp doctor --profile mine"),
    "prepare": (TOOLS, "memexp prepare photos/ photos64/ --size 64"),
    "features": (TOOLS, "memexp features specs/digits.yaml --out features.npz"),
    "import": (TOOLS, "memexp import runs/theirs --masks masks.npy --correct right.npy --labels y.npy"),
    "schema": (TOOLS, "memexp schema"),
}


def group(name: str) -> str:
    """The group of a command in the list of all."""
    return EXAMPLES[name][0]


def example(name: str) -> str:
    """The last line of a command's help."""
    return f"Example: {EXAMPLES[name][1]}"
