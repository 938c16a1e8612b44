"""What every action needs: the open inventory, the settings, who watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from zctl.config import Config
from zctl.inventory.engine import Inventory
from zctl.inventory.lease import owner
from zctl.run.runner import Settings

Say = Callable[[str], None]


def _silent(_text: str) -> None:
    """Nobody listens."""


@dataclass
class Context:
    """One call of zctl. `say` gets lines for people (progress, warnings); actions never print."""

    config: Config
    inventory: Inventory
    say: Say = _silent
    warn: Say = _silent
    watch: Callable[[str, str], None] = field(default=lambda _host, _step: None)
    reason: str | None = None
    dry_run: bool = False

    def run_settings(self, *, check: bool = False) -> Settings:
        """How ansible-runner is to be called."""
        return Settings(self.config.home / "runs", owner(), self.config.forks, check=check, keep=self.config.debug)
