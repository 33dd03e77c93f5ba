"""Whether torch.compile works on this machine, asked before it is relied on."""

from __future__ import annotations

import torch

from .errors import UserError


def check_compiler(device: torch.device) -> None:
    """Compile a tiny function. Raises UserError if that fails, for want of a C++ compiler or of Python's headers perhaps."""
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(2, device=device))
    except Exception as error:  # of the compiler, its driver or torch, each with errors of its own
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(
            f"compile=True: torch.compile does not work here ({reason}); install g++ and Python's headers, or leave it out"
        ) from None
