#!/usr/bin/env bash
# Pre-train on all GPUs of one machine:
#
#   scripts/torchrun.sh --scale imagenet1k --framework moco_v3 --data /data/imagenet --out runs/imagenet1k
#
# All options are those of `repre-lite pretrain`; --batch-size is of all GPUs together and the learning rate follows it.
# A process that dies is started again up to three times, and the run goes on from its last checkpoint; so does the same
# command given again. `repre-lite plan --gpus 8xV100` says beforehand what fits and whether to give
# --activation-checkpointing. PROCESSES=2 takes two GPUs (or, without a GPU, two CPU processes).
set -euo pipefail
# a restart must not meet the addresses that the last attempt left in a store they would share
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
exec python -m torch.distributed.run --standalone --nproc-per-node="${PROCESSES:-gpu}" --max-restarts=3 \
    -m repre_lite pretrain "$@"
