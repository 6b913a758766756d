"""Uses the client that openapi-python-client has made of the document."""

import os

from waypost_client import AuthenticatedClient
from waypost_client.api.registries import (
    create_registry,
    delete_registry,
    get_registry,
    list_registries,
    replace_registry,
)
from waypost_client.api.pushes import create_push, get_push, list_pushes
from waypost_client.models import Problem, Push, PushList, PushRequest, Registry, RegistryList, RegistryRequest

client = AuthenticatedClient(
    base_url=os.environ["WAYPOST_URL"], token=os.environ["WAYPOST_TOKEN"], verify_ssl=os.environ["WAYPOST_CA"]
)

request = RegistryRequest(
    name="CERN (prod)",
    registry_url="registry.cern.ch/team",
    registry_username="robot",
    registry_password="hunter2",
)
created = create_registry.sync_detailed(client=client, body=request)
assert created.status_code == 201, created
assert isinstance(created.parsed, Registry)
assert created.headers["Location"] == "/v1/registries/cern-prod"
assert b"hunter2" not in created.content
assert created.parsed.id == "cern-prod" and created.parsed.has_pull_credential and created.parsed.namespaces.all_

again = create_registry.sync(client=client, body=request)
assert isinstance(again, Problem) and again.type_ == "urn:waypost:problem:exists", again

changed = RegistryRequest(name="CERN", registry_url="registry.cern.ch/other")
stale = replace_registry.sync(id="cern-prod", client=client, body=changed, if_match='"0"')
assert isinstance(stale, Problem) and stale.status == 412, stale
replaced = replace_registry.sync(id="cern-prod", client=client, body=changed, if_match=created.headers["ETag"])
assert isinstance(replaced, Registry) and replaced.has_pull_credential, replaced
assert get_registry.sync(id="cern-prod", client=client).to_dict() == replaced.to_dict()

listed = list_registries.sync(client=client, limit=1)
assert isinstance(listed, RegistryList) and [item.id for item in listed.items] == ["cern-prod"], listed

report = PushRequest.from_dict(
    {
        "image": "alpine:3.20",
        "registry_id": "cern-prod",
        "state": "SUCCEEDED",
        "digest": "sha256:" + "0" * 64,
        "finished_at": "2026-11-21T10:00:00Z",
    }
)
reported = create_push.sync_detailed(client=client, body=report)
assert reported.status_code == 201 and isinstance(reported.parsed, Push), reported
assert reported.parsed.latest and reported.parsed.last_success.target == "registry.cern.ch/other/docker.io/library/alpine:3.20"
assert get_push.sync(id=reported.parsed.id, client=client).to_dict() == reported.parsed.to_dict()
pushes = list_pushes.sync(client=client, image="alpine:3.20")
assert isinstance(pushes, PushList) and [item.id for item in pushes.items] == [reported.parsed.id], pushes
asked = create_push.sync_detailed(
    client=client, body=PushRequest.from_dict({"image": "alpine:3.21", "registry_id": "cern-prod"})
)
assert asked.status_code == 202 and isinstance(asked.parsed, Push), asked
assert asked.parsed.last_attempt.state in ("PENDING", "RUNNING") and asked.parsed.last_success is None, asked
report.registry_id = "nowhere"
refused = create_push.sync(client=client, body=report)
assert isinstance(refused, Problem) and refused.errors[0].field == "registry_id", refused

assert delete_registry.sync_detailed(id="cern-prod", client=client).status_code == 204
assert list_registries.sync(client=client).items == []
print("it was registered, changed, listed, pushed to and removed")
