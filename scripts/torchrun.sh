#!/usr/bin/env bash
# Pre-train on all GPUs of one machine:
#
#   scripts/torchrun.sh --scale imagenet1k --framework moco_v3 --data /data/imagenet --out runs/imagenet1k
#
# All options are those of `repre-lite pretrain`; --batch-size counts the images of all GPUs, and the learning rate scales with
# it. If a process dies, all are restarted up to three times and the run resumes from its last checkpoint, as it does if the
# same command is run again. `repre-lite plan --gpus 8xV100` says beforehand what fits and whether
# --activation-checkpointing is needed. PROCESSES=2 uses two GPUs (or, without a GPU, two CPU processes).
set -euo pipefail
# else a restart reads stale addresses that the last attempt left in the shared store
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
exec python -m torch.distributed.run --standalone --nproc-per-node="${PROCESSES:-gpu}" --max-restarts=3 \
    -m repre_lite pretrain "$@"
