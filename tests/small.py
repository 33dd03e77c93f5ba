"""Encoders and frameworks small enough for tests, shared by pytest and by the scripts that tests start."""

TINY = {"embed_dim": 32, "depth": 4, "num_heads": 2}
TINY_SWIN = {"embed_dim": 16, "depths": (1, 1, 2), "num_heads": (1, 2, 4)}
SMALL = {
    "simclr": {"out": 16},
    "byol": {"hidden": 32, "out": 16},
    "simsiam": {"out": 16, "bottleneck": 8},
    "moco_v2": {"out": 16, "queue": 30},
    "moco_v3": {"hidden": 32, "out": 16},
    "moby": {"hidden": 32, "out": 16, "queue": 30},
    "dino": {"hidden": 32, "out": 16, "prototypes": 24},
    "none": {},
}
