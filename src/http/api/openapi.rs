//! The OpenAPI document, made of the same types and the same list of operations that requests are answered by.

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::{Map, Value, json};

use super::{
    notify::NotifiedAnswer,
    problem::{FieldError, Kind, PROBLEM_JSON, ProblemAnswer},
    push::{PushAnswer, PushListAnswer, PushRequest, RetryRequest},
    registries::MOST_LISTED,
    registry::{RegistryAnswer, RegistryListAnswer, RegistryRequest},
    route::Operation,
};
use crate::pushes::State;

pub(super) mod notify;
pub(super) mod pushes;

/// The schema of a request, as bodies are checked against it.
pub(super) fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(closed_lists));
    settings.into_generator().into_root_schema_for::<T>().into()
}

/// OpenAPI 3.1, whose schemas are JSON Schema.
pub(super) fn document() -> Value {
    let settings = || {
        SchemaSettings::draft2020_12()
            .with(|settings| settings.definitions_path = "/components/schemas".into())
            .with_transform(RecursiveTransform(closed_lists))
    };
    let mut requests = settings().into_generator();
    requests.subschema_for::<RegistryRequest>();
    requests.subschema_for::<PushRequest>();
    requests.subschema_for::<RetryRequest>();
    let mut answers = settings().for_serialize().into_generator();
    answers.subschema_for::<RegistryAnswer>();
    answers.subschema_for::<RegistryListAnswer>();
    answers.subschema_for::<NotifiedAnswer>();
    answers.subschema_for::<PushAnswer>();
    answers.subschema_for::<PushListAnswer>();
    answers.subschema_for::<ProblemAnswer<'static>>();
    answers.subschema_for::<FieldError>();
    let mut schemas = definitions(answers);
    schemas.append(&mut definitions(requests));

    let mut paths = Map::new();
    for operation in Operation::ALL {
        let path = paths.entry(operation.template()).or_insert_with(|| json!({}));
        path[operation.method().as_str().to_ascii_lowercase()] = described(operation);
        if let Some(id) = path_id(operation) {
            path["parameters"] = json!([id]);
        }
        if operation == Operation::Notify {
            path["parameters"] = json!([path["parameters"][0], notify::format()]);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Waypost",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Which registries there are, who may use them, and what was pushed to them.",
            "description": "Registries are registered once, and used by every Pod that may. Waypost copies images into them; whoever pushes one himself \
                reports it. Pods pull an image from where it was last pushed to. Credentials go in and never come out. What goes wrong is told by a problem document (RFC 9457); docs/api.md of the repository lists their types.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "Where this document is."}],
        "security": [{"token": []}],
        "tags": [
            {"name": "registries", "description": "Where images are pulled from and pushed to."},
            {"name": "pushes", "description": "Which image went into which registry, and when."},
            {"name": "about", "description": "The API itself."},
        ],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {
                "type": "http",
                "scheme": "bearer",
                "description": "On one machine one of the two tokens that are beside the store: `admin.token` may do everything, \
                    `push.token` reads, reports pushes and asks for copies. In a cluster the token of a user or a ServiceAccount, who needs the verb (get, \
                    list, create, update, delete) on `registries` or `pushes` of the group waypost.dev, and to report a push, or to have an image copied, the verb \
                    push on that one of `registries`. `Authorization: Simple TOKEN` is taken as well.",
            }, "notification": notify::security()},
        },
    })
}

