"""What the text of ``/metrics`` says."""

__all__ = ["read_series"]


def read_series(text: str) -> dict[str, float]:
    """Return the value of each series, whose name is as it stands there, with its labels."""
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {series: float(value) for series, _, value in lines}
