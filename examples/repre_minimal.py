"""RePre in one file: MoCo v3 with a pixel-reconstruction branch, in the order in which the paper tells it.

    python repre_minimal.py         # coloured shapes, made here: offline, a few minutes on a laptop
    python repre_minimal.py FOLDER  # your images, FOLDER/CLASS/*

Wang et al., RePre: Improving Self-Supervised Vision Transformer with Reconstructive Pre-training, IJCAI 2022.
Shapes: B images, C channels, H W pixels, h w patch grid, D embedding.
"""

import copy
import itertools
import math
import sys

import timm
import torch
from timm.layers import build_sincos2d_pos_embed
from torch import nn
from torch.nn import functional as F
from torchvision import datasets, utils
from torchvision.transforms import v2 as transforms

SIZE, PATCH, TAPS = 32, 4, 4  # of an image and of a patch, in pixels; K


def encode(vit, images):  # (B, 3, H, W), normalised
    """Section 3.2: the class token (B, C), and K taps (B, C, h, w): raw patch tokens after blocks at even intervals."""
    depth = len(vit.blocks)
    levels = [i * depth // TAPS - 1 for i in range(1, TAPS + 1)]  # 2, 5, 8, 11 for 12 blocks, counted from 0
    tokens, taps = vit.forward_intermediates(images, indices=levels)
    return vit.forward_head(tokens, pre_logits=True), taps


def fusion_layers(width):
    """Two fusion layers, 2C -> C channels, initialised for ReLU: PyTorch's default starves the deep taps of gradient."""
    convs = nn.Conv2d(2 * width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
    for conv in convs:
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        nn.init.zeros_(conv.bias)
    return nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.ReLU())


class Decoder(nn.Module):
    """Section 3.3: K - 1 fusion blocks from deep to shallow, then every vector predicts its own P x P pixels."""

    def __init__(self, width, patch):
        super().__init__()
        self.blocks = nn.ModuleList(fusion_layers(width) for _ in range(TAPS - 1))
        self.head = nn.Conv2d(width, 3 * patch**2, kernel_size=1)
        self.patch = patch

    def forward(self, taps):  # K maps (B, C, h, w), shallow to deep
        deep, *shallower = reversed(taps)
        for fuse, shallow in zip(self.blocks, shallower, strict=True):
            deep = fuse(torch.cat([deep, shallow], dim=1))  # (B, 2C, h, w) -> (B, C, h, w)
        return F.pixel_shuffle(self.head(deep), self.patch)  # (B, 3PP, h, w) -> (B, 3, H, W)


def info_nce(q, k, temperature):  # (B, D) each
    """Equation 1: query i belongs to key i, the other keys are negatives."""
    logits = F.normalize(q, dim=1) @ F.normalize(k, dim=1).T / temperature  # (B, B)
    return F.cross_entropy(logits, torch.arange(len(q)))


def mlp(*widths):
    """Projector and predictor of MoCo v3: linear maps without bias, a batch norm after each, ReLU between them."""
    layers = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*layers[:-2], nn.BatchNorm1d(widths[-1], affine=False))


class RePre(nn.Module):
    """Figure 1: an online network, a decoder on its encoder, and a target network that follows it."""

    def __init__(self, vit, hidden=1024, out=256, temperature=0.2):
        super().__init__()
        self.encoder = vit
        self.projector = mlp(vit.num_features, hidden, hidden, out)
        self.predictor = mlp(out, hidden, out)
        self.decoder = Decoder(vit.num_features, vit.patch_embed.patch_size[0])
        self.target_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
        self.target_projector = copy.deepcopy(self.projector).requires_grad_(False)
        self.log_variances = nn.Parameter(torch.full((2,), math.nan))  # set by the first batch
        self.temperature = temperature

    def forward(self, v1, v2):  # (B, 3, H, W) each, in [0, 1]
        """Algorithm 1, lines 6 to 13: total, contrastive and reconstruction loss, and the reconstruction of view 1."""
        x1, x2 = (v1 - 0.5) / 0.25, (v2 - 0.5) / 0.25
        feature1, taps = encode(self.encoder, x1)  # one forward pass serves both branches
        feature2, _ = encode(self.encoder, x2)

        reconstruction = self.decoder(taps)
        l1 = (reconstruction - v1).abs().mean()  # equation 3: the target is the view before normalisation

        q1, q2 = (self.predictor(self.projector(feature)) for feature in (feature1, feature2))
        with torch.no_grad():
            k1, k2 = (self.target_projector(encode(self.target_encoder, x)[0]) for x in (x1, x2))
        contrastive = info_nce(q1, k2, self.temperature) + info_nce(q2, k1, self.temperature)
        contrastive = 2 * self.temperature * contrastive  # as MoCo v3 publishes it

        return self.weigh(torch.stack([contrastive, l1])), contrastive, l1, reconstruction

    def weigh(self, losses):  # (2,)
        """Equation 4 in the form of Kendall et al. (2018): half of exp(-s) L + s for each loss, with s learned."""
        s = self.log_variances
        with torch.no_grad():
            s.copy_(torch.where(s.isnan(), losses.log(), s).clamp(min=-5))  # starts at log L; bounded, so weights are
        return ((-s).exp() * losses + s).sum() / 2

    @torch.no_grad()
    def update_target(self, progress):  # from 0 to 1
        """Moving average of the online network, with a momentum that rises from 0.99 to 1 by half a cosine."""
        momentum = 1 - 0.01 * (1 + math.cos(math.pi * progress)) / 2
        pairs = (self.target_encoder, self.encoder), (self.target_projector, self.projector)
        for target, online in pairs:
            for slow, fast in zip(target.parameters(), online.parameters(), strict=True):
                slow.lerp_(fast, 1 - momentum)


