//! What must hold of every answer.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;
use waypost::app::{Current, Reviews};
use waypost::document::{Source, render};
use waypost::http::webhook;
use waypost::metrics::Metrics;
use waypost::policy::{Glob, Input, PresetChoice, Settings, compile};
use waypost::registry::{Address, Admitted};
use waypost::snapshot::{Registered, Registries, Snapshot};

/// The webhook as `serve` has it, without sockets.
pub(super) struct Oracle {
    router: Router,
    metrics: Arc<Metrics>,
}

impl Oracle {
    pub(super) fn new() -> Self {
        let compiled = compile(&Input {
            sources: vec![Source::new("mutated", POLICY)],
            presets: vec![PresetChoice {
                name: "exempt-operators".to_owned(),
                values: Default::default(),
            }],
            settings: Settings {
                pull_secrets: vec!["everywhere".into()],
                ..Settings::default()
            },
        });
        let Some(set) = compiled.set else {
            panic!("{}", render::text(&compiled.diagnostics, false));
        };
        let mut snapshot = Snapshot::new(Arc::new(set), 1);
        let mut registries = vec![Registered {
            id: "registry.cern.ch".into(),
            address: Address {
                host: "registry.cern.ch".into(),
                organization: "".into(),
            },
            namespaces: Admitted {
                names: Some(vec![Glob::new("default"), Glob::new("reana-*")]),
                selector: None,
            },
            has_pull_credential: true,
            available: true,
        }];
        registries.extend(["a.cern.ch", "down.cern.ch"].map(|name| Registered::unavailable(name).unwrap()));
        snapshot.registries = Registries::new(registries);
        let metrics = Arc::new(Metrics::new());
        let reviews = Reviews::new(Arc::new(Current::new(snapshot)), metrics.clone());
        let rejected = {
            let metrics = metrics.clone();
            Arc::new(move |_: &webhook::Rejection| metrics.rejected())
        };
        Self {
            router: webhook::router(Arc::new(reviews), rejected, webhook::Limits::default()),
            metrics,
        }
    }

    pub(super) fn metrics(&self) -> String {
        self.metrics.common().render().unwrap()
    }

    /// Sends a review, and the one that the API server would send after the patch.
    pub(super) async fn examine(&self, body: &[u8]) -> Result<&'static str, String> {
        let (status, answer) = self.ask(body).await;
        // Deeply nested bodies, and texts that are not UTF-8, are passed over where they do not matter, and are no tree.
        let review: Option<Value> = serde_json::from_slice(body).ok();
        if status != StatusCode::OK {
            return refused(status, &answer, review.as_ref());
        }
        let answer: Value =
            serde_json::from_slice(&answer).map_err(|error| format!("the answer is no JSON: {error}"))?;
        let answered = answered(&answer)?;
        let Some(mut review) = review else {
            return Ok("no tree");
        };
        let uid = review.pointer("/request/uid").and_then(Value::as_str);
        ensure(uid == Some(answered.uid), || format!("the uid is {:?}", answered.uid))?;
        let Some(patch) = answered.patch else {
            return Ok(if answered.allowed { "unchanged" } else { "denied" });
        };
        ensure(answered.allowed, || "denied with a patch".to_owned())?;
        let part = review
            .pointer("/request/subResource")
            .and_then(Value::as_str)
            .unwrap_or_default();
        ensure(matches!(part, "" | "ephemeralcontainers"), || {
            format!("a patch of the subresource {part}")
        })?;
        let only_ephemeral = part == "ephemeralcontainers";
        for operation in patch.iter() {
            let path = operation.path().to_string();
            ensure(may_be_changed(&path, only_ephemeral), || {
                format!("the patch changes {path}")
            })?;
        }
        let object = review.pointer_mut("/request/object").ok_or("a patch of no object")?;
        json_patch::patch(object, &patch).map_err(|error| format!("{error}: {}", serde_json::json!(patch)))?;

        let (status, again) = self.ask(&serde_json::to_vec(&review).unwrap()).await;
        ensure(status == StatusCode::OK, || {
            format!("the patched Pod is answered by {status}")
        })?;
        let again: Value = serde_json::from_slice(&again).map_err(|error| error.to_string())?;
        match self::answered(&again)?.patch {
            Some(second) => Err(format!(
                "the patched Pod is patched again\nfirst:  {}\nsecond: {}",
                serde_json::json!(patch),
                serde_json::json!(second)
            )),
            None => Ok("patched"),
        }
    }

    async fn ask(&self, body: &[u8]) -> (StatusCode, Vec<u8>) {
        let request = Request::post("/mutate")
            .header("content-type", "application/json")
            .body(Body::from(body.to_vec()))
            .unwrap();
        let Ok(response) = self.router.clone().oneshot(request).await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, body.to_vec())
    }
}

/// A 4xx is one line, and only for what has no uid to answer with.
fn refused(status: StatusCode, answer: &[u8], review: Option<&Value>) -> Result<&'static str, String> {
    let line = String::from_utf8(answer.to_vec()).map_err(|error| error.to_string())?;
    let one_line = line.ends_with('\n') && !line.trim_end_matches('\n').contains(char::is_control) && line.len() > 1;
    ensure(status == StatusCode::BAD_REQUEST && one_line, || {
        format!("refused by {status}: {line:?}")
    })?;
    let answerable = review.is_some_and(|review| {
        review["kind"] == "AdmissionReview"
            && review["apiVersion"] == "admission.k8s.io/v1"
            && review
                .pointer("/request/uid")
                .and_then(Value::as_str)
                .is_some_and(|uid| !uid.is_empty())
    });
    ensure(!answerable, || format!("could have been answered: {line}"))?;
    Ok("refused")
}

