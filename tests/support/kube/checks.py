"""What the API server refuses, and how it says so."""

from typing import Any

from tests.chart.apiserver import refusals
from tests.support.kube.kinds import KUBERNETES, Kind
from tests.support.kube.schemas import ValidationError, must_fit
from tests.support.kube.store import Object

__all__ = ["Refused", "must_be_valid"]


class Refused(Exception):
    """A request that is answered with a Status."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "code": code,
            "reason": reason,
            "message": message,
        }


def must_be_valid(body: Object, kind: Kind) -> None:
    """Check an object by its schema, which custom resources have elsewhere, and by what no schema says.

    Raises:
        Refused: It is not valid.
    """
    if why := refusals(body):
        raise Refused(422, "Invalid", "; ".join(why))
    if not kind.custom:
        seen = {key: value for key, value in body.items() if key != "status"}
        try:
            must_fit(seen, KUBERNETES)
        except ValidationError as error:
            raise Refused(400, "BadRequest", str(error)) from None
