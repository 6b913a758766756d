//! The MutatingWebhookConfiguration (`admissionregistration.k8s.io/v1`), and when the API server is to ask.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::FailurePolicy;

/// The object, in the order people expect its keys.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata,
    webhooks: [Webhook; 1],
}

#[derive(Debug, Serialize)]
struct Metadata {
    name: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Webhook {
    name: &'static str,
    client_config: Client,
    rules: [Rule; 2],
    namespace_selector: Selector,
    match_policy: &'static str,
    match_conditions: [Condition; 2],
    failure_policy: FailurePolicy,
    timeout_seconds: u8,
    reinvocation_policy: &'static str,
    side_effects: &'static str,
    admission_review_versions: [&'static str; 1],
}

/// Who is called.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum ClientConfig {
    Url(String),
    Service(ServiceReference),
}

#[derive(Debug, Serialize)]
pub(super) struct ServiceReference {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) path: &'static str,
    pub(super) port: u16,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Client {
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<ServiceReference>,
    ca_bundle: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    api_groups: [&'static str; 1],
    api_versions: [&'static str; 1],
    operations: [&'static str; 1],
    resources: Vec<&'static str>,
    scope: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Selector {
    match_expressions: [Requirement; 1],
}

#[derive(Debug, Serialize)]
struct Requirement {
    key: &'static str,
    operator: &'static str,
    values: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Condition {
    name: &'static str,
    expression: String,
}

impl Manifest {
    /// `ca` is PEM, `timeout` in seconds.
    pub(super) fn new(client: ClientConfig, ca: &[u8], failure_policy: FailurePolicy, timeout: u8) -> Self {
        // Without kube-system, and without ourselves: a Waypost that is down must not keep Waypost from starting.
        let mut without = vec!["kube-system".to_owned()];
        let (url, service) = match client {
            ClientConfig::Url(url) => (Some(url), None),
            ClientConfig::Service(service) => {
                without.push(service.namespace.clone());
                (None, Some(service))
            }
        };
        without.dedup();
        let webhook = Webhook {
            name: "pods.waypost.dev",
            client_config: Client {
                url,
                service,
                ca_bundle: STANDARD.encode(ca),
            },
            rules: [
                rule("CREATE", vec!["pods"]),
                rule("UPDATE", vec!["pods", "pods/ephemeralcontainers"]),
            ],
            namespace_selector: Selector {
                match_expressions: [Requirement {
                    key: "kubernetes.io/metadata.name",
                    operator: "NotIn",
                    values: without,
                }],
            },
            match_policy: "Equivalent",
            match_conditions: [
                Condition {
                    name: "no-mirror-pods",
                    expression: NO_MIRROR_PODS.to_owned(),
                },
                Condition {
                    name: "images-came-or-changed",
                    expression: images_came_or_changed(),
                },
            ],
            failure_policy,
            timeout_seconds: timeout,
            reinvocation_policy: "IfNeeded",
            side_effects: "NoneOnDryRun",
            admission_review_versions: ["v1"],
        };
        Self {
            api_version: "admissionregistration.k8s.io/v1",
            kind: "MutatingWebhookConfiguration",
            metadata: Metadata { name: "waypost" },
            webhooks: [webhook],
        }
    }

    /// As YAML. Lines are broken where the text has breaks and nowhere else: `caBundle` must stay in one piece.
    pub(super) fn yaml(&self) -> anyhow::Result<String> {
        let options = serde_saphyr::ser_options! {
            min_fold_chars: usize::MAX,
            prefer_block_scalars: true,
        };
        Ok(serde_saphyr::to_string_with_options(self, options)?)
    }
}

fn rule(operation: &'static str, resources: Vec<&'static str>) -> Rule {
    Rule {
        api_groups: [""],
        api_versions: ["v1"],
        operations: [operation],
        resources,
        scope: "Namespaced",
    }
}

/// CEL. An expression that fails at run time counts as Waypost not answering, so each field is asked for with `has` first:
/// objects are compared as JSON, in which an empty list is an absent one. Conditions are ANDed, hence one long OR.
fn images_came_or_changed() -> String {
    let list = |pod: &str, field: &str| format!("(has({pod}.spec.{field}) ? {pod}.spec.{field} : [])");
    let differ = |field: &str, after: &str| {
        let (new, old) = (list("object", field), list("oldObject", field));
        format!("  {new}{after}\n  != {old}{after}\n")
    };
    let settings = "\n    .map(c, [has(c.image) ? c.image : '', has(c.imagePullPolicy) ? c.imagePullPolicy : ''])";
    let changes = [
        differ("containers", settings),
        differ("initContainers", settings),
        differ("imagePullSecrets", ""),
        differ("volumes", ".filter(v, has(v.image))"),
    ];
    // Ephemeral containers are added and never changed.
    format!(
        "request.operation == 'CREATE' || (\n\
         has(request.subResource) && request.subResource == 'ephemeralcontainers' ?\n  \
         size({}) > size({})\n\
         :\n\
         {})",
        list("object", "ephemeralContainers"),
        list("oldObject", "ephemeralContainers"),
        changes.join("  ||\n"),
    )
}

/// The API server refuses mirror Pods with changes that their node has not made.
const NO_MIRROR_PODS: &str = "request.operation == 'CREATE' \
     ? !has(object.metadata.annotations) || !('kubernetes.io/config.mirror' in object.metadata.annotations) \
     : !has(oldObject.metadata.annotations) || !('kubernetes.io/config.mirror' in oldObject.metadata.annotations)";
