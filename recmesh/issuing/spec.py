"""What an installation needs: the file that the chart mounts into the secrets Job."""

import json
from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from recmesh.contract import DEFAULT_REDIS_PREFIX
from recmesh.errors import SettingsError

_MAX_CERTIFICATES = 100
_MAX_NAMES = 100
_MAX_USERS = 100

# Names become parts of the names of Secrets, and keys in them.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:*_-]+$", max_length=253)]
SpiffeId = Annotated[str, StringConstraints(pattern=r"^spiffe://[a-z0-9._-]+(/[A-Za-z0-9._-]+)+$", max_length=2048)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Identity(_Model):
    """Whom a certificate names.

    Attributes:
        dns: The host names and IP addresses of a server; empty for a program that only calls others.
        uri: Its SPIFFE id.
    """

    dns: Annotated[tuple[Host, ...], Field(max_length=_MAX_NAMES)] = ()
    uri: SpiffeId


class RedisUsers(_Model):
    """The users of Redis, and what their keys begin with."""

    users: Annotated[tuple[Name, ...], Field(max_length=_MAX_USERS)]
    prefix: str = DEFAULT_REDIS_PREFIX


class MilvusUsers(_Model):
    """The users of Milvus."""

    users: Annotated[tuple[Name, ...], Field(max_length=_MAX_USERS)]


class Spec(_Model):
    """What an installation needs.

    Attributes:
        release: Name of the installation.
        namespace: Its namespace.
        trust_domain: The trust domain of its SPIFFE ids.
        certificates: An identity for each component; empty if others make the certificates.
        redis: The users of Redis; None if it has no passwords of ours.
        milvus: The same of Milvus.
        days: Life of a certificate.
        ca_days: Life of a CA.
        settle_seconds: Time in which every process has what a run has written. A rotation takes its next step only
            afterwards.
    """

    release: Name
    namespace: Name
    trust_domain: str = "cluster.local"
    certificates: Annotated[dict[Name, Identity], Field(max_length=_MAX_CERTIFICATES)] = {}
    redis: RedisUsers | None = None
    milvus: MilvusUsers | None = None
    days: Annotated[int, Field(ge=1, le=825)] = 90
    ca_days: Annotated[int, Field(ge=3, le=36500)] = 3650
    settle_seconds: Annotated[int, Field(ge=1, le=604800)] = 600

    @property
    def life(self) -> timedelta:
        """Life of a certificate."""
        return timedelta(days=self.days)

    @property
    def ca_life(self) -> timedelta:
        """Life of a CA."""
        return timedelta(days=self.ca_days)

    @property
    def settle(self) -> timedelta:
        """Time in which every process has what a run has written."""
        return timedelta(seconds=self.settle_seconds)

    @classmethod
    def parse(cls, text: str, place: str) -> "Spec":
        """Read a spec.

        Args:
            text: JSON.
            place: Where it comes from, for errors.

        Raises:
            SettingsError: It is not valid; the message names the field.
        """
        try:
            return cls.model_validate(json.loads(text))
        except ValidationError as error:
            problems = (f"{'.'.join(map(str, detail['loc'])) or 'spec'}: {detail['msg']}" for detail in error.errors())
            raise SettingsError(f"{place}: {'; '.join(problems)}") from None
        except ValueError as error:
            raise SettingsError(f"{place}: not JSON: {error}") from None
