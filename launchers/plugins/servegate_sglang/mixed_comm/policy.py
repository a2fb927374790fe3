"""Which fused operation a call takes, or the named reason why it takes SGLang's own path.

Pure, and fed only with what is the same on all ranks of the group: a rank that chooses otherwise
than its peers would wait for them for ever. Row counts are uniform because the hooked functions
run under MAX_LEN padding, which pads every rank to the largest.
"""

from dataclasses import dataclass
from enum import StrEnum

from servegate_sglang.mixed_comm.requirements import GROUP_SIZES

DTYPES = ("float16", "bfloat16")
# The kernel reads and writes 16 bytes at a time: 8 elements of a two-byte type.
ELEMENTS_PER_ACCESS = 8


class Operation(StrEnum):
    """FlashInfer's names (flashinfer.comm.mixed_comm.MixedCommOp)."""

    ALLREDUCE_ALLGATHER = "ALLREDUCE_ALLGATHER"
    REDUCESCATTER_ALLREDUCE = "REDUCESCATTER_ALLREDUCE"
    ALLGATHER = "ALLGATHER"
    REDUCESCATTER = "REDUCESCATTER"


class Reason(StrEnum):
    """Why a launch or a call takes SGLang's own path."""

    NO_ATTENTION_DP = "no-attention-dp"
    CONTEXT_PARALLEL = "context-parallel"
    PIPELINE_PARALLEL = "pipeline-parallel"
    ELASTIC = "elastic"
    WORLD_IS_NOT_TP_GROUP = "world-is-not-tp-group"
    GROUP_SIZE = "group-size"
    LAYOUT_DOES_NOT_TILE = "layout-does-not-tile"
    MODEL_DTYPE = "model-dtype"
    DETERMINISTIC = "deterministic"
    TWO_BATCH_OVERLAP = "two-batch-overlap"
    SINGLE_BATCH_OVERLAP = "single-batch-overlap"
    MULTIPLEXED_PREFILL = "multiplexed-prefill"
    SPECULATIVE = "speculative"
    # Decided by the hook itself, before anything that torch.compile could not trace.
    COMPILING = "compiling"
    PADDING_MODE = "padding-mode"
    WORLD_GATHER = "world-gather"
    VARIABLE_LENGTH = "variable-length"
    OTHER_LAYOUT = "other-layout"
    DTYPE = "dtype"
    NOT_A_MATRIX = "not-a-matrix"
    EMPTY = "empty"
    SHAPES_DISAGREE = "shapes-disagree"
    UNALIGNED = "unaligned"
    NOT_CONTIGUOUS = "not-contiguous"


class Direction(StrEnum):
    """Which of the two hooked functions is asking."""

    GATHER = "gather"
    SCATTER = "scatter"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What stays as it is for the life of a scheduler process. Sizes count ranks."""

    rank: int
    world_size: int
    tp_size: int
    attention_tp: int
    attention_dp: int
    attention_cp: int
    pipeline: int
    nodes: int
    attention_dp_enabled: bool
    elastic: bool
    deterministic: bool
    two_batch_overlap: bool
    single_batch_overlap: bool
    multiplexed_prefill: bool
    speculative: bool
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """What the policy may know of a tensor; `dtype` as torch prints it, without `torch.`."""

    shape: tuple[int, ...]
    dtype: str
    contiguous: bool


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a hooked function: the small (local) and the big (global) side of it.

    `max_len` is None where the call does not say how its batch was padded.
    """

    direction: Direction
    small: Matrix
    big: Matrix
    attention_tp: int
    attention_dp: int
    world_gather: bool
    variable_length: bool
    max_len: bool | None


def layout_reason(layout: Layout) -> Reason | None:
    """Why no handler is made for this layout, or None: one is made."""
    refusals = (
        (
            not layout.attention_dp_enabled or layout.attention_dp == 1,
            Reason.NO_ATTENTION_DP,
        ),
        (layout.attention_cp != 1, Reason.CONTEXT_PARALLEL),
        (layout.pipeline != 1, Reason.PIPELINE_PARALLEL),
        (layout.elastic, Reason.ELASTIC),
        (layout.world_size != layout.tp_size, Reason.WORLD_IS_NOT_TP_GROUP),
        (layout.tp_size not in [size * layout.nodes for size in GROUP_SIZES], Reason.GROUP_SIZE),
        (not _tiles(layout), Reason.LAYOUT_DOES_NOT_TILE),
        (layout.dtype not in DTYPES, Reason.MODEL_DTYPE),
        (layout.deterministic, Reason.DETERMINISTIC),
        # Rotating buffers with device-side state: one stream, the same sequence on all ranks.
        (layout.two_batch_overlap, Reason.TWO_BATCH_OVERLAP),
        # The kernels take all SMs and wait for their peers: beside a kernel of another stream that
        # does the same, neither may ever get on.
        (layout.single_batch_overlap, Reason.SINGLE_BATCH_OVERLAP),
        (layout.multiplexed_prefill, Reason.MULTIPLEXED_PREFILL),
        (layout.speculative, Reason.SPECULATIVE),
    )
    return next((reason for refused, reason in refusals if refused), None)


def _tiles(layout: Layout) -> bool:
    """Whether TP is attention TP x DP, and whole attention TP groups or whole nodes meet."""
    if layout.attention_tp * layout.attention_dp != layout.tp_size:
        return False
    local = layout.tp_size // layout.nodes
    return local % layout.attention_tp == 0 or layout.attention_tp % local == 0


def choose(call: Call, layout: Layout) -> Operation | Reason:
    """The operation of one call, or the reason to pass it through to SGLang's own code."""
    reason = _mode_reason(call, layout) or _tensor_reason(call, layout)
    if reason is not None:
        return reason
    if call.direction is Direction.GATHER:
        return Operation.ALLGATHER if layout.attention_tp == 1 else Operation.ALLREDUCE_ALLGATHER
    if layout.attention_tp == 1:
        return Operation.REDUCESCATTER
    return Operation.REDUCESCATTER_ALLREDUCE


def _mode_reason(call: Call, layout: Layout) -> Reason | None:
    if call.max_len is False:
        return Reason.PADDING_MODE
    if call.world_gather:
        return Reason.WORLD_GATHER
    if call.variable_length:
        return Reason.VARIABLE_LENGTH
    # A draft model's scope overrides the parallel sizes while it runs.
    if (call.attention_tp, call.attention_dp) != (layout.attention_tp, layout.attention_dp):
        return Reason.OTHER_LAYOUT
    return None


def _tensor_reason(call: Call, layout: Layout) -> Reason | None:
    small, big = call.small, call.big
    if {small.dtype, big.dtype} != {layout.dtype}:
        return Reason.DTYPE
    if not (small.contiguous and big.contiguous):
        return Reason.NOT_CONTIGUOUS
    return _shape_reason(small.shape, big.shape, layout.attention_dp)


def _shape_reason(small: tuple[int, ...], big: tuple[int, ...], attention_dp: int) -> Reason | None:
    if len(small) != 2 or len(big) != 2:
        return Reason.NOT_A_MATRIX
    rows, width = small
    if rows == 0 or width == 0:
        return Reason.EMPTY
    if big != (rows * attention_dp, width):
        return Reason.SHAPES_DISAGREE
    return Reason.UNALIGNED if rows * width % ELEMENTS_PER_ACCESS else None
