"""What a provider of object storage charges, as a file that people write (TOML or JSON).

list = 0.005        per 1,000 pages of a listing
get = 0.0004        per 1,000 objects that are read
out = 0.09          per GB (10^9 bytes) that leaves the region; left out: nothing
currency = "USD"    left out: USD
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from regfs.documents.loading import load


class Prices(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    list: float = Field(ge=0)
    """Of 1,000 pages of a listing."""
    get: float = Field(ge=0)
    """Of 1,000 objects that are read."""
    out: float = Field(default=0.0, ge=0)
    """Of 10^9 bytes that are read."""
    currency: str = Field(default="USD", max_length=12, pattern="^[A-Za-z]+$")


def load_prices(data: bytes, name: str) -> Prices:
    """Read a file of prices; `name` is that of the file, for messages.

    Raises:
        DocumentInvalid: it is not valid; the message is `NAME: KEY: what is wrong`.
    """
    known = ", ".join(Prices.model_fields)
    return load(Prices, data, name, lambda path: f"unknown key (known: {known})")
