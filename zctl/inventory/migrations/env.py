"""Alembic's entry: runs the migrations on the connection that zctl hands over."""

from alembic import context
from sqlmodel import SQLModel

from zctl.resources.registry import all_classes

all_classes()
connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=SQLModel.metadata, render_as_batch=True, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
