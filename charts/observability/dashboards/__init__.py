"""The dashboards, by the name of their file."""

from charts.observability.dashboards import capacity, chain, dependencies, jobs, overview, recommendations, service

ALL = {
    "overview": overview.page,
    "chain": chain.page,
    "service": service.page,
    "dependencies": dependencies.page,
    "recommendations": recommendations.page,
    "capacity": capacity.page,
    "jobs": jobs.page,
}
