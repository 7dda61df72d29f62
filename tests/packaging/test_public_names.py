"""The public names of the library. Users see every change of this table: CHANGELOG.md needs a line about it."""

import importlib

import pytest

PUBLIC_NAMES = {
    "recmesh": "__version__",
    "recmesh.channels": "ERRORS ChannelPolicy RetryPolicy open_blocking_channel open_channel",
    "recmesh.client": """
        AS CM DEFAULT_TIMEOUT DELETE_USER PUT_ITEMS PUT_USERS RANK RECALL RECORD_ACTIONS REMOVE_ITEMS SET_AVAILABILITY
        UM Action AnswerFailed Candidate Candidates ChannelFactory Condition DeadlineExceeded History InvalidRequest
        Item Items Mesh Method Missing Overloaded PermissionDenied Recommendation RecmeshError Recorded Rejected Request
        Response Scores ServiceName Targets Unauthenticated Unavailable User check_answer
    """,
    "recmesh.client.sync": "ChannelFactory Mesh",
    "recmesh.client.testing": "FakeMesh FakeServices SyncFakeMesh",
    "recmesh.client.wire": """
        as_request availability_requests cm_request delete_request history_message item_info next_page_request
        put_items_requests put_users_requests rank_request recall_request record_requests remove_requests to_candidates
        to_item to_items to_recommendation to_recorded to_scores to_user um_request user_info
    """,
    "recmesh.contract": """
        BASKET BATCH BOUGHT_BEFORE CHAIN_CANDIDATES CONTEXT_SCENARIOS DEFAULT_CANDIDATES DEFAULT_HOME DEFAULT_MILVUS_URI
        DEFAULT_MODEL_STORE DEFAULT_RECOMMENDATIONS DEFAULT_REDIS_URL DETAILED_ACTIONS FAILED FIRST_ADDED_FIELD HOME
        HTTP_PORTS ITEM_FIELDS LEGACY_NEW_USER_ID MAX_CANDIDATES MAX_CONDITIONS MAX_CONTEXT MAX_EXCLUDED
        MAX_FILTER_VALUES MAX_ID_BYTES MAX_LOOKED_UP MAX_RANKED_ITEMS MAX_RECOMMENDATIONS MAX_REQUEST_BYTES
        MAX_STAGE_REQUEST_BYTES METHOD_PATHS METRICS_PORT_OFFSET MILVUS_PORT NEIGHBOURS NEW NO_USER_IDS OK
        PADDLE_SERVING_PORT POPULAR PORTS PRIORITY RANK_SCORE_FIELD REDIS_PORT RELATED RELEASE REPEAT REPLAY SCENARIOS
        TRENDING TWO_TOWER USER_FIELDS ServiceName default_target scenario_fault without_credentials
    """,
    "recmesh.dataset": """
        NAMES Action DataSet Field Oracle Progress Report Schema Side check_source fetch folder_of read synthetic
    """,
    "recmesh.drafting": "Draft draft write",
    "recmesh.errors": """
        AnswerFailed DamagedData DataError DeadlineExceeded InvalidRequest LeakError Overloaded PermissionDenied
        RecmeshError ReleaseError SettingsError Unauthenticated Unavailable
    """,
    "recmesh.evaluation": """
        METRICS_FILE PAGE_FILE Decision PredictionScores Report errors margin means metrics names of_hits per_user score
    """,
    "recmesh.features": """
        CHANNELS SEGMENTS Catalogue Encoder FeatureSpec History Lists Segment Statistics User
    """,
    "recmesh.pages": "environment",
    "recmesh.profiling": "Check Finding Profile check page profile shown",
    "recmesh.releases": """
        FORMAT HEADLINE Active Check Compared Difference FileEntry Index Manifest ModelStore NewItems RankerModel
        ReferenceRequest RuleVersion STARTER_FORMAT SegmentMetrics TensorInput TrainingFacts beats_popularity
        collection_name loads not_worse_than read_manifest replaces_no_trained rows_match same_data_as verify_folder
        watch write_manifest
    """,
    "recmesh.retrieval": "IN_MEMORY Merged Retriever Scored below merge",
    "recmesh.serving": "Endpoint RedisSettings ReleaseSettings ServerSettings background load_settings run run_worker",
    "recmesh.stores": "",
}


@pytest.mark.parametrize("module", PUBLIC_NAMES)
def test_a_public_module_exports_the_names_in_the_table(module: str) -> None:
    imported = importlib.import_module(module)
    exported = getattr(imported, "__all__", [])
    assert sorted(exported) == sorted(PUBLIC_NAMES[module].split())
    assert [name for name in exported if not hasattr(imported, name)] == []
