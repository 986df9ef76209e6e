"""Trees in object stores: where they are, their requests, their listing as a flat source."""
