"""Dumps of the inventory: writing, keeping, checking, reading back."""