fn described(operation: Operation) -> Value {
    let (id, summary, description, tag) = match operation {
        Operation::List => (
            "listRegistries",
            "Lists registries",
            "In the order of their ids. Registries that come and go between two pages move no others from one to the other.",
            "registries",
        ),
        Operation::Create => (
            "createRegistry",
            "Registers a registry",
            "The smallest request has a `name`.",
            "registries",
        ),
        Operation::Get => (
            "getRegistry",
            "Shows a registry",
            "The entity tag is for `If-Match`: it changes with the registry and its credentials, and not with `conditions`.",
            "registries",
        ),
        Operation::Replace => (
            "replaceRegistry",
            "Replaces a registry",
            "What is left out is as it is for a new one. A credential of which nothing is said is kept where location, host, endpoint and \
             scheme stay what they are, and for ECR account and region, and has to be given again, or null, where one of them changes. A \
             username without a password keeps the password where it is that user's.",
            "registries",
        ),
        Operation::Delete => (
            "deleteRegistry",
            "Removes a registry and its credentials",
            "Refused while rules or pushes need it.",
            "registries",
        ),
        Operation::Notify => notify::DESCRIBED,
        Operation::ListPushes => (
            "listPushes",
            "Lists pushes",
            "In the order of their ids; of an image one for each registry. The one that is `latest` is where Pods pull it from.",
            "pushes",
        ),
        Operation::CreatePush => pushes::CREATE,
        Operation::RetryPush => pushes::RETRY,
        Operation::GetPush => (
            "getPush",
            "Shows a push",
            "What is known of the pushes of one image into one registry.",
            "pushes",
        ),
        Operation::OpenApi => (
            "getOpenApi",
            "Shows this document",
            "It needs no token: it says what the source says.",
            "about",
        ),
    };
    let mut described = json!({
        "operationId": id, "summary": summary, "description": description, "tags": [tag],
        "responses": responses(operation),
    });
    let parameters = parameters(operation);
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if operation.has_body() {
        let (schema, examples) = match operation {
            Operation::Notify => (notify::schema(), notify::request_examples()),
            Operation::CreatePush => (reference("PushRequest"), pushes::request_examples()),
            Operation::RetryPush => (reference("RetryRequest"), pushes::retry_examples()),
            _ => (reference("RegistryRequest"), request_examples()),
        };
        described["requestBody"] = json!({
            "required": operation != Operation::RetryPush,
            "content": {"application/json": {"schema": schema, "examples": examples}},
        });
    }
    if operation == Operation::OpenApi {
        described["security"] = json!([]);
    }
    if operation == Operation::Notify {
        described["security"] = json!([{"notification": []}]);
    }
    described
}

/// The parameter of its path, where it has one.
fn path_id(operation: Operation) -> Option<Value> {
    let (description, pattern, most, example) = match operation {
        Operation::Get | Operation::Replace | Operation::Delete | Operation::Notify => (
            "The registry's id.",
            "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
            63,
            json!("cern-prod"),
        ),
        Operation::GetPush | Operation::RetryPush => (
            "The push's id.",
            "^[a-z0-9]([-a-z0-9]*[a-z0-9])?\\.[0-9a-f]{32}$",
            96,
            pushes::answer_example()["id"].clone(),
        ),
        Operation::List | Operation::Create | Operation::ListPushes | Operation::CreatePush | Operation::OpenApi => {
            return None;
        }
    };
    Some(json!({
        "name": "id", "in": "path", "required": true, "description": description,
        "schema": {"type": "string", "minLength": 1, "maxLength": most, "pattern": pattern},
        "example": example,
    }))
}

fn parameters(operation: Operation) -> Vec<Value> {
    let mut parameters: Vec<Value> = operation
        .parameters()
        .iter()
        .map(|name| match *name {
            "limit" => json!({
                "name": "limit", "in": "query", "description": "How many at most.",
                "schema": {"type": "integer", "minimum": 1, "maximum": MOST_LISTED, "default": 100},
            }),
            "after" => json!({
                "name": "after", "in": "query", "description": "The `next` of the page before.",
                "schema": {"type": "string"},
            }),
            "image" => json!({
                "name": "image", "in": "query",
                "description": "Those of this image, however it is written: `alpine`, or as it lies in a registry.",
                "schema": {"type": "string", "minLength": 1},
            }),
            "registry_id" => json!({
                "name": "registry_id", "in": "query", "description": "Those into the registry of this id.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
            }),
            "state" => json!({
                "name": "state", "in": "query", "description": "Those of which the last attempt is in this state.",
                "schema": {"type": "string", "enum": State::ALL.map(State::as_str)},
            }),
            _ => json!({
                "name": "force", "in": "query", "description": "Whether it is removed although something needs it.",
                "schema": {"type": "boolean", "default": false},
            }),
        })
        .collect();
    if operation.has_condition() {
        parameters.push(json!({
            "name": "If-Match", "in": "header",
            "description": "The entity tag that the registry must have, as the ETag header of an answer had it; or `*`.",
            "schema": {"type": "string", "pattern": "^(\\*|\"[A-Za-z0-9-]+\")$"},
            "example": "*",
        }));
    }
    parameters
}

