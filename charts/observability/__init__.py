"""Sources of the dashboards and alerts of the chart: `make dashboards` renders them into charts/recmesh."""
