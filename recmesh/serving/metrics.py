"""All metrics of the services: code, dashboards and tests take their names from here."""

from prometheus_client import Counter, Gauge, Histogram

# Half of the buckets are below 20 ms, where the times of the stages are.
_SECONDS = (
    *(0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0065, 0.008, 0.01, 0.0125, 0.015, 0.02, 0.025, 0.03, 0.04),
    *(0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5),
)

# Requests
REQUESTS = Counter("recmesh_requests", "Requests by gRPC status", ["service", "method", "status", "caller"])
REQUEST_SECONDS = Histogram(
    "recmesh_request_seconds", "Time from receipt to answer", ["service", "method"], buckets=_SECONDS
)
DEADLINE_SECONDS = Histogram(
    "recmesh_request_deadline_seconds",
    "Time that the caller allows, at arrival",
    ["service"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 5.0, 30.0),
)
REFUSED = Counter("recmesh_refused_requests", "Requests refused before any work", ["service", "reason"])
CALLER_REQUESTS = Counter(
    "recmesh_caller_requests", "Requests that were admitted, by the caller's name in the policy", ["service", "name"]
)
RETRIED = Counter("recmesh_retried_requests", "Requests that a client's gRPC library has sent again", ["service"])
IN_FLIGHT = Gauge("recmesh_requests_in_flight", "Requests in progress", ["service"])
LIMIT = Gauge("recmesh_requests_limit", "Requests that may be in progress; congestion lowers it", ["service"])
LOOP_LAG = Gauge("recmesh_event_loop_lag_seconds", "Delay of the latest timer on the event loop")
SERVING = Gauge("recmesh_serving", "1 while the health status of the service is SERVING", ["service"])
CERTIFICATE_EXPIRY = Gauge(
    "recmesh_certificate_expiry_timestamp_seconds", "When the TLS certificate of the process ends; 0 without TLS"
)

# The chain
STAGE_SECONDS = Histogram(
    "recmesh_stage_seconds", "Time of one successful call to a stage of the chain", ["stage"], buckets=_SECONDS
)
STAGE_FAILURES = Counter("recmesh_stage_failures", "Failed calls to a stage by gRPC status", ["stage", "status"])
DEGRADED = Counter("recmesh_degraded", "Answers made without a stage or a part of one", ["part"])
UNKNOWN_USERS = Counter("recmesh_unknown_users", "Requests with a user id that is not stored")

# Rules
RULES_VERSION = Gauge("recmesh_rules_version", "Version of the active rules; 0 without any")
RULES_FAILURES = Counter("recmesh_rules_failures", "Failed attempts to read the rules in the model store")
RULE_ITEMS = Counter("recmesh_rule_items", "Items in answers of as that rules moved", ["rule"])

# Stores and the ranker
STORE_SECONDS = Histogram(
    "recmesh_store_seconds", "Time of one successful call to a store", ["store", "operation"], buckets=_SECONDS
)
STORE_FAILURES = Counter(
    "recmesh_store_failures", "Failed calls to a store by gRPC status", ["store", "operation", "status"]
)
DAMAGED_VALUES = Counter(
    "recmesh_damaged_values", "Stored values that were left out because recmesh cannot have written them", ["kind"]
)
LOOKED_UP_ITEMS = Histogram(
    "recmesh_looked_up_items", "Items in one request to cm", buckets=(1, 10, 20, 50, 100, 200, 400, 1000, 2000)
)
SEARCH_QUERIES = Histogram(
    "recmesh_search_queries", "Queries in one search request to Milvus", buckets=(1, 2, 4, 8, 12, 16)
)
RANKED_ITEMS = Histogram(
    "recmesh_ranked_items", "Items in one request to rank", buckets=(1, 10, 50, 100, 200, 400, 800, 1200, 2000)
)
BACKEND_SECONDS = Histogram(
    "recmesh_rank_backend_seconds", "Time of one successful run of the ranker", ["backend"], buckets=_SECONDS
)
BACKEND_FAILURES = Counter("recmesh_rank_backend_failures", "Failed runs of the ranker", ["backend", "reason"])
BACKEND_OPEN = Gauge(
    "recmesh_rank_backend_open", "1 while the circuit breaker keeps requests from the backend", ["backend"]
)
PADDLE_SERVING_ANSWERS = Counter(
    "recmesh_paddle_serving_answers", "Answers of the Paddle Serving gateway by err_no", ["err_no"]
)
PIPELINE_RESTARTS = Counter("recmesh_pipeline_restarts", "Restarts of Paddle Serving pipelines")

