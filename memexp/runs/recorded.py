"""What a spec records and keeps of its trials, against what these trials give."""

from __future__ import annotations

from memexp.data import Data
from memexp.data.own_trial import UNLABELLED
from memexp.spec.sections import UserTraining
from memexp.spec.spec import Spec
from memexp.spec.yaml_file import Fault
from memexp.store.layout import SUMS_LARGEST


def with_kind_of_answers(spec: Spec, data: Data) -> Spec:
    """What a trial of the user's own records, where the spec does not say: classes where sizes() gives labels."""
    if spec.trial is None or spec.record:
        return spec
    return spec.model_copy(update={"record": ["score"] if data.classes == UNLABELLED else ["correct", "predicted"]})


def record_faults(spec: Spec, data: Data | None) -> list[Fault]:
    """What cannot be recorded or kept of these trials."""
    if spec.trial is None:
        return _network_faults(spec, data)
    faults = []
    if spec.keep.weights:
        text = "a trial of your own has no weights that memexp knows; save them in trial()"
        faults.append(Fault(("keep", "weights"), text))
    if data is None:
        return faults
    if "correct" in spec.record and data.classes == UNLABELLED:
        text = "correct needs labels, and sizes() gives none; let it return those of both sides, or write [score]"
        faults.append(Fault(("record",), text))
    if "score" in spec.record and spec.subsets.target_se is not None:
        text = "holds for right and wrong answers, and numbers may spread as they like; write trials instead"
        faults.append(Fault(("subsets", "target_se"), text))
    return faults


def _network_faults(spec: Spec, data: Data | None) -> list[Fault]:
    faults = []
    if "learning" in spec.record and isinstance(spec.training, UserTraining):
        text = "learning is read off the steps of memexp's own recipe, which training.file replaces; delete it"
        faults.append(Fault(("record",), text))
    if "probabilities" in spec.record and data is not None:
        examples, classes = max(len(data.y_train), len(data.y_test)), len(data.classes)
        if 4 * examples * classes > SUMS_LARGEST:
            text = (
                f"probabilities of {examples:,} examples and {classes:,} classes would take "
                f"{4e-9 * examples * classes:.1f} GB for each block, and a chunk may have {SUMS_LARGEST / 1e9:.1f}; "
                "delete it, predicted gives votes instead"
            )
            faults.append(Fault(("record",), text))
    return faults