def build_vit():
    """A small ViT as MoCo v3 trains it: fixed sin-cos positions, a frozen random patch projection (but timm's weights)."""
    size = {"img_size": SIZE, "patch_size": PATCH, "embed_dim": 96, "depth": 8, "num_heads": 3}
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0, **size)
    vit.pos_embed.data[:, 0] = 0
    vit.pos_embed.data[:, 1:] = build_sincos2d_pos_embed(vit.patch_embed.grid_size, dim=96)
    vit.pos_embed.requires_grad_(False)
    vit.patch_embed.requires_grad_(False)
    return vit


def shapes(count):
    """Discs and squares of random place, size and colours, (count, 3, 32, 32) in [0, 1]: a data set that needs no disk."""
    place, radius = 10 + 12 * torch.rand(2, count, 1, 1), 5 + 5 * torch.rand(count, 1, 1)
    x, y = (torch.arange(SIZE)[:, None] - place[0]) / radius, (torch.arange(SIZE) - place[1]) / radius
    inside = torch.where(torch.rand(count, 1, 1) < 0.5, x.hypot(y), x.abs().maximum(y.abs())) < 1  # (count, 32, 32)
    return torch.where(inside[:, None], *torch.rand(2, count, 3, 1, 1))


def load(folder):
    """Every image of FOLDER/CLASS/*, (count, 3, 32, 32) in [0, 1]."""
    fit = [transforms.Resize(SIZE), transforms.CenterCrop(SIZE), transforms.ToImage()]
    fit = transforms.Compose([*fit, transforms.ToDtype(torch.float32, scale=True)])
    return torch.stack([image for image, _ in datasets.ImageFolder(folder, fit)])


aug = transforms.Compose([
    transforms.RandomResizedCrop(SIZE, scale=(0.2, 1)),
    transforms.RandomHorizontalFlip(),
    transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
    transforms.RandomGrayscale(0.2),
])  # fmt: skip


def main(folder=None, steps=200, batch=64, lr=1e-3):
    """Algorithm 1's loop. Prints the losses (contrastive: 4 T ln B = 3.3 at chance), saves views and reconstructions."""
    torch.manual_seed(0)
    images = load(folder) if folder else shapes(4000)
    model = RePre(build_vit())
    trained = [p for name, p in model.named_parameters() if p.requires_grad and name != "log_variances"]
    groups = [{"params": trained, "weight_decay": 0.1}, {"params": [model.log_variances], "weight_decay": 0}]
    optimiser = torch.optim.AdamW(groups, lr=1e-2)
    for step in range(steps):
        warmup, cosine = min(1, (step + 1) / 20), (1 + math.cos(math.pi * step / steps)) / 2
        optimiser.param_groups[0]["lr"] = lr * warmup * cosine  # the log-variances stay at 1e-2

        x = images[torch.randint(len(images), (batch,))]
        v1, v2 = (torch.stack([aug(image) for image in x]) for _ in range(2))
        loss, contrastive, l1, reconstruction = model(v1, v2)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        model.update_target((step + 1) / steps)

        if step % 10 == 0 or step == steps - 1:
            print(f"step {step + 1:3d}  contrastive loss {contrastive:.3f}  reconstruction loss {l1:.3f}", flush=True)
    utils.save_image(torch.cat([v1[:8], reconstruction[:8]]).clamp(0, 1), "repre_minimal.png", nrow=8)


if __name__ == "__main__":
    main(*sys.argv[1:])