# feed
FEED_ENTRIES = Counter(
    "recmesh_feed_entries", "Entries of requests to feed by what became of them", ["change", "result"]
)
FEED_APPLY_SECONDS = Histogram(
    "recmesh_feed_apply_seconds",
    "Time from an entry's arrival in the log until the other services see its effect",
    buckets=(*_SECONDS, 5.0, 10.0, 30.0, 60.0),
)
FEED_APPLY_FAILURES = Counter("recmesh_feed_apply_failures", "Failed attempts to apply the next entries of a stream")
FEED_UNKNOWN_ITEMS = Counter("recmesh_feed_unknown_items", "Recorded actions on items that are not stored")
LIVE_ITEMS = Gauge("recmesh_live_items", "Items that feed has changed, as recall knows them", ["state"])

# Recommendations
CHANNEL_CANDIDATES = Histogram(
    "recmesh_channel_candidates",
    "Candidates of one channel for one request",
    ["channel"],
    buckets=(0, 1, 10, 25, 50, 100, 200, 400, 1000),
)
RECOMMENDED_ITEMS = Counter("recmesh_recommended_items", "Items in answers of as")
RECOMMENDED_POPULAR_ITEMS = Counter(
    "recmesh_recommended_popular_items", "Items in answers of as that are among the 100 most popular"
)
EXPLAINED_ITEMS = Counter("recmesh_explained_items", "Items in the sample of answers whose channels are counted")
EXPLAINED_CHANNEL_ITEMS = Counter(
    "recmesh_explained_channel_items", "Items of that sample that a channel proposed", ["channel"]
)
EMPTY_ANSWERS = Counter("recmesh_empty_answers", "Answers of as without items")
LOGGED_ANSWERS = Counter("recmesh_logged_answers", "Answers of as that were written to the answer log")
UNLOGGED_ANSWERS = Counter(
    "recmesh_unlogged_answers", "Answers of the sample that the answer log lost, by reason", ["reason"]
)
DISTINCT_ITEMS = Gauge(
    "recmesh_distinct_recommended_items", "Different items in answers of this process in the last hour"
)
UNKNOWN_VALUES = Counter(
    "recmesh_unknown_values", "Field values that the vocabularies do not contain", ["service", "field"]
)
INPUT_DRIFT = Gauge(
    "recmesh_input_drift",
    "Population stability index of a field of the latest users against the users of the training",
    ["field"],
)

# What users did with logged answers, as `recmesh evaluate --answers --publish` found out
SHOWN_TIME = Gauge("recmesh_shown_timestamp_seconds", "When logged answers were last evaluated")
SHOWN_ANSWERS = Gauge("recmesh_shown_answers", "Logged answers of a release that were evaluated", ["release"])
SHOWN_RATE = Gauge(
    "recmesh_shown_rate",
    "How often users acted on what the logged answers of a release showed",
    ["release", "system", "metric"],
)

# Releases
RELEASE_SWITCHES = Counter("recmesh_release_switches", "Switches to another release", ["service"])
RELEASE_FAILURES = Counter(
    "recmesh_release_failures", "Failed attempts to load the active release, or the new items of one", ["service"]
)
RELEASE_MISSING = Gauge("recmesh_release_missing", "1 while the model store names no active release", ["service"])
RELEASE_ACTIVE = Gauge("recmesh_release_active", "1 for the release that new requests use", ["service", "release"])
RELEASE_CREATED = Gauge("recmesh_release_created_timestamp_seconds", "When the active release was made", ["release"])
RELEASE_DATA = Gauge(
    "recmesh_release_data_timestamp_seconds", "Up to when the active release has seen actions", ["release"]
)
RELEASE_ITEMS = Gauge("recmesh_release_items", "Items in the catalogue of the active release", ["release"])
HELD_OUT = Gauge(
    "recmesh_release_held_out",
    "Mean of a held-out metric of the active release over users",
    ["release", "segment", "system", "metric"],
)
TRAINING_SECONDS = Gauge("recmesh_training_duration_seconds", "How long the training of the release took", ["release"])
TRAINING_ROWS = Gauge(
    "recmesh_training_rows",
    "Actions that the training of the release has read, by what became of them",
    ["release", "outcome"],
)

# Ingestion
INGESTION_TIME = Gauge("recmesh_ingestion_timestamp_seconds", "When the latest ingestion into Redis ended")
INGESTION_SECONDS = Gauge("recmesh_ingestion_duration_seconds", "How long the latest ingestion into Redis took")
INGESTION_ROWS = Gauge(
    "recmesh_ingestion_rows", "Actions of the latest ingestion into Redis, by what became of them", ["outcome"]
)

# Repairs, by the controller
STORE_MISSING = Gauge(
    "recmesh_store_missing", "1 while a store answers and lacks what the latest ingestion left there", ["store"]
)
REPAIRS = Counter("recmesh_repairs", "Ingestions that the controller has started, by what became of them", ["outcome"])
