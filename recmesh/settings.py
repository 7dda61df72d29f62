"""Settings that every service and every job reads: RECMESH_* variables, checked at start."""

from typing import Literal, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from recmesh.errors import SettingsError

S = TypeVar("S", bound="ProcessSettings")


class ProcessSettings(BaseSettings):
    """Settings of every process.

    Attributes:
        log_level: The lowest level of recmesh's own lines. Libraries log warnings and errors only.
        otlp_endpoint: Receives the spans. Empty: `OTEL_EXPORTER_OTLP_ENDPOINT`; without either, nothing is recorded.
    """

    model_config = SettingsConfigDict(env_prefix="RECMESH_", env_ignore_empty=True, extra="ignore", frozen=True)

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    otlp_endpoint: str = ""


def load_settings(cls: type[S]) -> S:
    """Settings from the environment.

    Raises:
        SettingsError: Values are invalid; the message names their variables.
    """
    try:
        return cls()
    except ValidationError as error:
        problems = (
            f"RECMESH_{'_'.join(map(str, detail['loc'])).upper()}: {detail['msg']}" for detail in error.errors()
        )
        raise SettingsError("; ".join(problems)) from error
