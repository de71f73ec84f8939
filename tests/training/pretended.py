"""A GPU that is only pretended: tensors that say cuda:0 to Python and keep their numbers in the host's memory.

Every operation is computed, by the CPU's kernels, so that whole trials train and their numbers can be compared. What
only a GPU would tell is refused or counted: operands on two devices, generators and NumPy on the wrong side; where the
host waits for the device; how many kernels are launched. Not pretended: CUDA's rounding, streams, graphs, and memory.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import torch
import torch._dynamo  # which torch would import when the first operation is intercepted, half of it replaced by then
from torch import Tensor
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode

aten = torch.ops.aten
CUDA = torch.device("cuda", 0)

_READS_BACK = {aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten.equal.default}
_INDEXES = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
_NO_KERNEL = {
    aten.detach.default, aten.alias.default, aten.empty.memory_format, aten.empty_like.default,
    aten.empty_strided.default, aten.new_empty.default, aten.new_empty_strided.default, aten.lift_fresh.default,
}  # fmt: skip


class OnGpu(Tensor):
    """A tensor of the host that says it is on cuda:0; for C++, and so for autograd, it stays the host's."""

    inner: Tensor
    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnGpu:
        assert type(inner) is Tensor, type(inner)
        made = torch.Tensor._make_subclass(cls, inner, False)
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Where the mode is not: in threads that the code started."""
        return Gpu.here().called(func, args, dict(kwargs or {}))

    def cpu(self, *_: Any, **__: Any) -> Tensor:
        """The numbers, for which the host waits."""
        Gpu.here().wait("copy to the host")
        return self.detach().inner.clone()

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """Here or to the host; to another type here."""
        if args and isinstance(args[0], OnGpu):  # C++ would see a tensor of the host
            args = args[0].dtype, *args[1:]
        parsed = {key: kwargs[key] for key in ("device", "dtype", "non_blocking", "memory_format") if key in kwargs}
        device, dtype, _, memory_format = torch._C._nn._parse_to(*args, **parsed)
        if device is not None and device.type == "cpu":
            return self.cpu() if dtype is None else self.cpu().to(dtype)
        more = {} if memory_format is None else {"memory_format": memory_format}
        return super().to(dtype or self.dtype, copy=kwargs.get("copy", False), **more)

    def cuda(self, *_: Any, **__: Any) -> Tensor:
        return self

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu()")

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def pin_memory(self, *_: Any) -> Tensor:
        raise RuntimeError("cannot pin 'torch.cuda.FloatTensor': only dense CPU tensors can be pinned")

    def __array__(self, *_: Any) -> Any:
        return self.numpy()

    def __repr__(self) -> str:
        return f"OnGpu({tuple(self.shape)}, {self.dtype})"


class Gpu(TorchDispatchMode):
    """The pretended GPU and what it counted.

    Attributes
    ----------
    waits, kernels
        How often the host waited and kernels were launched, by the function of memexp that did it.
    """

    _active: ClassVar[list[Gpu]] = []

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.kernels: Counter[str] = Counter()
        self.generators: dict[int, torch.Generator] = {}
        self.pinned: set[int] = set()

    @classmethod
    def here(cls) -> Gpu:
        """The one that is pretended now."""
        assert cls._active, "a tensor of the pretended GPU outlived it"
        return cls._active[-1]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.called(func, args, dict(kwargs or {}))

    def called(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """One operation, computed by the host; refused or counted as CUDA would."""
        flat = _pytree.tree_leaves((args, kwargs))
        ours = [x for x in flat if isinstance(x, OnGpu)]
        device = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
        if func is aten._pin_memory.default:
            return self._pinned(args[0])
        if func is aten.is_pinned.default:
            return not ours and _place(args[0]) in self.pinned
        makes = device is not None and device.type == "cuda"
        if not (ours or makes):
            return func(*args, **kwargs)
        if makes:
            kwargs["device"] = torch.device("cpu")
        if func is aten._to_copy.default and not ours:
            self._upload(args[0], bool(kwargs.get("non_blocking")))
        elif func is aten.copy_.default and len(ours) == 1:
            self._copied(args, kwargs)
        else:
            self._refuse_other_devices(func, flat, kwargs)
            self._count(func, args)
        plain_args, plain_kwargs = _pytree.tree_map_only(OnGpu, lambda x: x.inner, (args, kwargs))
        out = func(*plain_args, **plain_kwargs)
        if func is aten.copy_.default and not isinstance(args[0], OnGpu):
            return args[0]
        back = {id(x.inner): x for x in ours}
        return _pytree.tree_map_only(Tensor, lambda x: back[id(x)] if id(x) in back else OnGpu(x), out)

    def wait(self, why: str) -> None:
        """Count that the host waits for the device."""
        self.waits[f"{_caller()}: {why}"] += 1

    def _pinned(self, x: Tensor) -> Tensor:
        copy = x.clone()
        self.pinned.add(_place(copy))
        return copy

    def _upload(self, source: Tensor, non_blocking: bool) -> None:
        if not (non_blocking and _place(source) in self.pinned):
            self.wait("copy to the device")

    def _copied(self, args: Any, kwargs: dict[str, Any]) -> None:
        target, source, *rest = args
        if isinstance(target, OnGpu):
            self._upload(source, bool(rest and rest[0]) or bool(kwargs.get("non_blocking")))
        else:
            self.wait("copy to the host")

    def _refuse_other_devices(self, func: Any, flat: list[Any], kwargs: dict[str, Any]) -> None:
        generator = kwargs.get("generator")
        if generator is not None and generator._cdata not in self.generators:
            raise RuntimeError(f"{func}: Expected a 'cuda' device type for generator but found 'cpu' in {_caller()}")
        host = [x for x in flat if isinstance(x, Tensor) and not isinstance(x, OnGpu) and x.dim()]
        if host and func in _INDEXES:
            self.wait("index from the host")
        elif host:
            raise RuntimeError(
                f"{func}: Expected all tensors to be on the same device, but found at least two devices, cuda:0 and "
                f"cpu! in {_caller()}"
            )

    def _count(self, func: Any, args: Any) -> None:
        by_mask = func in _INDEXES and any(x is not None and x.dtype in (torch.bool, torch.uint8) for x in args[1])
        if by_mask or func in _READS_BACK:
            self.wait(str(func))
        view = any(each.alias_info is not None and not each.alias_info.is_write for each in func._schema.returns)
        if not view and func not in _NO_KERNEL:
            self.kernels[_caller()] += 1


def _place(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()


def _caller() -> str:
    """The function of memexp that called torch, as ``file.py:function``."""
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if "/memexp/" in code.co_filename:
            return f"{Path(code.co_filename).name}:{code.co_name}"
        frame = frame.f_back
    return "elsewhere"  # backward passes run in a thread of torch's


@contextmanager
def pretend_gpu(free: int = 80 << 30, bf16: bool = True) -> Iterator[Gpu]:
    """Torch finds one GPU, with so many free bytes and with or without units for bf16."""
    gpu = Gpu()
    real_generator, real_to, real_autocast = torch.Generator, torch.Tensor.to, torch.autocast
    alike = torch._has_compatible_shallow_copy_type

    def generator(device: Any = "cpu") -> torch.Generator:
        made = real_generator("cpu")
        if torch.device(device).type == "cuda":
            gpu.generators[made._cdata] = made  # kept, so that its address stays its own
        return made

    def to(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        def numbered(each: Any) -> Any:  # C++ would ask the driver which one "cuda" is
            return CUDA if isinstance(each, str | torch.device) and str(each) == "cuda" else each

        if args and isinstance(args[0], OnGpu):
            args = CUDA, args[0].dtype, *args[1:]
        args, kwargs = tuple(map(numbered, args)), {key: numbered(value) for key, value in kwargs.items()}
        if _get_current_dispatch_mode() is None:  # in a thread that the code started
            with gpu:
                return real_to(x, *args, **kwargs)
        return real_to(x, *args, **kwargs)

    properties = SimpleNamespace(name="pretended", major=9, minor=0, total_memory=free, multi_processor_count=132)
    driver: dict[str, Any] = {
        "_lazy_init": lambda: None, "is_available": lambda: True, "device_count": lambda: 1,
        "current_device": lambda: 0, "set_device": lambda _: None, "synchronize": lambda *_: None,
        "mem_get_info": lambda *_: (free, free), "is_initialized": lambda: True, "manual_seed_all": lambda _: None,
        "is_bf16_supported": lambda including_emulation=True: including_emulation or bf16,
        "get_device_name": lambda *_: "pretended GPU", "get_device_properties": lambda *_: properties,
        "get_device_capability": lambda *_: (9, 0) if bf16 else (7, 5), "_is_in_bad_fork": lambda: False,
        "is_current_stream_capturing": lambda: False, "get_rng_state": lambda *_: torch.zeros(16, dtype=torch.uint8),
        "set_rng_state": lambda *_: None,
    }  # fmt: skip
    with ExitStack() as stack:
        for name, value in driver.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        stack.enter_context(mock.patch.object(torch, "Generator", generator))
        stack.enter_context(mock.patch.object(torch.Tensor, "to", to))
        stack.enter_context(mock.patch.object(torch, "autocast", lambda _, *a, **k: real_autocast("cpu", *a, **k)))
        # asks the driver
        health = "_accelerator_graph_capture_health_check"
        stack.enter_context(mock.patch.object(torch.optim.Optimizer, health, return_value=None, create=True))
        stack.enter_context(  # a module that moves to the GPU gets new parameters
            mock.patch.object(
                torch, "_has_compatible_shallow_copy_type",
                lambda a, b: isinstance(a, OnGpu) == isinstance(b, OnGpu) and alike(a, b),
            )
        )  # fmt: skip
        stack.enter_context(gpu)
        Gpu._active.append(gpu)
        stack.callback(Gpu._active.pop)
        yield gpu
