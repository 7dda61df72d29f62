"""Settings of the controller."""

from pydantic import PositiveFloat

from recmesh.serving.settings import MilvusSettings, OptionalPort, RedisSettings, ReleaseSettings


class ControllerSettings(RedisSettings, MilvusSettings, ReleaseSettings):
    """Settings of the controller.

    Attributes:
        metrics_port: Its only port.
        release: Name of the Helm release whose Jobs it starts.
        namespace: The namespace of the release; empty means that of the pod.
        check_interval: Seconds between two checks.
    """

    metrics_port: OptionalPort | None = 18970
    release: str = "recmesh"
    namespace: str = ""
    check_interval: PositiveFloat = 10.0