fn responses(operation: Operation) -> Map<String, Value> {
    let request = json!({
        "description": "What Waypost's log calls the request.",
        "required": true,
        "schema": {"type": "string"},
    });
    let mut headers = Map::from_iter([("X-Request-Id".to_owned(), request.clone())]);
    let entity_tag = json!({
        "description": "The version of the registry, for If-Match.",
        "required": true,
        "schema": {"type": "string"},
    });
    let (description, content) = match operation {
        Operation::List => (
            "A page of registries.",
            Some((
                reference("RegistryList"),
                json!({"a page": {"value": {"items": [answer_example()], "next": null}}}),
            )),
        ),
        Operation::Create | Operation::Get | Operation::Replace => {
            headers.insert("ETag".to_owned(), entity_tag);
            (
                "The registry.",
                Some((
                    reference("Registry"),
                    json!({"a registry": {"value": answer_example()}}),
                )),
            )
        }
        Operation::Delete => ("It is gone.", None),
        Operation::Notify => (
            "It is kept.",
            Some((
                reference("Notified"),
                json!({"a push": {"value": {"recorded": 1, "ignored": 0}}}),
            )),
        ),
        Operation::ListPushes => (
            "A page of pushes.",
            Some((
                reference("PushList"),
                json!({"a page": {"value": {"items": [pushes::answer_example()], "next": null}}}),
            )),
        ),
        Operation::CreatePush | Operation::RetryPush | Operation::GetPush => (
            "The push.",
            Some((
                reference("Push"),
                json!({"a push": {"value": pushes::answer_example()}}),
            )),
        ),
        Operation::OpenApi => ("This document.", Some((json!({"type": "object"}), json!({})))),
    };
    let mut success = json!({"description": description});
    let links: &[&str] = match operation {
        Operation::Create => &["getRegistry", "replaceRegistry", "deleteRegistry"],
        Operation::CreatePush | Operation::RetryPush => &["getPush", "retryPush"],
        _ => &[],
    };
    if !links.is_empty() {
        headers.insert(
            "Location".to_owned(),
            json!({"description": "Its path.", "required": true, "schema": {"type": "string"}}),
        );
        let link = |id: &str| json!({"operationId": id, "parameters": {"id": "$response.body#/id"}});
        success["links"] = links
            .iter()
            .map(|id| ((*id).to_owned(), link(id)))
            .collect::<Map<_, _>>()
            .into();
    }
    success["headers"] = headers.into();
    if let Some((schema, examples)) = content {
        let mut content = json!({"schema": schema});
        if examples.as_object().is_some_and(|examples| !examples.is_empty()) {
            content["examples"] = examples;
        }
        success["content"] = json!({"application/json": content});
    }
    let mut responses = Map::new();
    for status in operation.successes() {
        let mut success = success.clone();
        if *status == 202 {
            pushes::accepted(&mut success);
        }
        responses.insert(status.to_string(), success);
    }
    for kind in operation.problems() {
        let status = kind.status();
        let example = json!({"value": {
            "type": kind.uri(), "title": kind.title(), "status": status.as_u16(),
            "detail": format!("{}: what exactly, and what to do about it", kind.title()),
            "instance": "urn:waypost:request:0f1e2d3c4b5a6978",
        }});
        let response = responses.entry(status.as_str().to_owned()).or_insert_with(|| {
            let mut headers = json!({"X-Request-Id": request});
            match kind {
                Kind::Unauthenticated => {
                    headers["WWW-Authenticate"] =
                        json!({"required": true, "schema": {"type": "string"}, "description": "Bearer."});
                }
                Kind::TooManyFailures | Kind::TooMany | Kind::Unavailable => {
                    headers["Retry-After"] =
                        json!({"required": true, "schema": {"type": "string"}, "description": "Seconds to wait."});
                }
                _ => {}
            }
            json!({
                "description": kind.title(),
                "headers": headers,
                "content": {PROBLEM_JSON: {"schema": reference("Problem"), "examples": {}}},
            })
        });
        if response["description"] != kind.title() {
            let described = format!(
                "{}; or: {}",
                response["description"].as_str().unwrap_or_default(),
                kind.title()
            );
            response["description"] = described.into();
        }
        let name = kind.uri().rsplit(':').next().unwrap_or_default().to_owned();
        response["content"][PROBLEM_JSON]["examples"][name] = example;
    }
    responses
}

