"""Every experiment of the paper, small enough for a laptop, and one page with all figures.

    python analysis/paper.py [--out paper] [--trials 320] [--repeats 6] [--data FOLDER]

First what the paper is about, where it is beyond doubt: three settings (specs/laptop), each with the
removal of its memorized examples, and the theory's own model (specs/sweeps/long_tail.yaml). Then
Fashion-MNIST, 4,000 training examples, an MLP (specs/laptop/fashion.yaml). The runs: a reference, a
second one that differs in the seed only, one of another architecture, one without the memorized
examples, one with a linear head on the reference's features, one with random labels, and a sweep of
the subset ratio. Stop it when you like and start it again: it goes on. For other --trials give
another --out, since what is removed follows from them.
"""

from __future__ import annotations

import argparse
import csv
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import headline
import jinja2
import yaml
from common import print_table

from memexp.cli import console
from memexp.errors import command
from memexp.spec.index_sets import read_sets

HERE = Path(__file__).resolve().parent
SPECS = HERE.parent / "specs"
BASE = SPECS / "laptop/fashion.yaml"
SETTINGS = ("mixture", "fashion_1000", "no_tail")  # of specs/laptop

PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
img { max-width: 100%; } table { border-collapse: collapse; font-size: .85rem; } td, th { padding: .1rem .8rem .1rem 0;
text-align: left; border-bottom: 1px solid #ddd; } details { margin: .5rem 0; } pre { white-space: pre-wrap; }</style>
</head><body><h1>{{ title }}</h1><p>{{ about }}</p>
{% for part in parts %}<h2>{{ part.title }}</h2><p>{{ part.text }}</p>
{% if part.fault %}<p><strong>Not made.</strong> {{ part.fault }}</p>{% else %}
{% if part.picture %}<img src="{{ part.picture }}" alt="{{ part.title }}. {{ part.text }}">{% endif %}
<details{% if not part.picture %} open{% endif %}><summary>numbers</summary><table>
<tr>{% for value in part.rows[0] %}<th scope="col">{{ value }}</th>{% endfor %}</tr>{% for row in part.rows[1:] %}
<tr>{% for value in row %}<td>{{ value }}</td>{% endfor %}</tr>{% endfor %}</table></details>{% endif %}{% endfor %}
</body></html>"""

PARTS = {
    "headline": (
        "What agrees with the paper, and what does not",
        "A difference agrees where its sign is the expected one by more than three standard errors.",
    ),
    "contrast": (
        "Memorized examples are needed where data have a long tail",
        "Accuracy without the examples of memorization 0.25 or more, minus that without as many random ones, and what "
        "the trials alone predict; two standard errors. A mixture with a long tail of rare kinds; a thousand images of "
        "Fashion-MNIST; ambiguous labels and no tail.",
    ),
    "long_tail": (
        "The theory, measured",
        "A thousand subpopulations at Zipf frequencies, trained for 1 to 40 epochs. Test error is never below the "
        "bound of Feldman (2020); one training example of a rare kind is worth nearly all there is to gain.",
    ),
    "figure1": (
        "Figure 1: examples by memorization",
        "Five each, nearest to 0, 0.5 and 1, of evenly spaced classes.",
    ),
    "figure2": (
        "Figure 2: marginal utility",
        "Accuracy without the memorized examples, and without as many random ones; mean and standard deviation of the "
        "trials. Below, the share of the training set left. Dotted: CIFAR-100 as published.",
    ),
    "figure3": (
        "Figure 3: histograms",
        "Memorization, and influence of the selected pairs, beside CIFAR-100's as published.",
    ),
    "figure4": (
        "Figures 4 to 6: pairs",
        "Left a training example, evenly spaced in rank among the discoveries; beside it the tests that it helps most.",
    ),
    "figure7": (
        "Figure 7: consistency",
        "A second run, and another architecture; dashed what chance gives, dotted the paper's.",
    ),
    "table_high_influence": (
        "Table: the high-influence set",
        "What the training examples of the pairs are worth.",
    ),
    "table_last_layer": (
        "Table: the last layer",
        "A linear head on frozen features against the whole network.",
    ),
    "controls": (
        "Controls",
        "Convergence, the fractional score, and the memorization that random labels reach.",
    ),
    "duplicates": (
        "Near-duplicates between training and test set",
        "Training images above, test images below, evenly spaced in rank of correlation; what is left without them.",
    ),
    "ratios": (
        "The subset ratio",
        "Memorization over the share of the training set that a trial sees.",
    ),
}

_HOW = ("--executor", "local", "--yes", "--runs")


def memexp(*words: Any) -> None:
    """Run a command; its progress is shown. Ends the program where it fails: it has said why.

    A launch of which some trials failed (exit code 1) is no reason to stop: each script counts what there is.
    """
    console.out.say(command(*words))
    since = Spent.so_far()
    process = subprocess.Popen([sys.executable, "-m", "memexp", *map(str, words)])
    try:
        code = process.wait()
    except BaseException:  # stopped: it must not train on without us
        process.terminate()
        process.wait()
        raise
    if code not in ((0, 1) if words[0] == "launch" else (0,)):
        print("stopped at the command above; start this program again to go on from there", file=sys.stderr)
        sys.exit(code)
    console.out.say(f"  {since.since_then()}")


class Spent(NamedTuple):
    """Seconds of the clock, and those of processors in all programs that this one has called and seen end."""

    clock: float
    processors: float

    @classmethod
    def so_far(cls) -> Spent:
        """Now."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return cls(time.monotonic(), used.ru_utime + used.ru_stime)

    def since_then(self) -> str:
        """How long it took from then to now."""
        clock, processors = (now - then for now, then in zip(Spent.so_far(), self, strict=True))
        return f"{clock / 60:.1f} minutes, {processors:,.0f} s of processor time"


def end_as_by_ctrl_c() -> None:
    """SIGTERM and SIGHUP stop this program as Ctrl-C does: with its commands, and without a traceback."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    for name in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(name) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(name, interrupt)


def write_spec(path: Path, base: dict[str, Any], **blocks: Any) -> Path:
    """A spec that differs from the base in some blocks."""
    path.write_text(yaml.safe_dump(base | {"name": path.stem} | blocks, sort_keys=False), encoding="utf-8")
    return path


def train(out: Path, base: dict[str, Any], repeats: int) -> dict[str, Path]:
    """Launch all runs; their folders by name."""
    specs, runs = out / "specs", out / "runs"
    specs.mkdir(parents=True, exist_ok=True)
    launched = train_settings(specs, runs, base, 5 * repeats)

    def launch(spec: Path) -> Path:
        memexp("launch", spec, *_HOW, runs)
        launched[spec.stem] = runs / spec.stem
        return launched[spec.stem]

    subsets = base["subsets"]
    trials = subsets["trials"]
    whole = write_spec(specs / "reference.yaml", base)
    reference = launch(whole)
    launch(write_spec(specs / "second.yaml", base, subsets=subsets | {"seed": 1}))
    network = {"arch": "memexp_mlp", "hidden": [128, 128]}
    launch(write_spec(specs / "wider.yaml", base, model=network, subsets=subsets | {"seed": 3}))
    memexp("select", reference, "--pairs", "--out", specs / "removed.json")
    sets = read_sets(specs / "removed.json")["removed"]
    conditions = 2 * len(sets) - 1  # each list has a control, but for the one of nothing
    removal = {"design": "remove", "removed": "removed.json", "control": True, "seed": 2}
    removal["trials"] = conditions * repeats
    launch(write_spec(specs / "removal.yaml", base, subsets=removal))
    features = specs / "features.npz"
    if not features.exists():
        memexp("features", whole, "--out", features)
    head = {"arch": "memexp_mlp", "hidden": []}
    data = {"source": "npz", "path": "features.npz"}
    training = base["training"] | {"lr": 0.02, "epochs": 10, "min_in_accuracy": 0.0}
    launch(write_spec(specs / "linear.yaml", base, dataset=data, model=head, training=training))
    noise = {"label_noise": {"fraction": 0.9, "seed": 1}}  # of ten classes: labels that tell nothing
    gate = {"min_in_accuracy": 0.5}  # the same training does not fit random labels as well
    few = {"trials": max(20, trials // 4), "seed": 4}
    launch(
        write_spec(
            specs / "random_labels.yaml", base,
            dataset=base["dataset"] | noise, training=base["training"] | gate, subsets=subsets | few,
        )
    )  # fmt: skip
    ratios = {"half": {"ratio": 0.5, "seed": 5}, "nearly_all": {"ratio": 0.9, "seed": 6}}
    changes = {name: {"subsets": change | {"trials": max(20, trials // 2)}} for name, change in ratios.items()}
    sweep = specs / "ratios.yaml"
    sweep.write_text(
        yaml.safe_dump({"name": "ratios", "base": base, "vary": {"ratio": changes}}, sort_keys=False), encoding="utf-8"
    )
    memexp("launch", sweep, *_HOW, runs)
    launched |= {name: runs / "ratios" / name for name in ratios}
    return launched


def train_settings(specs: Path, runs: Path, base: dict[str, Any], repeats: int) -> dict[str, Path]:
    """The settings in which memorized examples are needed, or not, each with their removal; and the theory's model."""
    launched = {}

    def cut(block: dict[str, Any]) -> dict[str, Any]:
        block["subsets"]["trials"] = min(block["subsets"]["trials"], base["subsets"]["trials"])
        return block

    for name in SETTINGS:
        setting = cut(yaml.safe_load((SPECS / f"laptop/{name}.yaml").read_text(encoding="utf-8")))
        if "path" in setting["dataset"]:
            setting["dataset"]["path"] = base["dataset"]["path"]
        memexp("launch", write_spec(specs / f"{name}.yaml", setting), *_HOW, runs)
        memexp("select", runs / name, "--memorization", 0.25, "--out", specs / f"{name}.json")
        removal = {"design": "remove", "removed": f"{name}.json", "control": True, "seed": 2, "trials": 3 * repeats}
        memexp("launch", write_spec(specs / f"{name}_removal.yaml", setting, subsets=removal), *_HOW, runs)
        launched |= {each: runs / each for each in (name, f"{name}_removal")}
    sweep = yaml.safe_load((SPECS / "sweeps/long_tail.yaml").read_text(encoding="utf-8"))
    cut(sweep["base"])
    memexp("launch", write_spec(specs / "long_tail.yaml", sweep), *_HOW, runs)
    return launched | {"long_tail": runs / "long_tail"}


def draw(out: Path, runs: dict[str, Path]) -> dict[str, str]:
    """Call every script; why those that failed did, by name."""
    reference, faults = runs["reference"], {}
    pairs = [runs[each] for name in SETTINGS for each in (name, f"{name}_removal")]
    for script, arguments in (
        ("contrast", pairs),
        ("long_tail", [runs["long_tail"]]),
        ("figure1", [reference]),
        ("figure2", [runs["removal"]]),
        ("figure3", [reference]),
        ("figure4", [reference]),
        ("figure7", [reference, runs["second"], runs["wider"]]),
        ("table_high_influence", [reference, runs["removal"]]),
        ("table_last_layer", [reference, runs["linear"]]),
        ("controls", [reference, "--null", runs["random_labels"]]),
        ("duplicates", [reference, "--removal", runs["removal"], "--correlation", "0.97"]),
        ("ratios", [runs["half"], reference, runs["nearly_all"]]),
    ):
        command = [sys.executable, HERE / f"{script}.py", *arguments, "--out", out]
        since = Spent.so_far()
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, encoding="utf-8")
        print(done.stderr, end="", file=sys.stderr, flush=True)
        console.out.say(f"  {script}: {since.since_then()}")
        if done.returncode:
            print(f"{script} was not made", file=sys.stderr)
            faults[script] = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "It was killed."
    return faults


