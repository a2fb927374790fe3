"""A layout with nothing special about it, for the tests of the MixedComm plugin."""

from servegate_sglang.mixed_comm.policy import Layout


def plain_layout(tp: int, dp: int, rank: int, dtype: str = "bfloat16") -> Layout:
    """tp * dp ranks on one node, with no mode on that would keep the plugin idle."""
    return Layout(
        rank=rank,
        world_size=tp * dp,
        tp_size=tp * dp,
        attention_tp=tp,
        attention_dp=dp,
        attention_cp=1,
        pipeline=1,
        nodes=1,
        attention_dp_enabled=True,
        elastic=False,
        deterministic=False,
        two_batch_overlap=False,
        single_batch_overlap=False,
        multiplexed_prefill=False,
        speculative=False,
        dtype=dtype,
    )
