"""A model's passes on a GPU as two graphs: launched as wholes, not kernel by kernel."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils import _pytree as pytree

from sar_codec.errors import UserError

_WARM_UPS = 3  # in which algorithms are chosen and kernels compiled


class Replayed(nn.Module):
    """A model in training whose forward and backward passes are recorded once, and then replayed.

    A network of a few channels keeps a GPU waiting for the next launch most of the time. Batches of
    each shape are recorded when the first one comes. What a recorded pass reads and writes stays
    where it is: parameters and buffers may change in place only, and gradients and results are
    overwritten by the next pass. Evaluation runs as it would without. Modules that have
    `weights_changed()` are told of each replayed pass, in which no line of theirs runs.

    Args:
        model: on a GPU; may not make it wait for the host.
        autocast: the context that the model is to be run in.

    Raises:
        UserError: the model cannot be recorded; at the first batch.
    """

    def __init__(
        self, model: nn.Module, autocast: Callable[[], AbstractContextManager[None]]
    ) -> None:
        super().__init__()
        self.model = model
        self._autocast = autocast
        self._passes: dict[torch.Size, _Passes] = {}
        told = (getattr(each, "weights_changed", None) for each in model.modules())
        self._told = [each for each in told if callable(each)]

    def forward(self, x: Tensor) -> Any:
        if not self.model.training:
            return self.model(x)
        if x.shape not in self._passes:
            self._passes[x.shape] = self._recorded(x)
        passes = self._passes[x.shape]
        outputs = _Replay.apply(passes, x, *passes.parameters)
        for tell in self._told:
            tell()
        return pytree.tree_unflatten(list(outputs), passes.structure)

    def _recorded(self, x: Tensor) -> "_Passes":
        """The passes for batches of this shape; buffers and random numbers stay as they were."""
        buffers = [(each, each.clone()) for each in self.model.buffers()]
        state = torch.cuda.get_rng_state(x.device)
        # What was cast in the context outside must not be found, nor be kept, in a graph.
        parameters = [each for each in self.model.parameters() if each.requires_grad]
        try:
            with torch.autocast(x.device.type, enabled=False):
                passes = _Passes(self._run, x, parameters)
        except RuntimeError as error:
            _record_nothing(x.device)
            reason = str(error).splitlines()[0]
            raise UserError(
                f"trainer.replay=true: {type(self.model).__name__} cannot be recorded ({reason}); "
                "leave it out"
            ) from error
        for buffer, before in buffers:
            buffer.copy_(before)
        torch.cuda.set_rng_state(state, x.device)
        return passes

    def _run(self, x: Tensor) -> Any:
        with self._autocast():
            return self.model(x)


def _record_nothing(device: torch.device) -> None:
    """A recording that failed leaves the random generator recording: one that ends, ends that."""
    how: dict[str, Any] = {"capture_error_mode": "thread_local"}
    with (
        suppress(RuntimeError),
        torch.cuda.device(device),
        torch.cuda.graph(torch.cuda.CUDAGraph(), **how),
    ):
        torch.zeros(1, device=device)


class _Passes:
    """Recorded passes of a function, and the memory that they read and write.

    Attributes:
        x: what they read.
        parameters: likewise.
        structure: of the function's result.
        outputs: the tensors of that.
        has_gradient: whether each has one.
        output_gradients: what the backward pass reads.
        gradients: of the parameters; None of those that tell nothing.
    """

    def __init__(
        self, function: Callable[[Tensor], Any], x: Tensor, parameters: Sequence[Tensor]
    ) -> None:
        self.x = x.clone()
        self.parameters = parameters
        stream, pool = torch.cuda.Stream(x.device), torch.cuda.graph_pool_handle()
        stream.wait_stream(torch.cuda.current_stream(x.device))
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                outputs = pytree.tree_leaves(function(self.x))
                self._backward(outputs, [torch.ones_like(each) for each in outputs])
                del outputs
        torch.cuda.current_stream(x.device).wait_stream(stream)
        # Other threads, as of loaders, may ask the GPU for memory meanwhile.
        how: dict[str, Any] = {"capture_error_mode": "thread_local", "stream": stream, "pool": pool}
        self.forward_graph, self.backward_graph = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.forward_graph, **how):
            leaves, self.structure = pytree.tree_flatten(function(self.x))
        # Who held on to the graph of autograd would have its stream in all later ones.
        self.outputs = [each.detach() for each in leaves]
        self.has_gradient = [each.requires_grad for each in leaves]
        self.output_gradients = [torch.zeros_like(each) for each in leaves]
        with torch.cuda.graph(self.backward_graph, **how):
            self.gradients = _apart(self._backward(leaves, self.output_gradients))

    def _backward(self, outputs: list[Tensor], of_outputs: list[Tensor]) -> Sequence[Tensor | None]:
        pairs = [pair for pair in zip(outputs, of_outputs, strict=True) if pair[0].requires_grad]
        with_gradient, their_gradients = zip(*pairs, strict=True)
        return torch.autograd.grad(
            with_gradient, self.parameters, their_gradients, allow_unused=True
        )


def _apart(gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Copies of those that another parameter has too, as clipping scales each in place."""
    seen: set[int] = set()
    result = []
    for each in gradients:
        if each is not None and each.data_ptr() in seen:
            each = each.clone()
        if each is not None:
            seen.add(each.data_ptr())
        result.append(each)
    return result


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, passes: _Passes, x: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
        passes.x.copy_(x)
        passes.forward_graph.replay()
        ctx.passes = passes
        outputs = tuple(each.detach() for each in passes.outputs)
        pairs = zip(outputs, passes.has_gradient, strict=True)
        ctx.mark_non_differentiable(*(each for each, has_gradient in pairs if not has_gradient))
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        passes: _Passes = ctx.passes
        for held, has_gradient, given in zip(
            passes.output_gradients, passes.has_gradient, gradients, strict=True
        ):
            if has_gradient:
                held.copy_(given)
        passes.backward_graph.replay()
        return None, None, *(each if each is None else each.detach() for each in passes.gradients)
