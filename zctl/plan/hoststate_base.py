"""What all parts of a host's state are made from."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A value of the host state: unknown keys are refused, so that a misspelt one cannot be ignored."""

    model_config = ConfigDict(extra="forbid", defer_build=True)  # few commands need them, all import them


class Named(Part):
    """Something with an identity in the inventory."""

    uuid: str
    name: str
