"""What all modules of concerns take, in words."""

from __future__ import annotations


class ModuleDocFragment:
    """The options that `zctl_module.argument_spec` gives them."""

    DOCUMENTATION = r"""
options:
  inventory:
    description: UUID of the inventory; part of every mark.
    type: str
    required: true
  state:
    description: What is wanted, as in schemas/v1/hoststate.json.
    type: dict
    required: true
  scope:
    description: UUIDs to look at; everything when not given.
    type: list
    elements: str
  fail:
    description: Whether a failed resource fails the task.
    type: bool
    default: true
"""
