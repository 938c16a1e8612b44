"""Where roles, playbooks, schemas and the dynamic inventory are, in a checkout as in an installed wheel."""

from __future__ import annotations

from pathlib import Path

CONTENT = Path(__file__).parent.parent / "content"
COLLECTION = CONTENT / "ansible_collections" / "zctl" / "cloud"
PLAYBOOKS = COLLECTION / "playbooks"
SCHEMAS = CONTENT / "schemas"
