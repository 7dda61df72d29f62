"""Profiles in requests, and how they change stored ones."""

from collections.abc import Collection

from recmesh.contract import USER_FIELDS
from recmesh.pb.user_info_pb2 import UserInfo


def has_fields(profile: UserInfo) -> bool:
    """Whether a profile has any field besides `user_id`, which the legacy client sets to "0" for new users."""
    return any(descriptor.name != "user_id" for descriptor, _ in profile.ListFields())


def without_missing(profile: UserInfo, missing: Collection[str]) -> UserInfo:
    """A profile without the fields whose values mean "missing": they say nothing, and hide no stored value."""
    names = [name for name in USER_FIELDS if (value := getattr(profile, name)) and value in missing]
    attributes = [name for name, value in profile.attributes.items() if value in missing]
    if not names and not attributes:
        return profile
    kept = UserInfo()
    kept.CopyFrom(profile)
    for name in names:
        setattr(kept, name, "")
    for name in attributes:
        del kept.attributes[name]
    return kept


def updated(stored: UserInfo, given: UserInfo) -> UserInfo:
    """The stored profile with the fields of the given one; the id stays."""
    profile = UserInfo()
    profile.CopyFrom(stored)
    profile.MergeFrom(given)
    profile.user_id = stored.user_id
    return profile
