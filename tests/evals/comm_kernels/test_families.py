"""Kernel names as profilers print them, and where they belong."""

from __future__ import annotations

import pytest

from evals.comm_kernels.families import FAMILIES, family_of, mode_of, suspicious

MIXED = (
    "void flashinfer::mixed_comm::fused_reducescatter_allreduce_kernel<2u, 4u, 2u, false, false, "
    "(flashinfer::mixed_comm::MixedCommMode)3, __nv_bfloat16>(flashinfer::mixed_comm::Params)"
)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        (MIXED, "mixed"),
        ("void flashinfer::mixed_comm::allgather_kernel<1u>(Params)", "mixed"),
        ("ncclDevKernel_AllGather_RING_LL(ncclDevKernelArgsStorage<4096ul>)", "nccl"),
        ("ncclDevKernel_ReduceScatter_Sum_bf16_RING_LL(x)", "nccl"),
        ("ncclKernel_AllReduce_RING_LL_Sum_half(x)", "nccl"),
        ("ncclSymkDevKernel_AllGather_LLMC(ncclSymkDevWorkArgs4K)", "nccl-symmetric"),
        ("ncclSymDevKernel_ReduceScatter_LDMC_sum_bf16(x)", "nccl-symmetric"),
        ("void all_reduce_1shot_push_kernel<__nv_bfloat16, 8u, true>(P)", "sglang-ar-v2"),
        ("void all_reduce_2shot_pull_kernel<__half, 4u, true>(P)", "sglang-ar-v2"),
        ("void sglang::cross_device_reduce_1stage<nv_bfloat16, 8>(x)", "sglang-ar-legacy"),
        ("multimem_one_shot_reduce_kernel<c10::BFloat16>(x)", "torch-symm-mem"),
        ("void allreduce_fusion_kernel_oneshot_lamport<5, __nv_bfloat16>(x)", "trtllm-fusion"),
        ("void tensorrt_llm::kernels::moeA2ADispatchKernel<8>(x)", "flashinfer-a2a"),
        ("kernel_flashinfer_mnnvl_moe_alltoall_combine_bf16_topk8", "flashinfer-a2a"),
        ("void ipc_topo_rsag8_ring_push_param_kernel<8>(x)", "flashinfer-pcie"),
        ("void sglang::sp_collective::reduce_scatter_pull_kernel<4>(x)", "sglang-gather"),
        ("_all_gather_kernel_inner", "sglang-gather"),
        ("void nvshmemi_transfer_rma<x>(x)", "nvshmem"),
        ("void deep_ep::intranode::dispatch<8>(x)", "deepep"),
        ("c10d::_allgather_base_", "c10d-all-gather"),
        ("c10d::_reduce_scatter_base_", "c10d-reduce-scatter"),
        ("c10d::allreduce_", "c10d-all-reduce"),
        ("void gemm_bf16<128>(x)", None),
        ("void at::native::reduce_kernel<512, 1>(x)", None),
        # FlashInfer has another kernel of the short name in no such namespace.
        ("void allreduce_kernel<4>(x)", None),
    ],
)
def test_family(name: str, family: str | None) -> None:
    assert family_of(name) == family


def test_the_mode_of_a_mixed_kernel() -> None:
    assert mode_of(MIXED) == "3"
    assert mode_of("ncclDevKernel_AllGather_RING_LL(x)") is None


@pytest.mark.parametrize(
    ("name", "looks"),
    [
        ("void my_all_gather_kernel(x)", True),
        ("void allreduce_kernel<4>(x)", True),
        ("nvls_reduce(x)", True),
        ("void oneShotSomethingNew(x)", True),
        ("ncclNewKernel(x)", True),
        ("void at::native::reduce_kernel<512, 1>(x)", False),
        ("ncclDevKernel_AllGather_RING_LL(x)", False),
    ],
)
def test_what_looks_like_communication_and_is_unknown(name: str, looks: bool) -> None:
    assert suspicious(name) is looks


def test_every_family_has_a_source() -> None:
    assert all(family.source for family in FAMILIES)
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
