"""
Dynamic loss scaling, with the defaults and the order of events of torch.amp.GradScaler. That class looks for infinities in the gradients of one rank;
here the global norm, which all ranks know, decides, so that sharded and copied parameters are treated alike. The state is the one in trainer_state.json.
"""

from __future__ import annotations

import math
from typing import Any

from .errors import NotFiniteError

GROWTH_INTERVAL = 2000
LEAST_SCALE = 2.0**-14
GREATEST_SCALE = 2.0**127


class LossScale:
    def __init__(self, active: bool, state: dict[str, Any] | None) -> None:
        self.active = active
        stored = state or {"scale": 65536.0, "goodSteps": 0, "skipped": 0}
        self.scale = float(stored["scale"]) if active else 1.0
        self._good_steps = int(stored["goodSteps"])
        self._skipped = int(stored["skipped"])

    @property
    def state(self) -> dict[str, Any] | None:
        """None without a loss scale."""
        return {"scale": self.scale, "goodSteps": self._good_steps, "skipped": self._skipped} if self.active else None

    def accepts(self, loss: float, norm: float) -> bool:
        """Takes note of an update; false: leave it out. Raises NotFiniteError when that would not help."""
        if math.isfinite(loss) and math.isfinite(norm):
            self._good_steps += 1
            if self.active and self._good_steps == GROWTH_INTERVAL:
                self.scale, self._good_steps = min(GREATEST_SCALE, self.scale * 2), 0
            return True
        if not self.active or not math.isfinite(loss) or self.scale <= LEAST_SCALE:
            raise NotFiniteError(f"the loss is {loss}, the gradient norm {norm}")
        self.scale, self._good_steps, self._skipped = self.scale / 2, 0, self._skipped + 1
        return False
