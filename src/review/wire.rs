//! The AdmissionReview: `admission.k8s.io/v1`, as the API server sends and expects it.
//!
//! Source: `k8s.io/api/admission/v1/types.go`.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Serialize, de::MapAccess};

use super::{
    lenient::{Key, Lenient, Read, read_object},
    pod::PodView,
};

/// A request, read as far as it matters.
#[derive(Debug)]
pub struct Review<'a> {
    /// Identifies the request; the answer must have the same.
    pub uid: Cow<'a, str>,
    /// What is done.
    pub operation: Operation,
    /// Whether the object is a Pod.
    pub is_pod: bool,
    /// `ephemeralcontainers`, `resize`, …; empty for the Pod itself.
    pub subresource: Cow<'a, str>,
    /// The namespace of the request.
    pub namespace: Cow<'a, str>,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// The new object; none on DELETE.
    pub object: Option<Box<PodView<'a>>>,
    /// The object as it is stored; none on CREATE.
    pub old_object: Option<Box<PodView<'a>>>,
}

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is deleted.
    Delete,
    /// Something is connected to it.
    Connect,
    /// Something that this version does not know.
    Unknown,
}

/// Why a request cannot be answered as a review: the caller's mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReview {
    /// The body is no JSON.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// The body is JSON, and something else than an AdmissionReview.
    #[error("the body is no AdmissionReview: its kind is {0}")]
    Kind(String),
    /// Another version of AdmissionReview.
    #[error(
        "the AdmissionReview is of {0}, and this webhook speaks admission.k8s.io/v1: set admissionReviewVersions to [v1]"
    )]
    Version(String),
    /// There is no request in it.
    #[error("the AdmissionReview has no request")]
    NoRequest,
    /// There is no uid to answer with.
    #[error("the AdmissionReview's request has no uid")]
    NoUid,
}

/// Reads a review.
///
/// # Errors
///
/// When there is nothing that could be answered with its uid.
pub fn parse(body: &[u8]) -> Result<Review<'_>, BadReview> {
    let document: Lenient<Document<'_>> =
        serde_json::from_slice(body).map_err(|error| BadReview::NotJson(error.to_string()))?;
    let Lenient::Value(document) = document else {
        return Err(BadReview::Kind("not an object".to_owned()));
    };
    let shown = |text: &Option<Cow<'_, str>>| match text {
        Some(text) => format!("`{}`", text.chars().take(64).collect::<String>().escape_debug()),
        None => "missing".to_owned(),
    };
    if document.kind.as_deref() != Some("AdmissionReview") {
        return Err(BadReview::Kind(shown(&document.kind)));
    }
    if document.api_version.as_deref() != Some("admission.k8s.io/v1") {
        return Err(BadReview::Version(shown(&document.api_version)));
    }
    let request = document.request.ok_or(BadReview::NoRequest)?;
    let uid = request.uid.filter(|uid| !uid.is_empty()).ok_or(BadReview::NoUid)?;
    let operation = request.operation.as_deref().map_or(Operation::Unknown, Operation::of);
    // The resource says what is asked about; the kind differs from it on subresources such as pods/binding.
    let is_pod = match request.resource {
        Some(resource) => {
            resource.group.as_deref().unwrap_or_default().is_empty() && resource.resource.as_deref() == Some("pods")
        }
        None => request.kind.is_some_and(|kind| {
            kind.group.as_deref().unwrap_or_default().is_empty() && kind.kind.as_deref() == Some("Pod")
        }),
    };
    let namespace = request
        .namespace
        .or_else(|| request.object.as_ref().and_then(|object| object.namespace.clone()))
        .unwrap_or_default();
    Ok(Review {
        uid,
        operation,
        is_pod,
        subresource: request.subresource.unwrap_or_default(),
        namespace,
        dry_run: request.dry_run,
        object: request.object,
        old_object: request.old_object,
    })
}

/// The uid of a review of which nothing else is read: to answer with when reading the rest failed unexpectedly.
pub fn uid_of(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Document {
        request: Request,
    }
    #[derive(serde::Deserialize)]
    struct Request {
        uid: String,
    }
    serde_json::from_slice::<Document>(body)
        .ok()
        .map(|document| document.request.uid)
        .filter(|uid| !uid.is_empty())
}

/// What is answered.
#[derive(Debug, Default)]
pub struct Answer {
    /// Why the request is refused; none to allow it.
    pub denied: Option<String>,
    /// The JSON Patch, as JSON; empty for none.
    pub patch: Vec<u8>,
    /// What the user is told; `kubectl` prints one a line.
    pub warnings: Vec<String>,
    /// What the audit log is told, by key.
    pub audit: Vec<(&'static str, String)>,
}

impl Answer {
    /// Adds a warning, up to a limit: the API server passes 4 KiB of them on, and a Pod may have thousands of containers.
    pub fn warn(&mut self, warning: std::fmt::Arguments<'_>) {
        match self.warnings.len() {
            MOST_WARNINGS.. => {}
            count if count + 1 == MOST_WARNINGS => self.warnings.push("waypost: there is more to warn of".to_owned()),
            _ => self.warnings.push(warning.to_string()),
        }
    }

