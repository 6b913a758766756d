//! Manifests in, manifests out: what the webhook would do to the Pods of a manifest, done to its text.
//!
//! [`rewrite`] decides as [`admission`](crate::admission) does on a new Pod, and splices what changes into the text: comments, order,
//! anchors and quoting stay, and a manifest that needs no change comes out byte for byte. The webhook then finds nothing to do.
//!
//! # What is read
//!
//! * Pods and Pod templates of Kubernetes' own kinds, also in a `List`; everything else passes untouched.
//! * The namespace is the object's, or the one of [`Options`]; labels are those of the template. Labels that controllers add to their Pods
//!   are not known here.
//! * Where no pull policy is written, the API server's default is decided by, since it is set before a webhook is asked.
//! * An image that several places share by an anchor is changed at the anchor if all of them want the same, and is left otherwise.
//! * Of a key that is written twice the last counts, as for `kubectl` without validation, and there is a warning.

mod pods;
mod read;
mod write;

use std::{borrow::Cow, collections::BTreeMap, ops::Range};

use self::{
    pods::Pod,
    read::{Document, Id},
    write::{Edit, Writer},
};
use crate::{
    admission::{Judge, Scope},
    decide::Outcome,
    document::{Diagnostic, Lines, Path, Severity, Source, locate},
    policy::Labels,
    review::SlotKind,
    snapshot::Snapshot,
};

/// The longest manifest that is read, in bytes (1 GiB).
pub const MAX_BYTES: usize = 1 << 30;

/// What a manifest does not say itself.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Whether pull policies and pull secrets are written, too; else images only.
    pub pull: bool,
    /// The namespace of objects that name none.
    pub namespace: &'a str,
    /// The labels of the objects' namespaces.
    pub namespace_labels: &'a dyn Labels,
}

/// A manifest as it is to be, and what there is to say about it.
#[derive(Debug)]
pub struct Rewritten<'t> {
    /// The text; borrowed where nothing has changed.
    pub text: Cow<'t, str>,
    /// Errors for images that a rule denies, warnings for what users are warned of and for what was left. In the order of the text.
    pub findings: Vec<Diagnostic>,
}

/// Rewrites the images of a manifest: YAML, of one or more documents, or JSON.
///
/// # Errors
///
/// What is no YAML, all of it at once; aliases that stand for too much.
pub fn rewrite<'t>(
    snapshot: &Snapshot,
    source: &'t Source,
    options: &Options<'_>,
) -> Result<Rewritten<'t>, Vec<Diagnostic>> {
    let text = &*source.text;
    let mut edits = Vec::new();
    let mut findings = Vec::new();
    let mut refused = Vec::new();
    let problems = read::read(text, |document| {
        let mut work = Work {
            snapshot,
            options,
            document: &document,
            wishes: BTreeMap::new(),
            findings: &mut findings,
        };
        match work.document() {
            Ok(()) => work.write(text, &mut edits),
            Err(alias) => refused.push(Finding {
                severity: Severity::Error,
                code: "too-many-aliases",
                at: document.node(alias).span.clone(),
                message: "aliases make more Pods of this than can be meant".to_owned(),
            }),
        }
    });
    if let Err(problems) = problems {
        return Err(problems.iter().map(|problem| locate(problem, source, None)).collect());
    }
    let lines = Lines::of(source);
    let located = |mut findings: Vec<Finding>| -> Vec<Diagnostic> {
        findings.sort_by_key(|finding| finding.at.start);
        findings
            .into_iter()
            .map(|finding| finding.located(source, &lines))
            .collect()
    };
    if !refused.is_empty() {
        return Err(located(refused));
    }
    let findings = located(findings);
    if edits.is_empty() {
        return Ok(Rewritten {
            text: Cow::Borrowed(text),
            findings,
        });
    }
    let text = write::apply(text, edits);
    // Nobody may get a manifest that was broken here.
    if read::read(&text, |_| {}).is_err() {
        let message = "the rewritten manifest would be no YAML: this is a fault of Waypost's";
        let mut fault = Diagnostic::without_place(&source.name, Severity::Error, "internal", message);
        fault.hint = Some("please report it, with the manifest if you can".to_owned());
        return Err(vec![fault]);
    }
    Ok(Rewritten {
        text: Cow::Owned(text),
        findings,
    })
}

/// The work on one document.
struct Work<'w, 'd, 't> {
    snapshot: &'w Snapshot,
    options: &'w Options<'w>,
    document: &'d Document<'t>,
    /// By place: several Pods may share one through an anchor.
    wishes: BTreeMap<Place, Wish>,
    findings: &'w mut Vec<Finding>,
}

/// A place that may be changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// A scalar that is there.
    Value(Id),
    /// A container's pull policy that is not there, in this mapping.
    PullPolicy(Id),
    /// An image volume's, likewise.
    VolumePullPolicy(Id),
    /// Pull secrets that are not there, in this spec.
    Secrets(Id),
    /// A list of pull secrets that is there.
    MoreSecrets(Id),
    /// A null in the place of a list.
    NullSecrets(Id),
}

/// What is to be written at a place.
struct Wish {
    /// None to leave it; names of Secrets may be several.
    value: Option<Vec<String>>,
    /// Whether all who share the place agree.
    agreed: bool,
    /// Who wants it, for messages.
    whose: String,
    /// Where they have it.
    at: Range<usize>,
}

struct Finding {
    severity: Severity,
    code: &'static str,
    at: Range<usize>,
    message: String,
}

