//! The AdmissionReview: `admission.k8s.io/v1`, as the API server sends and expects it.
//!
//! Source: `k8s.io/api/admission/v1/types.go`.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::de::IgnoredAny;

use super::{
    json::{Json, Lenient, NotJson, write_text},
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
    let document = Document::read(body).map_err(|NotJson| not_json(body))?;
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
    let is_pod = match &request.resource {
        Some(resource) => resource.is("pods"),
        None => request.kind.is_some_and(|kind| kind.is("Pod")),
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
        json.extend_from_slice(br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"#);
        write_text(&mut json, uid);
        match &self.denied {
            None => json.extend_from_slice(br#","allowed":true"#),
            Some(message) => {
                json.extend_from_slice(br#","allowed":false,"status":{"code":403,"reason":"Forbidden","message":"#);
                write_text(&mut json, message);
                json.push(b'}');
            }
        }
        for (at, warning) in self.warnings.iter().enumerate() {
            json.extend_from_slice(if at == 0 { br#","warnings":["#.as_slice() } else { b"," });
            write_text(&mut json, warning);
        }
        if !self.warnings.is_empty() {
            json.push(b']');
        }
        for (at, (key, text)) in self.audit.iter().enumerate() {
            json.extend_from_slice(if at == 0 {
                br#","auditAnnotations":{"#.as_slice()
            } else {
                b","
            });
            write_text(&mut json, key);
            json.push(b':');
            write_text(&mut json, text);
        }
        if !self.audit.is_empty() {
            json.push(b'}');
        }
        if !self.patch.is_empty() {
            json.extend_from_slice(br#","patchType":"JSONPatch","patch":""#);
            let start = json.len();
            json.resize(start + patch, 0);
            // It fails where there is too little room: there is just as much as it takes.
            let _ = STANDARD.encode_slice(&self.patch, &mut json[start..]);
            json.push(b'"');
        }
        json.extend_from_slice(b"}}");
        json
    }
}

const MOST_WARNINGS: usize = 32;

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

/// The whole of what is sent.
#[derive(Default)]
struct Document<'a> {
    kind: Option<Cow<'a, str>>,
    api_version: Option<Cow<'a, str>>,
    request: Option<Request<'a>>,
}

impl<'a> Document<'a> {
    fn read(body: &'a [u8]) -> Result<Lenient<Self>, NotJson> {
        let mut json = Json::new(body);
        let mut document = Self::default();
        let read = json.object(|json, key| {
            match &*key {
                b"kind" => document.kind = json.text()?.value(),
                b"apiVersion" => document.api_version = json.text()?.value(),
                b"request" => document.request = Request::read(json)?,
                _ => json.skip()?,
            }
            Ok(())
        })?;
        json.end()?;
        Ok(match read {
            Lenient::Value(()) => Lenient::Value(document),
            Lenient::Absent | Lenient::Other => Lenient::Other,
        })
    }
}

#[derive(Default)]
struct Request<'a> {
    uid: Option<Cow<'a, str>>,
    kind: Option<Group<'a>>,
    resource: Option<Group<'a>>,
    subresource: Option<Cow<'a, str>>,
    namespace: Option<Cow<'a, str>>,
    operation: Option<Cow<'a, str>>,
    dry_run: bool,
    object: Option<Box<PodView<'a>>>,
    old_object: Option<Box<PodView<'a>>>,
}

impl<'a> Request<'a> {
    fn read(json: &mut Json<'a>) -> Result<Option<Self>, NotJson> {
        let mut request = Self::default();
        let read = json.object(|json, key| {
            match &*key {
                b"uid" => request.uid = json.text()?.value(),
                b"kind" => request.kind = Group::read(json, b"kind")?,
                b"resource" => request.resource = Group::read(json, b"resource")?,
                b"subResource" => request.subresource = json.text()?.value(),
                b"namespace" => request.namespace = json.text()?.value(),
                b"operation" => request.operation = json.text()?.value(),
                b"dryRun" => request.dry_run = json.boolean()?.value().unwrap_or(false),
                b"object" => request.object = PodView::read(json)?.value(),
                b"oldObject" => request.old_object = PodView::read(json)?.value(),
                _ => json.skip()?,
            }
            Ok(())
        })?;
        Ok(read.is_value().then_some(request))
    }
}

/// A kind or a resource, and the API group that it is of.
#[derive(Default)]
struct Group<'a> {
    group: Option<Cow<'a, [u8]>>,
    member: Option<Cow<'a, [u8]>>,
}

impl<'a> Group<'a> {
    /// Its member is under the key `member`.
    fn read(json: &mut Json<'a>, member: &[u8]) -> Result<Option<Self>, NotJson> {
        let mut group = Self::default();
        let read = json.object(|json, key| {
            match &*key {
                b"group" => group.group = json.bytes()?.value(),
                key if key == member => group.member = json.bytes()?.value(),
                _ => json.skip()?,
            }
            Ok(())
        })?;
        Ok(read.is_value().then_some(group))
    }

    /// Whether it is this member of the core group.
    fn is(&self, member: &str) -> bool {
        self.group.as_deref().unwrap_or_default().is_empty() && self.member.as_deref() == Some(member.as_bytes())
    }
}

/// Says what is wrong in the words of a parser that stops to tell where.
fn not_json(body: &[u8]) -> BadReview {
    BadReview::NotJson(match serde_json::from_slice::<IgnoredAny>(body) {
        Err(error) => error.to_string(),
        Ok(_) => "a text in it has characters that are none".to_owned(),
    })
}
