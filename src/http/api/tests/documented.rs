use super::*;

pub(super) fn validator(schema: &str) -> jsonschema::Validator {
    let mut document = openapi::document();
    document["$ref"] = json!(format!("#/components/schemas/{schema}"));
    jsonschema::draft202012::options()
        .should_validate_formats(true)
        .build(&document)
        .unwrap()
}

#[track_caller]
pub(super) fn valid(schema: &str, value: &Value) {
    let errors: Vec<_> = validator(schema)
        .iter_errors(value)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}\n{value:#}");
}

#[tokio::test]
async fn each_example_is_what_it_is_an_example_of() {
    let api = Asked::new();
    for (name, example) in openapi::request_examples().as_object().unwrap() {
        valid("RegistryRequest", &example["value"]);
        let reply = api.admin("POST", "/v1/registries", example["value"].clone()).await;
        assert_eq!(reply.status, 201, "{name}: {}", reply.text);
        valid("Registry", &reply.json());
    }
    for (name, example) in openapi::pushes::request_examples().as_object().unwrap() {
        valid("PushRequest", &example["value"]);
        let reply = api.admin("POST", "/v1/pushes", example["value"].clone()).await;
        let expected = if example["value"].get("state").is_some() {
            201
        } else {
            202
        };
        assert_eq!(reply.status, expected, "{name}: {}", reply.text);
        valid("Push", &reply.json());
        // All of them are of one image.
        assert_eq!(reply.json()["id"], openapi::pushes::answer_example()["id"], "{name}");
    }
    let retry = format!(
        "/v1/pushes/{}/retry",
        openapi::pushes::answer_example()["id"].as_str().unwrap()
    );
    for (name, example) in openapi::pushes::retry_examples().as_object().unwrap() {
        valid("RetryRequest", &example["value"]);
        let reply = api.admin("POST", &retry, example["value"].clone()).await;
        assert_eq!(reply.status, 202, "{name}: {}", reply.text);
    }
    valid("Push", &openapi::pushes::answer_example());
    let described = &openapi::document()["paths"]["/v1/pushes/{id}/retry"]["post"];
    let answers = &described["responses"]["202"]["content"]["application/json"]["examples"];
    valid("Push", &answers["a copy"]["value"]);
    let listed = api.admin("GET", "/v1/pushes", Value::Null).await.json();
    valid("PushList", &listed);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    let body = json!({"name": "corp", "registry_url": "r.io", "notification_token": "hunter2-hunter2-hunter2"});
    api.admin("PUT", "/v1/registries/corp", body).await.is(200);
    for (name, example) in openapi::notify::request_examples().as_object().unwrap() {
        let path = format!("/v1/registries/corp/notifications/{}", name.to_lowercase());
        let request = request("POST", &path).header("authorization", "Bearer hunter2-hunter2-hunter2");
        let reply = api.ask(request, example["value"].to_string()).await.is(200);
        assert_eq!(reply.json(), json!({"recorded": 1, "ignored": 0}), "{name}");
        valid("Notified", &reply.json());
    }
    valid("Registry", &openapi::answer_example());
    valid(
        "RegistryList",
        &api.admin("GET", "/v1/registries", Value::Null).await.json(),
    );
    valid(
        "Problem",
        &api.admin("GET", "/v1/registries/x", Value::Null).await.json(),
    );
    let wrong = json!({"name": "", "registry_url": "x"});
    valid("Problem", &api.admin("POST", "/v1/registries", wrong).await.json());
}

#[test]
fn the_document_has_every_path_method_and_status_that_there_is() {
    let document = openapi::document();
    let mut operations = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, described) in methods
            .as_object()
            .unwrap()
            .iter()
            .filter(|(name, _)| *name != "parameters")
        {
            operations += 1;
            let method = method.to_ascii_uppercase().parse().unwrap();
            let path = path.replace("{id}", "corp").replace("{format}", "harbor");
            let operation = Route::of(&path).operation(&method).unwrap();
            let mut expected: Vec<_> = operation
                .problems()
                .iter()
                .map(|kind| kind.status().to_string()[..3].to_owned())
                .collect();
            expected.extend(operation.successes().iter().map(u16::to_string));
            expected.sort_unstable();
            expected.dedup();
            let documented: Vec<_> = described["responses"].as_object().unwrap().keys().cloned().collect();
            assert_eq!(documented, expected, "{operation:?}");
        }
    }
    assert_eq!(operations, Operation::ALL.len());
}

#[test]
fn each_kind_of_problem_has_a_name_of_its_own_and_is_in_the_documentation() {
    let documentation = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md")).unwrap();
    let mut names: Vec<_> = Kind::ALL.iter().map(|kind| kind.uri()).collect();
    for kind in Kind::ALL {
        let line = format!(
            "| `{}` | {} |",
            kind.uri().rsplit(':').next().unwrap(),
            kind.status().as_u16()
        );
        assert!(documentation.contains(&line), "docs/api.md has no line {line}");
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Kind::ALL.len());
}

#[test]
fn each_secret_is_written_and_never_read() {
    let document = openapi::document();
    let schemas = &document["components"]["schemas"];
    let properties = ["RegistryRequest", "PushRequest", "RetryRequest", "PushCredentials"]
        .into_iter()
        .flat_map(|schema| schemas[schema]["properties"].as_object().unwrap());
    for (name, schema) in properties {
        let secret = [
            "password",
            "docker_config",
            "token",
            "access_key",
            "access_key_id",
            "key_json",
        ]
        .iter()
        .any(|end| name.ends_with(end));
        assert_eq!(schema["writeOnly"] == true, secret, "{name}: {schema}");
    }
    for schema in ["Registry", "RegistryList", "Push", "PushList", "Problem", "FieldError"] {
        let text = schemas[schema].to_string();
        assert!(
            ![
                "registry_password",
                "\"notification_token",
                "secret_access_key",
                "session_token",
                "writeOnly"
            ]
            .iter()
            .any(|word| text.contains(word)),
            "{schema}"
        );
    }
}
