"""The services that every gRPC server has beside its own."""

from collections.abc import Iterable

from regatta.api.health import Health
from regatta.api.service import Service


def with_standard_services(
    services: Iterable[Service], *, reflection: bool
) -> tuple[list[Service], Health]:
    """Return *services* with health and, if wanted, reflection, which both know of them all."""
    health = Health()
    served: list[Service] = [*services, health]
    if reflection:
        # Imported only when asked for: it takes time at the start of the node.
        from regatta.api.reflection import reflection_services

        served += reflection_services([service.descriptor for service in served])
    health.add_services(service.descriptor.full_name for service in served)
    return served, health