impl Work<'_, '_, '_> {
    fn document(&mut self) -> Result<(), Id> {
        for pod in pods::pods(self.document)? {
            self.pod(&pod);
        }
        for key in self.document.overridden() {
            let at = self.document.node(key).span.clone();
            self.find(
                "duplicate-key",
                at,
                "this key is written again below, and the last one counts".to_owned(),
            );
        }
        Ok(())
    }

    fn pod(&mut self, pod: &Pod<'_>) {
        let namespace = pod.namespace.unwrap_or(self.options.namespace);
        let labels = self.options.namespace_labels;
        let mut judge = Judge::new(Scope::Create, &pod.view, self.snapshot, namespace, Some(labels));
        for (slot, place) in pod.view.slots.iter().zip(&pod.places) {
            let Some(judged) = judge.image(slot) else { continue };
            let object = &pod.object;
            let at = self.document.node(place.image).span.clone();
            if let Some(denial) = judged.denial(self.snapshot, slot) {
                self.findings.push(Finding {
                    severity: Severity::Error,
                    code: "denied",
                    at: at.clone(),
                    message: format!("{object} is refused: {denial}"),
                });
            }
            let code = match judged.decision.outcome {
                Outcome::Unparsable => "unparsable",
                Outcome::InvalidTarget => "invalid-target",
                _ => "image",
            };
            for warning in judged.warnings(self.snapshot, slot) {
                self.find(code, at.clone(), format!("{object}: {warning}"));
            }
            let whose = || {
                format!(
                    "the image of {object}'s {} \"{}\"",
                    slot.kind.noun(),
                    slot.name.escape_debug()
                )
            };
            let image = Place::Value(self.document.resolve(place.image));
            self.wish(
                image,
                judged.decision.target.map(|target| vec![target]),
                whose,
                at.clone(),
            );
            if self.options.pull {
                let policy = place.pull_policy.map(|policy| self.document.resolve(policy));
                let absent = match slot.kind {
                    SlotKind::Volume => Place::VolumePullPolicy(place.mapping),
                    _ => Place::PullPolicy(place.mapping),
                };
                let policy = policy.map_or(absent, Place::Value);
                let whose = || {
                    format!(
                        "the pull policy of {object}'s {} \"{}\"",
                        slot.kind.noun(),
                        slot.name.escape_debug()
                    )
                };
                self.wish(
                    policy,
                    judged.pull_policy.map(|policy| vec![policy.to_owned()]),
                    whose,
                    at,
                );
            }
        }
        if self.options.pull {
            let names: Vec<String> = judge.secrets().iter().map(|name| (*name).to_owned()).collect();
            let place = match pod.pull_secrets.map(|list| self.document.resolve(list)) {
                None => Place::Secrets(pod.spec),
                Some(list) if self.document.is_null(list) => Place::NullSecrets(list),
                Some(list) => Place::MoreSecrets(list),
            };
            let at = self.document.node(pod.pull_secrets.unwrap_or(pod.spec)).span.start;
            let whose = || format!("the pull secrets of {}", pod.object);
            self.wish(place, (!names.is_empty()).then_some(names), whose, at..at);
        }
    }

    fn wish(&mut self, place: Place, value: Option<Vec<String>>, whose: impl Fn() -> String, at: Range<usize>) {
        if let Some(present) = self.wishes.get_mut(&place) {
            present.agreed &= present.value == value;
            if present.value.is_none() && value.is_some() {
                (present.whose, present.at, present.value) = (whose(), at, value);
            }
            return;
        }
        let whose = value.as_ref().map(|_| whose()).unwrap_or_default();
        let agreed = true;
        self.wishes.insert(
            place,
            Wish {
                value,
                agreed,
                whose,
                at,
            },
        );
    }

    fn write(&mut self, text: &str, edits: &mut Vec<Edit>) {
        let writer = Writer {
            text,
            document: self.document,
        };
        for (place, wish) in std::mem::take(&mut self.wishes) {
            let Some(values) = wish.value else { continue };
            let wanted = || {
                values
                    .iter()
                    .map(|value| format!("`{value}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            if !wish.agreed || !self.document.is_seen_everywhere(place.id()) {
                let message = format!(
                    "{} is left: it should be {}, but an anchor shares it with places that should stay or be something else",
                    wish.whose,
                    wanted()
                );
                self.find("shared", wish.at, message);
                continue;
            }
            let first = values.first().map_or("", |value| value);
            let edit = match place {
                Place::Value(id) => writer.value(id, first),
                Place::VolumePullPolicy(mapping) => writer.key(mapping, "reference", "pullPolicy", first),
                Place::PullPolicy(mapping) => writer.key(mapping, "image", "imagePullPolicy", first),
                Place::Secrets(spec) => writer.secrets(spec, &values),
                Place::MoreSecrets(list) => writer.more_secrets(list, &values),
                Place::NullSecrets(null) => writer.secrets_for_null(null, &values),
            };
            match edit {
                Some(edit) => edits.push(edit),
                None => {
                    let message = format!(
                        "{} is left: it should be {}, and how that is to be written here is not clear",
                        wish.whose,
                        wanted()
                    );
                    self.find("not-written", wish.at, message);
                }
            }
        }
    }

    fn find(&mut self, code: &'static str, at: Range<usize>, message: String) {
        self.findings.push(Finding {
            severity: Severity::Warning,
            code,
            at,
            message,
        });
    }
}

impl Place {
    fn id(self) -> Id {
        match self {
            Self::Value(id)
            | Self::PullPolicy(id)
            | Self::VolumePullPolicy(id)
            | Self::Secrets(id)
            | Self::MoreSecrets(id)
            | Self::NullSecrets(id) => id,
        }
    }
}

impl Finding {
    fn located(self, source: &Source, lines: &Lines) -> Diagnostic {
        Diagnostic {
            source: source.name.clone(),
            spot: lines.spot(source, self.at),
            severity: self.severity,
            code: self.code,
            path: Path::root(),
            message: self.message,
            hint: None,
            related: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
