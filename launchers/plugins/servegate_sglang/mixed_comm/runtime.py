"""What the plugin reads from a running SGLang: its layout, its groups, and the state of a call."""

from typing import Any

import torch
from sglang.srt import runtime_context
from sglang.srt.layers import dp_attention

from servegate_sglang.mixed_comm.handlers import Group
from servegate_sglang.mixed_comm.policy import Call, Direction, Layout, Matrix
from servegate_sglang.mixed_comm.targets import Version


def dtype_name(dtype: torch.dtype) -> str:
    """`bfloat16` for torch.bfloat16."""
    return str(dtype).removeprefix("torch.")


def read_group(version: Version) -> Group:
    """Ranks and layout of this scheduler, after distributed init and the sizing of the buffer."""
    parallel = runtime_context.get_parallel()
    data_parallel = runtime_context.get_flags().dp
    layout = Layout(
        rank=torch.distributed.get_rank(),
        world_size=torch.distributed.get_world_size(),
        tp_size=parallel.tp_size,
        attention_tp=parallel.attn_tp_size,
        attention_dp=parallel.attn_dp_size,
        attention_cp=parallel.attn_cp_size,
        pipeline=parallel.pp_size,
        attention_dp_enabled=dp_attention.is_dp_attention_enabled(),
        dtype=dtype_name(data_parallel.buffer_dtype),
        **_modes(version),
    )
    return Group(
        layout=layout,
        dtype=data_parallel.buffer_dtype,
        device=_indexed(torch.device(data_parallel.buffer_device)),
        device_group=parallel.tp_group.device_group,
        cpu_group=parallel.tp_group.cpu_group,
    )


def read_call(
    direction: Direction, small: torch.Tensor, big: torch.Tensor, forward_batch: Any
) -> Call:
    """What the policy may know of a call of a hooked function; the scatter has no batch (None)."""
    # ForwardBatch and LogitsMetadata have it in all supported versions; it is None outside a batch.
    mode = None if forward_batch is None else forward_batch.dp_padding_mode
    parallel = runtime_context.get_parallel()
    return Call(
        direction=direction,
        small=_matrix(small),
        big=_matrix(big),
        attention_tp=parallel.attn_tp_size,
        attention_dp=parallel.attn_dp_size,
        world_gather=dp_attention.world_dp_gather_enabled(),
        variable_length=dp_attention.is_dp_gatherv_active(),
        max_len=None if mode is None else bool(mode.is_max_len()),
    )


def attention_tp_rank() -> int:
    """This rank's place in its attention TP group."""
    return int(runtime_context.get_parallel().attn_tp_rank)


def note_gather_in_prefill_graph(version: Version) -> None:
    """Do what `dp_reduce_scatter_tensor` does before its collectives since 0.5.20."""
    if version >= (0, 5, 20):
        dp_attention._note_dp_gather_in_prefill_graph()


def _modes(version: Version) -> dict[str, Any]:
    """Settings under which fused operations are not used, from the values in effect."""
    if version < (0, 5, 17):  # no published namespaces yet: the arguments are resolved in place
        arguments = runtime_context.get_server_args()
        return {
            "nodes": arguments.nnodes,
            "elastic": arguments.elastic_ep_backend is not None,
            "deterministic": arguments.enable_deterministic_inference,
            "two_batch_overlap": arguments.enable_two_batch_overlap,
            "single_batch_overlap": arguments.enable_single_batch_overlap,
            "multiplexed_prefill": arguments.enable_pdmux,
            "speculative": arguments.speculative_algorithm is not None,
        }
    execution = runtime_context.get_exec()
    return {
        "nodes": runtime_context.get_parallel().nnodes,
        "elastic": execution.moe.elastic_ep_backend is not None,
        "deterministic": execution.deterministic.enable_deterministic_inference,
        "two_batch_overlap": execution.overlap.enable_two_batch_overlap,
        "single_batch_overlap": execution.overlap.enable_single_batch_overlap,
        "multiplexed_prefill": runtime_context.get_disagg().enable_pdmux,
        "speculative": runtime_context.get_spec().speculative_algorithm is not None,
    }


def _indexed(device: torch.device) -> torch.device:
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _matrix(tensor: torch.Tensor) -> Matrix:
    return Matrix(
        shape=tuple(tensor.shape),
        dtype=dtype_name(tensor.dtype),
        contiguous=tensor.is_contiguous(),
    )
