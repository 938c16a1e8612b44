"""Completion of names. Reads the local inventory, never asks a host, and stays silent when anything is wrong."""

from __future__ import annotations

from collections.abc import Callable


def names_of(noun: str) -> Callable[[str], list[str]]:
    """A completer for the names of a resource type."""

    def complete(incomplete: str) -> list[str]:
        from sqlalchemy import select
        from sqlalchemy.exc import SQLAlchemyError
        from sqlmodel import col

        from zctl.config import load
        from zctl.errors import ZctlError
        from zctl.inventory.engine import Inventory
        from zctl.resources.registry import resource_class

        try:
            inventory = Inventory(load().url)
            inventory.check_schema()
            cls = resource_class(noun)
            with inventory.read() as db:
                query = (
                    select(col(cls.name))
                    .where(col(cls.name).startswith(incomplete, autoescape=True))
                    .order_by(col(cls.name))
                    .limit(200)
                )
                return list(db.scalars(query))
        except (ZctlError, SQLAlchemyError):
            return []

    return complete