def write_page(out: Path, about: str, faults: dict[str, str]) -> Path:
    """One page with all figures and numbers; in place of one that was not made, why."""
    parts = []
    for name, (title, text) in PARTS.items():
        part: dict[str, Any] = {"title": title, "text": text, "fault": faults.get(name)}
        if name not in faults:
            part["rows"] = list(csv.reader((out / f"{name}.csv").read_text(encoding="utf-8").splitlines()))
            part["picture"] = f"{name}.png" if (out / f"{name}.png").exists() else ""
        parts.append(part)
    page = jinja2.Environment(autoescape=True).from_string(PAGE)
    (out / "index.html").write_text(
        page.render(title="The paper's experiments on a laptop", about=about, parts=parts), encoding="utf-8"
    )
    return out / "index.html"


def main() -> None:
    """Train, draw, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("paper"))
    parser.add_argument("--trials", type=int, default=320, help="of the larger runs on subsets [%(default)s]")
    parser.add_argument("--repeats", type=int, default=6, help="of each condition of the removal [%(default)s]")
    parser.add_argument("--data", type=Path, help="folder with Fashion-MNIST's four files")
    options = parser.parse_args()
    end_as_by_ctrl_c()
    base = yaml.safe_load(BASE.read_text(encoding="utf-8"))
    base["subsets"]["trials"] = options.trials
    if options.data:
        base["dataset"]["path"] = str(options.data.resolve())
    out = options.out.resolve()
    about = (
        f"{base['dataset']['limit']['train']:,} training images of Fashion-MNIST, {options.trials:,} trials of the "
        f"reference, {options.repeats:,} of each condition of the removal."
    )
    since = Spent.so_far()
    try:
        faults = draw(out, train(out, base, options.repeats))
    except KeyboardInterrupt:
        print("stopped; start this program again to go on", file=sys.stderr)
        sys.exit(3)
    rows = headline.tell(out)
    print(write_page(out, about, faults))
    print_table([headline.HEAD, *rows])
    print(f"in all {since.since_then()}; what was trained before is not counted")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