    /// The AdmissionReview that says so, as JSON.
    pub fn to_json(&self, uid: &str) -> Vec<u8> {
        let told: usize = self
            .warnings
            .iter()
            .chain(self.audit.iter().map(|(_, text)| text))
            .map(String::len)
            .sum();
        let patch = self.patch.len().div_ceil(3) * 4;
        let mut json = Vec::with_capacity(512 + patch + told * 9 / 8);
        let review = ReviewOut {
            kind: "AdmissionReview",
            api_version: "admission.k8s.io/v1",
            response: ResponseOut {
                uid,
                allowed: self.denied.is_none(),
                status: self.denied.as_deref().map(|message| StatusOut {
                    code: 403,
                    reason: "Forbidden",
                    message,
                }),
                warnings: &self.warnings,
                audit: AuditOut(&self.audit),
            },
        };
        // Strings into memory: neither can fail.
        let _ = serde_json::to_writer(&mut json, &review);
        if !self.patch.is_empty() {
            // Put in by hand: base64 has nothing to escape, and is most of the answer.
            json.truncate(json.len() - "}}".len());
            json.extend_from_slice(br#","patchType":"JSONPatch","patch":""#);
            let start = json.len();
            json.resize(start + patch, 0);
            // It fails where there is too little room: there is just as much as it takes.
            let _ = STANDARD.encode_slice(&self.patch, &mut json[start..]);
            json.extend_from_slice(br#""}}"#);
        }
        json
    }
}

const MOST_WARNINGS: usize = 32;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReviewOut<'a> {
    kind: &'static str,
    api_version: &'static str,
    response: ResponseOut<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseOut<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<StatusOut<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [String],
    #[serde(rename = "auditAnnotations", skip_serializing_if = "AuditOut::is_empty")]
    audit: AuditOut<'a>,
}

#[derive(Serialize)]
struct StatusOut<'a> {
    code: u16,
    reason: &'static str,
    message: &'a str,
}

struct AuditOut<'a>(&'a [(&'static str, String)]);

impl AuditOut<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for AuditOut<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Create, Self::Update, Self::Delete, Self::Connect, Self::Unknown];

    /// The operation of that name, or [`Unknown`](Self::Unknown).
    pub fn of(name: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|operation| operation.as_str() == name)
            .unwrap_or(Self::Unknown)
    }

    /// As Kubernetes spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Unknown => "unknown",
        }
    }
}

type Text<'a> = Lenient<Cow<'a, str>>;

struct Document<'a> {
    kind: Option<Cow<'a, str>>,
    api_version: Option<Cow<'a, str>>,
    request: Option<Request<'a>>,
}

impl<'de> Read<'de> for Document<'de> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let (mut kind, mut api_version) = (Text::Absent, Text::Absent);
        let mut request: Lenient<Request<'de>> = Lenient::Absent;
        read_object!(map, { "kind" => kind, "apiVersion" => api_version, "request" => request });
        Ok(Some(Self {
            kind: kind.value(),
            api_version: api_version.value(),
            request: request.value(),
        }))
    }
}

struct Request<'a> {
    uid: Option<Cow<'a, str>>,
    kind: Option<GroupKind<'a>>,
    resource: Option<GroupResource<'a>>,
    subresource: Option<Cow<'a, str>>,
    namespace: Option<Cow<'a, str>>,
    operation: Option<Cow<'a, str>>,
    dry_run: bool,
    // Boxed: a kilobyte each, which would be moved at each level that is read.
    object: Option<Box<PodView<'a>>>,
    old_object: Option<Box<PodView<'a>>>,
}

impl<'de> Read<'de> for Request<'de> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let (mut uid, mut subresource, mut namespace, mut operation) =
            (Text::Absent, Text::Absent, Text::Absent, Text::Absent);
        let mut kind: Lenient<GroupKind<'de>> = Lenient::Absent;
        let mut resource: Lenient<GroupResource<'de>> = Lenient::Absent;
        let mut dry_run: Lenient<bool> = Lenient::Absent;
        let (mut object, mut old_object): (Lenient<Box<PodView<'de>>>, Lenient<Box<PodView<'de>>>) =
            (Lenient::Absent, Lenient::Absent);
        read_object!(map, {
            "uid" => uid,
            "kind" => kind,
            "resource" => resource,
            "subResource" => subresource,
            "namespace" => namespace,
            "operation" => operation,
            "dryRun" => dry_run,
            "object" => object,
            "oldObject" => old_object,
        });
        Ok(Some(Self {
            uid: uid.value(),
            kind: kind.value(),
            resource: resource.value(),
            subresource: subresource.value(),
            namespace: namespace.value(),
            operation: operation.value(),
            dry_run: dry_run.value().unwrap_or(false),
            object: object.value(),
            old_object: old_object.value(),
        }))
    }
}

struct GroupKind<'a> {
    group: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
}

impl<'de> Read<'de> for GroupKind<'de> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let (mut group, mut kind) = (Text::Absent, Text::Absent);
        read_object!(map, { "group" => group, "kind" => kind });
        Ok(Some(Self {
            group: group.value(),
            kind: kind.value(),
        }))
    }
}

struct GroupResource<'a> {
    group: Option<Cow<'a, str>>,
    resource: Option<Cow<'a, str>>,
}

impl<'de> Read<'de> for GroupResource<'de> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let (mut group, mut resource) = (Text::Absent, Text::Absent);
        read_object!(map, { "group" => group, "resource" => resource });
        Ok(Some(Self {
            group: group.value(),
            resource: resource.value(),
        }))
    }
}