struct Answered<'a> {
    uid: &'a str,
    allowed: bool,
    patch: Option<json_patch::Patch>,
}

/// The shape of `AdmissionReview` and `AdmissionResponse` in `k8s.io/api/admission/v1/types.go`.
fn answered(answer: &Value) -> Result<Answered<'_>, String> {
    let wrong = || format!("the answer is {answer}");
    ensure(
        answer["kind"] == "AdmissionReview" && answer["apiVersion"] == "admission.k8s.io/v1",
        wrong,
    )?;
    let response = &answer["response"];
    let uid = response["uid"].as_str().ok_or_else(wrong)?;
    let allowed = response["allowed"].as_bool().ok_or_else(wrong)?;
    ensure(allowed == response["status"].is_null(), wrong)?;
    ensure(allowed || response["status"]["message"].is_string(), wrong)?;
    for warning in response["warnings"].as_array().into_iter().flatten() {
        let warning = warning.as_str().ok_or_else(wrong)?;
        // The API server cuts warnings off; a line break in one would be another header.
        ensure(!warning.contains(char::is_control), wrong)?;
        ensure(!warning.contains("internal error"), wrong)?;
    }
    let patch = match (&response["patch"], &response["patchType"]) {
        (Value::Null, Value::Null) => None,
        (Value::String(patch), Value::String(kind)) if kind == "JSONPatch" => {
            let patch = base64::engine::general_purpose::STANDARD
                .decode(patch)
                .map_err(|error| error.to_string())?;
            Some(serde_json::from_slice(&patch).map_err(|error| error.to_string())?)
        }
        _ => return Err(wrong()),
    };
    Ok(Answered { uid, allowed, patch })
}

/// Images, how they are pulled, and annotations of Waypost's own: nothing else.
fn may_be_changed(path: &str, only_ephemeral: bool) -> bool {
    let steps: Vec<&str> = path.split('/').skip(1).collect();
    match steps[..] {
        ["spec", "ephemeralContainers", _, "image" | "imagePullPolicy"] => true,
        _ if only_ephemeral => false,
        ["spec", "containers" | "initContainers", _, "image" | "imagePullPolicy"] => true,
        ["spec", "volumes", _, "image", "reference" | "pullPolicy"] => true,
        ["spec", "imagePullSecrets"] | ["spec", "imagePullSecrets", "-"] => true,
        ["metadata", "annotations"] => true,
        ["metadata", "annotations", key] => ["image.waypost.dev~1", "volume.waypost.dev~1", "waypost.dev~1rules"]
            .iter()
            .any(|own| key.starts_with(own)),
        _ => false,
    }
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

/// A rule of each kind.
const POLICY: &str = r"
apiVersion: waypost.dev/v1alpha1
kind: Policy
metadata: {name: mutated}
spec:
  rules:
    - {name: forbidden, match: {images: ['forbidden.io/**']}, deny: {message: not here}}
    - {name: no-busybox-updates, match: {images: ['docker.io/library/busybox'], namespaces: ['reana-*']}, deny: {message: no}}
    - {name: audited, match: {images: ['audited.io/**']}, rewrite: {prefix: audit.io}, mode: audit}
    - {name: warned, match: {images: ['warned.io/**']}, rewrite: {prefix: warn.io}, mode: warn}
    - {name: kept, match: {images: ['ghcr.io/org/other']}, keep: {}}
    - name: groups
      match: {images: [{regex: 'ghcr\.io/org/team-(?P<app>[a-z]+)'}]}
      rewrite: {to: ['registry.cern.ch/apps/{app}'], sharedTarget: true}
    - {name: mirror, match: {images: ['mirror.io/**']}, rewrite: {prefix: m.cern.ch/mirror, preloaded: true}, pull: {policy: IfNotPresent}}
    - {name: fallen, match: {images: ['fallen.io/**']}, rewrite: {to: ['a.cern.ch/{registry}/{repository}', 'b.cern.ch/{registry}/{repository}'], onUnavailable: next}}
    - {name: down, match: {images: ['down.io/**']}, rewrite: {prefix: down.cern.ch}}
    - {name: secrets, match: {images: ['secrets.io/**']}, rewrite: {prefix: s.cern.ch}, pull: {secrets: [regcred, other], inject: false}}
    - {name: lowered, match: {images: ['lowered.io/**']}, rewrite: {prefix: l.cern.ch}, pull: {policy: IfNotPresent, lower: true}}
    - {name: untouched, match: {images: ['quay.io/**'], podSelector: {matchLabels: {team: data}}}, rewrite: {prefix: registry.cern.ch}, pull: {policy: Unchanged}}
    - {name: quay, match: {images: ['quay.io/**']}, rewrite: {prefix: registry.cern.ch}}
    - {name: hub, match: {images: ['docker.io/**']}, rewrite: {prefix: registry.cern.ch}, warn: [mutableTag]}
";
