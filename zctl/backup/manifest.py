"""What lies beside each dump: what it holds, from where, and the sums by which damage shows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from zctl.errors import Invalid

SUFFIX = ".json"


def as_utc(moment: datetime) -> datetime:
    """The same moment in UTC. Raises ValueError for one that is out of bounds there."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("it is before the year 1, or after 9999") from None


Moment = Annotated[AwareDatetime, AfterValidator(as_utc)]
Count = Annotated[int, Field(ge=0)]


class Manifest(BaseModel):
    """A dump in numbers; times are UTC, sizes bytes. Keys of a newer zctl are kept out of the way."""

    model_config = ConfigDict(extra="ignore")

    format: Literal[1] = 1
    file: str = Field(pattern=r"^[A-Za-z0-9][^/\x00]*$")
    prefix: str
    sequence: int = Field(ge=1, description="grows with each dump of an inventory in a folder, whatever the clock says")
    inventory: str = Field(description="the inventory's own UUID")
    engine: Literal["mysql", "sqlite"]
    server: str = Field(description="the name of the database server, or of the machine with the file")
    server_version: str
    tool: str = Field(description="what wrote the contents")
    zctl: str
    schema_revision: str
    started_at: Moment
    finished_at: Moment
    tables: dict[str, Count] = Field(description="rows in each table of the dump")
    content_size: int = Field(ge=0, description="before compression")
    content_sha256: str
    size: int = Field(ge=0)
    sha256: str = Field(description="of the file as it lies there; sha256sum prints the same")
    encrypted: bool = False
    verified_at: Moment | None = None

    @property
    def rows(self) -> int:
        """All rows of the dump."""
        return sum(self.tables.values())

    def text(self) -> str:
        """The manifest as it is stored."""
        return self.model_dump_json(indent=2) + "\n"


def parse(text: str | bytes, name: str) -> Manifest:
    """The manifest in a text. Raises Invalid for what is none; `name` is the file it comes from."""
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise Invalid(
            f"it is no manifest of a dump: {place + ': ' if place else ''}{first['msg']}",
            resource=name,
            remedy="a manifest of a newer zctl needs a newer zctl; without one, take another dump",
        ) from None
