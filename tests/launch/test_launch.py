"""Launching: whatever is killed, the same bits come out; faults stop the work and lose nothing."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memexp.errors import DataError, InputError, MemexpError, RunBusy, RunMismatch
from memexp.launch.launch import launch_local
from memexp.launch.where import local_resources
from memexp.runs.pool import MAX_ATTEMPTS, LocalPool, Progress, Resources
from memexp.runs.run import Run, open_run, prepare_run
from memexp.runs.verify import verify
from memexp.store.commit import recover
from memexp.store.lock import launch_lock, lock_holder
from memexp.store.receipts import read_receipts
from tests.conftest import ROOT, Done, as_other_user, assert_same_outcomes, outcomes

pytestmark = pytest.mark.process

TWO = Resources(workers=2)


def ignore(_: Progress) -> None:
    pass


def worker_pids(parent: int) -> list[int]:
    """Worker processes that a launching process has started and that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == parent and fields[0] != "Z":
                found.append(int(path.parent.name))
        except (OSError, IndexError):
            continue
    return found


def start(spec: Path, runs: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "memexp", "launch", spec, "--runs", runs, "--device", "cpu", "--workers", "2"]
    return subprocess.Popen(
        [*command, *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored in background jobs
    )  # fmt: skip


@pytest.mark.process
def test_the_same_spec_gives_the_same_bits_whatever_the_workers(new_run: Callable[..., Run]) -> None:
    a, b = new_run("a"), new_run("b", name="another")
    assert launch_local(a, Resources(workers=2), ignore).trained == 20
    assert launch_local(b, Resources(workers=1), ignore).trained == 20
    assert_same_outcomes(a, b)
    assert launch_local(a, TWO, ignore).trained == 0


@pytest.mark.process
def test_ten_kills_at_random_change_nothing(new_run: Callable[..., Run], write_spec: Any, tmp_path: Path) -> None:
    """Workers are killed with SIGKILL ten times while they load, train and write; two launches in all or more."""
    blocks: dict[str, Any] = {"subsets": {"trials": 60}, "training": {"epochs": 40}}
    quiet = new_run("quiet", **blocks)
    launch_local(quiet, TWO, ignore)
    spec = write_spec(**blocks)
    draws, kills, launches = np.random.default_rng(0), 0, 0
    while kills < 10:
        launched = start(spec, tmp_path / "noisy")
        launches += 1
        assert launches < 12
        while launched.poll() is None and kills < 10:
            time.sleep(draws.uniform(0.3, 1.5))
            victims = worker_pids(launched.pid)
            if victims:
                os.kill(victims[draws.integers(len(victims))], signal.SIGKILL)
                kills += 1
        _, errors = launched.communicate()
        assert launched.returncode in (0, 1), errors
        if not open_run(tmp_path / "noisy/tiny").store().missing_blocks() and kills < 10:
            shutil.rmtree(tmp_path / "noisy")  # it was too quick for ten kills: again from the start
    noisy = open_run(tmp_path / "noisy/tiny")
    launch_local(noisy, TWO, ignore)
    assert not noisy.store().missing_blocks()
    assert_same_outcomes(quiet, noisy)


def test_kill_9_of_everything_then_launch_again(new_run: Callable[..., Run], write_spec: Any, tmp_path: Path) -> None:
    blocks: dict[str, Any] = {"subsets": {"trials": 40}, "training": {"epochs": 60}}
    quiet = new_run("quiet", **blocks)
    launch_local(quiet, TWO, ignore)
    spec = write_spec(**blocks)
    launched = start(spec, tmp_path / "noisy")
    while not list((tmp_path / "noisy").glob("tiny/blocks/*.json")):
        time.sleep(0.05)
        assert launched.poll() is None, launched.communicate()
    workers = worker_pids(launched.pid)
    launched.kill()
    launched.communicate()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text() for pid in workers):
        assert time.monotonic() < deadline, "workers outlive the process that started them"
        time.sleep(0.1)
    again = start(spec, tmp_path / "noisy")
    _, errors = again.communicate()
    assert again.returncode == 0, errors
    assert_same_outcomes(quiet, open_run(tmp_path / "noisy/tiny"))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_loses_at_most_the_running_blocks(how: signal.Signals, write_spec: Any, tmp_path: Path) -> None:
    spec = write_spec(subsets={"trials": 2000}, training={"epochs": 60})
    launched = start(spec, tmp_path / "runs")
    while len(list((tmp_path / "runs").glob("tiny/blocks/*.json"))) < 2:
        time.sleep(0.05)
        assert launched.poll() is None, launched.communicate()
    launched.send_signal(how)
    _, errors = launched.communicate(timeout=20)
    assert launched.returncode == 3
    assert "finished blocks are kept. Go on with `memexp resume" in errors
    assert not worker_pids(launched.pid)
    run = open_run(tmp_path / "runs/tiny")
    recover(run.paths, run.store(writable=True))  # as the next launch does: a claimed block is published
    assert (run.store().status() == 1).sum() >= 20


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_nothing_trains_on_once_the_script_of_all_experiments_is_stopped(
    how: signal.Signals, write_spec: Any, tmp_path: Path
) -> None:
    """analysis/paper.py starts launches, which start workers."""
    spec = write_spec(subsets={"trials": 2000}, training={"epochs": 60})
    code = (
        "import signal, sys, paper\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where nohup began these tests\n"
        "paper.end_as_by_ctrl_c()\n"
        "try: paper.memexp('launch', sys.argv[1], '--runs', sys.argv[2], '--executor', 'local', '--yes')\n"
        "except KeyboardInterrupt: sys.exit(3)"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'analysis'}:{ROOT}"}
    script = subprocess.Popen(
        [sys.executable, "-c", code, spec, tmp_path / "runs"], env=environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not list((tmp_path / "runs").glob("tiny/blocks/*.json")):
        time.sleep(0.05)
        assert script.poll() is None
    launched = worker_pids(script.pid)
    everything = {*launched, *(pid for parent in launched for pid in worker_pids(parent))}
    assert len(everything) >= 2
    script.send_signal(how)
    assert script.wait(120) == 3
    deadline = time.monotonic() + 10
    while any(str(tmp_path) in command_line(pid) for pid in everything):
        assert time.monotonic() < deadline, "a launch, or a worker, outlives the script"
        time.sleep(0.1)


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_a_run_grows_without_redoing_a_trial(new_run: Callable[..., Run]) -> None:
    small = new_run(subsets={"trials": 14})
    launch_local(small, TWO, ignore)
    first = {receipt.staged for receipt in read_receipts(small.paths)}
    grown = new_run(subsets={"trials": 30})
    assert grown.paths.root == small.paths.root
    with launch_lock(small.paths), pytest.raises(RunBusy):  # a launch that is refused changes nothing
        launch_local(grown, TWO, ignore)
    assert len(small.store().status()) == 14
    assert open_run(small.paths.root).spec.subsets.trials == 14
    # killed while the store grew: it is the old one, and grows again
    small.store(writable=True)._array("mask").resize((30, 200))
    assert small.store().layout.n_trials == len(small.store().status()) == 14
    assert launch_local(grown, TWO, ignore).trained == 16
    assert first <= {receipt.staged for receipt in read_receipts(grown.paths)}
    whole = new_run("whole", subsets={"trials": 30})
    launch_local(whole, TWO, ignore)
    for name in ("mask", "train_correct", "test_correct"):
        # trials 10 to 19 trained as 10-13 and 14-19: masks are the same, and outcomes here too
        a = np.concatenate([grown.store().read_block(n)[name] for n in range(3)])
        b = np.concatenate([whole.store().read_block(n)[name] for n in range(3)])
        np.testing.assert_array_equal(a, b)
    # fewer trials than there are is no reason to do anything
    assert len(new_run(subsets={"trials": 14}).store().status()) == 30


def test_a_run_goes_on_after_a_power_loss_that_took_flushed_files(run_copy: Run, memexp: Callable[..., Any]) -> None:
    before, trials = outcomes(run_copy), run_copy.paths.trials
    receipts = {path.name: path.read_bytes() for path in run_copy.paths.blocks.iterdir()}
    for lost in ("status/c/1", "status/c/2", "mask/c/2/0"):
        (trials / lost).unlink()
    done = memexp("resume", run_copy.paths.root, "--workers", 0)
    assert done.returncode == 0, done.stderr
    assert "20 of 40 trials are settled already" in done.stderr
    for name, values in outcomes(run_copy).items():
        np.testing.assert_array_equal(values, before[name])
    kept = [name for name, content in receipts.items() if (run_copy.paths.blocks / name).read_bytes() == content]
    assert sorted(receipts.keys() - kept) == ["000020-000029.json"]  # the others were not trained again
    assert not verify(run_copy, retrain=0).problems


def test_another_experiment_is_refused_field_by_field(new_run: Callable[..., Run]) -> None:
    run = new_run()
    with pytest.raises(RunMismatch) as caught:
        new_run(training={"lr": 0.1}, subsets={"seed": 4})
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{run.paths.root} holds another experiment; nothing was changed. Differences:"
    assert "  training.lr: 0.05 there, 0.1 in this spec" in lines
    assert "  subsets.seed: 3 there, 4 in this spec" in lines
    assert lines[-1].startswith("Give this spec another name")
    with pytest.raises(RunMismatch, match=r"data.x_train: .* there, .* in this spec"):
        new_run(dataset={"source": "digits", "limit": {"train": 201, "test": 60}})


def test_two_launches_at_once_exclude_each_other(new_run: Callable[..., Run]) -> None:
    run = new_run()
    assert lock_holder(run.paths) is None
    with launch_lock(run.paths):
        holder = lock_holder(run.paths)
        assert holder is not None
        assert holder["pid"] == os.getpid()
        with pytest.raises(RunBusy, match=rf"being trained by process {os.getpid()}.*memexp status"):
            launch_local(run, TWO, ignore)
    assert lock_holder(run.paths) is None


def test_one_who_looks_does_not_keep_a_launch_out(new_run: Callable[..., Run]) -> None:
    run = new_run()
    run.paths.lock.touch()
    with open(run.paths.lock) as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        threading.Timer(0.3, look.close).start()
        with launch_lock(run.paths):
            assert look.closed


def test_a_file_system_without_locks_is_named(new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    run = new_run()

    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", no_locks)
        with pytest.raises(InputError, match=r"has no file locks \(flock: Function not implemented\).*--runs"):
            launch_local(run, TWO, ignore)
        run.paths.lock.touch()
        assert lock_holder(run.paths) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_the_run_of_another_user_is_refused_without_a_traceback(new_run: Callable[..., Run]) -> None:
    run = new_run()
    run.paths.manifest.chmod(0o600)
    os.chown(run.paths.manifest, 65534, 65534)
    done = subprocess.run(
        [*as_other_user(), sys.executable, "-m", "memexp", "status", run.paths.root], capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert "manifest.json: permission denied; ask its owner" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_launches_at_the_same_moment_make_one_run(write_spec: Any, tmp_path: Path) -> None:
    spec = write_spec(subsets={"trials": 20})
    both = [start(spec, tmp_path / "runs") for _ in range(2)]
    ends = [(p.communicate(), p.returncode) for p in both]
    assert sorted(code for _, code in ends) in ([0, 3], [0, 0]), ends
    run = open_run(tmp_path / "runs/tiny")
    assert len(list(read_receipts(run.paths))) == 2
    assert (run.store().status() == 1).all()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["tiny"]


def test_failed_trials_are_recorded_with_their_reason_and_never_as_data(write_spec: Any, tmp_path: Path) -> None:
    launched = start(write_spec(training={"lr": 1e20}, subsets={"trials": 10}), tmp_path / "runs")
    out, errors = launched.communicate()
    assert launched.returncode == 1
    run = open_run(tmp_path / "runs/tiny")
    content = run.store().read_block(0)
    assert (content["status"] == 2).all()
    assert not content["train_correct"].any()
    (receipt,) = read_receipts(run.paths)
    assert "not finite" in receipt.failures["7"]
    assert "10 trials: the loss is not finite" in errors
    assert str(run.paths.root) in out


def test_changed_data_stop_the_launch(tmp_path: Path, new_run: Callable[..., Run]) -> None:
    draws = np.random.default_rng(0)
    arrays = {"x_train": draws.integers(0, 256, (80, 4, 4), dtype=np.uint8), "y_train": np.arange(80) % 4}
    np.savez(tmp_path / "d.npz", **arrays, x_test=arrays["x_train"], y_test=arrays["y_train"])
    run = new_run(dataset={"source": "npz", "path": str(tmp_path / "d.npz")})
    arrays["x_train"][3, 1, 1] ^= 1
    np.savez(tmp_path / "d.npz", **arrays, x_test=arrays["x_train"], y_test=arrays["y_train"])
    with pytest.raises(MemexpError, match=r"have changed since it was created \(x_train, x_test differ\)") as caught:
        launch_local(run, TWO, ignore)
    assert caught.value.exit_code == DataError.exit_code == 2


def test_a_block_that_always_kills_its_worker_is_given_up(new_run: Callable[..., Run], monkeypatch: Any) -> None:
    """A worker is killed whenever it starts block 1; the other blocks are finished all the same."""
    run = new_run(subsets={"trials": 30})
    killer = threading.Thread(target=lambda: None)

    def on_progress(_: Progress) -> None:
        for path in run.paths.attempts.glob("*.json"):
            record = json.loads(path.read_text())
            if pool.busy_with(1) == record["pid"]:
                os.kill(record["pid"], signal.SIGKILL)

    from memexp.runs import pool as local

    class Watched(local.LocalPool):
        def busy_with(self, block: int) -> int | None:
            return next((w.process.pid for w in self._workers if w.block == block), None)

        def _start(self) -> None:
            super()._start()
            assert sorted(worker.place for worker in self._workers) == list(range(len(self._workers)))

        def _give(self, worker: Any, waiting: Any) -> None:
            super()._give(worker, waiting)
            if worker.block == 1:
                worker.process.kill()

    pool = Watched(run.paths, "test", TWO)
    given_up = pool.train([0, 1, 2], on_progress)
    assert not killer.is_alive()
    assert list(given_up) == [1]
    assert f"killed by signal 9 ({MAX_ATTEMPTS} times); see" in given_up[1]
    assert run.store().missing_blocks() == [1]


def test_a_worker_out_of_memory_says_what_to_do() -> None:
    from memexp.runs.worker import _in_words

    assert _in_words(ValueError("x")) == "ValueError: x"
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    assert "Tried to allocate 2.00 GiB. The GPU's memory is full: use fewer workers for each GPU (--" in _in_words(full)
    for said in (
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ):
        assert "The GPU's memory is full" in _in_words(RuntimeError(said))
    assert "use fewer --workers, or ask for more" in _in_words(MemoryError())


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (None, ["0", "1", "0", "1"]),
        ("2,5", ["2", "5", "2", "5"]),
        ("MIG-a, MIG-b", ["MIG-a", "MIG-b", "MIG-a", "MIG-b"]),
        ("GPU-7f,GPU-8e,GPU-9d", ["GPU-7f", "GPU-8e", "GPU-7f", "GPU-8e"]),
        ("3", ["3", "3", "3", "3"]),  # fewer than were asked for: better those than none
    ],
)
def test_each_worker_is_shown_one_gpu_in_turn(shown: str | None, expected: list[str]) -> None:
    four = Resources(workers=4, device="cuda", gpus=2)
    assert [four.environment_of(place, shown)["CUDA_VISIBLE_DEVICES"] for place in range(4)] == expected
    assert four.sharing == 2
    assert Resources(workers=2, device="cuda", gpus=1).environment_of(1, shown) == {}
    assert Resources(workers=3).environment_of(1, shown) == {}


@pytest.mark.process
def test_a_worker_is_started_with_its_gpu_and_with_how_many_share_it(
    new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[list[Any], str | None]] = []

    class Noted(subprocess.Popen[str]):
        def __init__(self, words: list[Any], env: dict[str, str], **options: Any) -> None:
            started.append(([*words[-5:-2], words[-1]], env.get("CUDA_VISIBLE_DEVICES")))
            super().__init__([sys.executable, "-c", ""], env=env, **options)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b")
    pool = LocalPool(new_run().paths, "test", Resources(workers=4, device="cuda", gpus=2))
    with pytest.raises(MemexpError, match="workers end before they start"):
        pool.train(range(4), lambda _: None)
    assert [gpu for _, gpu in started[:4]] == ["MIG-a", "MIG-b", "MIG-a", "MIG-b"]
    assert {tuple(words) for words, _ in started} == {("cuda", "1", "2", "off")}


@pytest.mark.parametrize(("shown", "seen", "gpus"), [("", 2, 2), ("MIG-a,MIG-b", 1, 2), ("MIG-a", 0, 0), ("0", 1, 1)])
def test_parts_of_a_divided_gpu_are_counted_by_their_names(
    shown: str, seen: int, gpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    found = local_resources()
    assert (found.gpus, found.device) == (gpus, "cuda" if gpus else "cpu")


def test_a_stop_tells_how_long_the_block_would_have_taken(new_run: Callable[..., Run]) -> None:
    run = new_run(training={"epochs": 30000})
    pool = LocalPool(run.paths, "test", Resources(workers=1))
    pool.train([0], lambda now: pool.stop(0) if any(now.running.values()) else None)
    (seconds,) = pool.unfinished
    assert seconds > 5


def test_workers_that_cannot_start_are_reported(new_run: Callable[..., Run]) -> None:
    run = new_run()
    with pytest.raises(MemexpError, match=r"workers end before they start: .*nonsense.*See .*\.log"):
        launch_local(run, Resources(workers=1, device="nonsense"), ignore)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="only root can mount a small disk")
def test_a_full_disk_loses_nothing_and_says_so(new_run: Callable[..., Run], tmp_path: Path, write_spec: Any) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1600k", "tmpfs", disk], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        blocks: dict[str, Any] = {"record": ["correct", "margin"], "subsets": {"trials": 60}}
        run = prepare_run(*_spec_and_data(write_spec(**blocks)), disk)
        ballast = disk / "ballast"
        launched = start(tmp_path / "spec.yaml", disk)
        while not (run.store().status() == 1).any():
            time.sleep(0.02)
            assert launched.poll() is None, launched.communicate()
        with open(ballast, "wb", buffering=0) as stream, suppress(OSError):
            while True:  # fill the disk to the last byte while workers are writing
                stream.write(b"x" * 4096)
        _, errors = launched.communicate()
        assert launched.returncode == 1, errors
        assert "no space left" in errors.lower()
        assert "Free some space" in errors
        kept = int((run.store().status() == 1).sum())
        assert 10 <= kept < 60
        ballast.unlink()
        again = start(tmp_path / "spec.yaml", disk)
        _, errors = again.communicate()
        assert again.returncode == 0, errors
        whole = new_run("whole", **blocks)
        launch_local(whole, TWO, ignore)
        assert_same_outcomes(whole, run)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def _spec_and_data(path: Path) -> tuple[Any, Any]:
    from memexp.data import load_data
    from memexp.spec.reading import read_spec

    spec = read_spec(path).spec
    return spec, load_data(spec.dataset)


def test_training_in_the_launching_process_gives_the_same_bits(
    memexp: Callable[..., Done], write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    spec = write_spec()
    for runs, workers in (("here", 0), ("pool", 2)):
        done = memexp("launch", spec, "--runs", runs, "--device", "cpu", "--workers", workers)
        assert done.returncode == 0, done.stderr
    assert_same_outcomes(open_run(tmp_path / "here/tiny"), open_run(tmp_path / "pool/tiny"))