pub(super) fn request_examples() -> Value {
    json!({
        "the smallest with a password": {"value": {
            "name": "CERN (prod)",
            "registry_url": "registry.example.com/team",
            "registry_username": "robot",
            "registry_password": "not-a-real-one",
        }},
        "everybody's": {"value": {"name": "quay", "registry_url": "quay.io"}},
        "a docker config, for some namespaces, with a user of its own to push": {"value": {
            "id": "lab",
            "name": "The lab's",
            "registry_url": "registry.example.com/lab",
            "registry_docker_config": {"auths": {"registry.example.com": {"auth": "cm9ib3Q6bm90LWEtcmVhbC1vbmU="}}},
            "registry_push_username": "pusher",
            "registry_push_password": "not-a-real-one",
            "namespaces": {"names": ["lab-*"], "selector": {"matchLabels": {"team": "lab"}}},
        }},
        "in the cluster, as nodes and as Waypost reach it, with images of Docker Hub alone": {"value": {
            "name": "hub-cache",
            "location": "off-cluster",
            "registry_url": "127.0.0.1:30500",
            "endpoint": "http://registry.default.svc:5000",
            "names": {"to": "{repository}", "from": "docker.io"},
            "namespaces": {"all": true},
        }},
        "a GitLab's, whose tokens another host issues": {"value": {
            "name": "gitlab",
            "registry_url": "gitlab-registry.example.com",
            "registry_username": "robot",
            "registry_password": "not-a-real-one",
            "token_hosts": ["gitlab.example.com"],
        }},
        "ECR, with an access key": {"value": {
            "name": "ecr",
            "location": "ecr",
            "region": "eu-central-1",
            "registry_id": "123456789012",
            "access_key_id": "AKIAIOSFODNN7EXAMPLE",
            "secret_access_key": "not-a-real-one",
            "pull_role_arn": "arn:aws:iam::123456789012:role/waypost-pull",
        }},
        "ECR, with the identity that Waypost has": {"value": {
            "name": "own-ecr",
            "location": "ecr",
            "region": "eu-central-1",
            "repositories": {"create": true, "immutable_tags": true, "tags": {"team": "platform"}},
        }},
        "Artifact Registry, with a service account's key": {"value": {
            "name": "artifacts",
            "location": "gcr",
            "registry_url": "europe-west1-docker.pkg.dev/project/images",
            "key_json": {
                "type": "service_account",
                "client_email": "waypost@project.iam.gserviceaccount.com",
                "private_key_id": "not-a-real-one",
                "private_key": "-----BEGIN PRIVATE KEY-----\nnot a real one\n-----END PRIVATE KEY-----\n",
            },
        }},
        "one that notifies": {"value": {
            "name": "corp",
            "registry_url": "registry.example.com",
            "notification_token": "not-a-real-token",
        }},
    })
}

pub(super) fn answer_example() -> Value {
    json!({
        "id": "cern-prod",
        "name": "CERN (prod)",
        "registry_url": "registry.example.com/team",
        "location": "off-cluster",
        "has_key": false,
        "token": null,
        "endpoint": "https://registry.example.com",
        "plain_http": false,
        "token_hosts": [],
        "namespaces": {"all": true, "names": null, "selector": null},
        "names": {"to": "{registry}/{repository}", "from": null},
        "has_pull_credential": true,
        "has_push_credential": false,
        "has_notification_token": false,
        "long_lived": true,
        "conditions": [{
            "type": "Reachable", "status": "True", "reason": "Answers", "message": "it answers",
            "last_transition_time": "2026-11-21T10:00:00Z",
        }],
        "created_at": "2026-11-21T10:00:00Z",
        "updated_at": "2026-11-21T10:00:00Z",
    })
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn definitions(mut generator: SchemaGenerator) -> Map<String, Value> {
    generator.take_definitions(true)
}

/// schemars writes a list of words with a description of each as a choice of constants, of which generators of clients make types
/// that hold one word each.
fn closed_lists(schema: &mut Schema) {
    let Some(choices) = schema.get("oneOf").and_then(Value::as_array) else {
        return;
    };
    let words: Option<Vec<Value>> = choices.iter().map(|choice| choice.get("const").cloned()).collect();
    let Some(words) = words else { return };
    let mut description = schema
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    for choice in choices {
        if let (Some(word), Some(about)) = (choice["const"].as_str(), choice["description"].as_str()) {
            description.push_str(&format!(" `{word}`: {about}"));
        }
    }
    schema.remove("oneOf");
    schema.insert("type".to_owned(), "string".into());
    schema.insert("enum".to_owned(), words.into());
    schema.insert("description".to_owned(), description.trim().into());
}
