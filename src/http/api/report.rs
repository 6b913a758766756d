//! A report of a push: what is wrong with it, and what it means for a registry.

use jiff::Timestamp;

use super::{
    problem::{FieldError, Problem},
    push::{PushRequest, Reported},
};
use crate::{
    pushes::{Event, Image, Origin, What},
    reference::{ParseError, Reference, valid_digest},
    registry::{Registry, id_problem},
};

/// A report in which nothing is wrong, whatever the registry is.
#[derive(Debug)]
pub(super) struct Report {
    /// The registry's id.
    pub(super) registry: String,
    /// A reference.
    image: String,
    /// Another.
    target: Option<String>,
    at: Option<Timestamp>,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    Running,
    Succeeded { digest: Box<str> },
    Failed { error: Box<str> },
}

impl Report {
    /// Everything that can be said of it without looking at any registry.
    pub(super) fn of(request: PushRequest, state: Reported) -> Result<Self, Problem> {
        let mut errors = Vec::new();
        let registry = registry_id("registry_id", request.registry_id.as_deref(), &mut errors);
        for (field, there) in [
            ("referrers", request.referrers.is_some()),
            ("registry_push_credentials", request.registry_push_credentials.is_some()),
        ] {
            if there {
                errors.push(
                    FieldError::new(field, "it is for a copy, and this is a report")
                        .hint("leave it out, or leave `state` out: then Waypost copies the image"),
                );
            }
        }
        let image = reference("image", &request.image, &mut errors);
        let target = request
            .target
            .as_deref()
            .and_then(|target| reference("target", target, &mut errors));
        let digests = [image, target].map(|reference| reference.and_then(|reference| reference.digest()));
        let outcome = request.outcome(state, image.is_some(), digests, &mut errors);
        let at = request.moment(&mut errors);
        match outcome.zip(registry) {
            Some((outcome, registry)) if errors.is_empty() => Ok(Self {
                registry,
                image: request.image,
                target: request.target,
                at,
                outcome,
            }),
            _ => Err(Problem::invalid(errors)),
        }
    }

    /// What it says has happened in this registry.
    pub(super) fn event(self, registry: &Registry, now: Timestamp) -> Result<Event, Problem> {
        let (image, target) = self.names(registry).map_err(|error| Problem::invalid(vec![error]))?;
        Ok(Event {
            image,
            registry: self.registry.into(),
            at: self.at.map_or(now, |at| at.min(now)),
            origin: Origin::Report,
            what: match self.outcome {
                Outcome::Running => What::Begun,
                Outcome::Succeeded { digest } => What::Succeeded { target, digest },
                Outcome::Failed { error } => What::Failed { error },
            },
        })
    }

    /// The image, and what it is called in the registry.
    fn names(&self, registry: &Registry) -> Result<(Image, Box<str>), FieldError> {
        let not_one = |error: ParseError| FieldError::new("image", error.kind().to_string()).hint(error.hint());
        let written = Reference::parse(&self.image).map_err(not_one)?;
        let image = Image::of(&written);
        let image = image.source_in(registry).unwrap_or(image);
        let target = match &self.target {
            Some(target) => given_target(registry, target, &image)?,
            None if registry.is_over(&written) => Image::of(&written),
            None => usual_target(registry, &image).map_err(|why| {
                FieldError::new("image", why).hint("say in `target` under which name it was pushed there")
            })?,
        };
        Ok((image, target.as_str().into()))
    }
}

/// By the registry's names, or why not. One that has the tag of the image, or its digest, is an identity itself.
pub(super) fn usual_target(registry: &Registry, image: &Image) -> Result<Image, String> {
    let Ok(reference) = Reference::parse(image.as_str()) else {
        return Err("it can have no name in a registry".to_owned());
    };
    let target = registry.names.target(&reference);
    if let Some(target) = target.and_then(|target| Image::parse(&target).ok()) {
        return Ok(target);
    }
    Err(match registry.names.from() {
        Some(from) if !from.eq_ignore_ascii_case(reference.registry()) => format!(
            "by its `names` the registry has images of {from} alone, and this one is of {}",
            reference.registry()
        ),
        _ => format!(
            "`{}`, the registry's `names`, make no valid reference of it: it would be too long, or have a port in the middle",
            registry.names.template()
        ),
    })
}

/// By whoever reports.
fn given_target(registry: &Registry, target: &str, image: &Image) -> Result<Image, FieldError> {
    let error = |message: String| FieldError::new("target", message);
    let parsed = Reference::parse(target);
    let target = parsed.map_err(|wrong| error(wrong.kind().to_string()).hint(wrong.hint()))?;
    if !registry.is_over(&target) {
        return Err(error(format!("it does not lie under {}", registry.address)).hint(
            "a target is what nodes pull, beginning with the `registry_url` of the registry that it was pushed to",
        ));
    }
    let Ok(image) = Reference::parse(image.as_str()) else {
        return Err(error("the image can have no name in a registry".to_owned()));
    };
    if target.tag().is_some_and(|tag| image.tag() != Some(tag)) {
        let tag = image
            .tag()
            .map_or_else(|| "has none".to_owned(), |tag| format!("has `{tag}`"));
        return Err(error(format!("its tag is not that of the image, which {tag}"))
            .hint("Pods keep the tag that they ask for: push it under that one, and report that"));
    }
    let name = format!("{}{}", target.canonical_name(), image.suffix());
    Image::parse(&name).map_err(|wrong| error(wrong.kind().to_string()).hint(wrong.hint()))
}

impl PushRequest {
    /// How it went, with what has to be there for that and nothing that cannot be. `digests`: those of the references, if any.
    fn outcome(
        &self,
        state: Reported,
        image_is_one: bool,
        digests: [Option<&str>; 2],
        errors: &mut Vec<FieldError>,
    ) -> Option<Outcome> {
        let mut only_for = |field: &str, there: bool, of: &str| {
            if there {
                errors.push(
                    FieldError::new(field, format!("it is for the state {of}")).hint("leave it out, or say that state"),
                );
            }
        };
        only_for(
            "digest",
            self.digest.is_some() && state != Reported::Succeeded,
            "SUCCEEDED",
        );
        only_for("error", self.error.is_some() && state != Reported::Failed, "FAILED");
        match state {
            Reported::Running => {
                only_for("finished_at", self.finished_at.is_some(), "SUCCEEDED, or FAILED");
                Some(Outcome::Running)
            }
            Reported::Failed => Some(Outcome::Failed {
                error: self.error.as_deref().map_or_else(|| NOBODY_SAID.into(), escaped),
            }),
            Reported::Succeeded => {
                if self
                    .digest
                    .as_deref()
                    .is_some_and(|digest| valid_digest(digest).is_err())
                {
                    errors.push(
                        FieldError::new("digest", "it is no digest")
                            .hint("write `sha256:` and its 64 hexadecimal digits, in lower case"),
                    );
                    return None;
                }
                let [image, target] = digests;
                let mut said = [("image", image), ("target", target), ("digest", self.digest.as_deref())]
                    .into_iter()
                    .filter_map(|(field, digest)| Some((field, digest?)));
                let Some((first, digest)) = said.next() else {
                    if image_is_one {
                        errors
                            .push(FieldError::new("digest", "it is missing: that of what was pushed").hint(SEE_DIGEST));
                    }
                    return None;
                };
                if let Some((field, _)) = said.find(|(_, other)| *other != digest) {
                    errors.push(
                        FieldError::new(field, format!("it has another digest than `{first}`"))
                            .hint("give the one of what was pushed, once"),
                    );
                    return None;
                }
                Some(Outcome::Succeeded { digest: digest.into() })
            }
        }
    }

    fn moment(&self, errors: &mut Vec<FieldError>) -> Option<Timestamp> {
        let text = self.finished_at.as_deref()?;
        let at = is_rfc_3339(text).then(|| text.parse().ok()).flatten();
        // What is before the year 0 in UTC has no form that others read.
        let at = at.filter(|at| *at >= Timestamp::UNIX_EPOCH);
        if at.is_none() {
            errors.push(
                FieldError::new("finished_at", "it is no time since 1970 as RFC 3339 has it")
                    .hint("write it like 2026-11-21T10:00:00Z, as `date -u +%Y-%m-%dT%H:%M:%SZ` does, or leave it out: then it is now"),
            );
        }
        at
    }
}

/// The id of a registry that may be there, which is said in a field.
pub(super) fn registry_id(field: &str, said: Option<&str>, errors: &mut Vec<FieldError>) -> Option<String> {
    let problem = match said {
        Some(id) => id_problem(id),
        None => Some("it is missing"),
    };
    if let Some(problem) = problem {
        errors.push(FieldError::new(field, problem).hint(SEE_REGISTRIES));
        return None;
    }
    said.map(str::to_owned)
}

pub(super) fn reference<'r>(field: &str, text: &'r str, errors: &mut Vec<FieldError>) -> Option<Reference<'r>> {
    let parsed = Reference::parse(text);
    // Its words without what was written: somebody may have put a password before the host.
    parsed
        .map_err(|error| errors.push(FieldError::new(field, error.kind().to_string()).hint(error.hint())))
        .ok()
}

/// Whether a time is written as RFC 3339 has it. What reads it takes more: names of zones, hours without minutes.
fn is_rfc_3339(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|char| {
            if char.is_ascii_digit() {
                '0'
            } else {
                char.to_ascii_uppercase()
            }
        })
        .collect();
    let Some(rest) = shape.strip_prefix("0000-00-00T00:00:00") else {
        return false;
    };
    let rest = match rest.strip_prefix('.') {
        Some(fraction) if fraction.starts_with('0') => fraction.trim_start_matches('0'),
        Some(_) => return false,
        None => rest,
    };
    matches!(rest, "Z" | "+00:00" | "-00:00")
}

/// One line of text that does nothing to a terminal, nor to the order in which it is read.
fn escaped(text: &str) -> Box<str> {
    let mut line = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                line.extend(char.escape_unicode())
            }
            _ if char.is_control() => line.extend(char.escape_debug()),
            _ => line.push(char),
        }
    }
    line.into()
}

/// Where to look for ids.
pub(super) const SEE_REGISTRIES: &str = "GET /v1/registries lists those that there are";
/// What is said of a state that is none that can be reported.
pub(super) const STATES: &str = "leave it out, and Waypost copies the image; of a push of your own report SUCCEEDED with its digest, or FAILED; RUNNING says \
    that you have begun";
const SEE_DIGEST: &str = "`crane digest IMAGE`, `docker buildx imagetools inspect IMAGE` and `skopeo inspect docker://IMAGE` say it; give it here, or behind \
    the image: repository:tag@sha256:…";
const NOBODY_SAID: &str = "nobody has said why";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_rfc_3339() {
        for (text, is_one) in [
            ("2026-11-21T10:00:00Z", true),
            ("2026-11-21t10:00:00z", true),
            ("2026-11-21T10:00:00.5Z", true),
            ("2026-11-21T10:00:00.123456789012+01:00", true),
            ("2026-11-21T10:00:00-23:59", true),
            ("2026-11-21T10:00:00.Z", false),
            ("2026-11-21 10:00:00Z", false),
            ("2026-11-21T10:00:00", false),
            ("2026-11-21T10:00Z", false),
            ("2026-11-21T10:00:00+01", false),
            ("2026-11-21T10:00:00+01:00[Europe/Zurich]", false),
            ("2026-11-21", false),
            ("1795255200", false),
            ("", false),
        ] {
            assert_eq!(is_rfc_3339(text), is_one, "{text}");
        }
    }

    #[test]
    fn an_error_is_one_line_that_does_nothing_to_a_terminal() {
        assert_eq!(
            &*escaped("denied: \"x\"\r\n\u{1b}[31mü\t\u{202e}\u{0}"),
            "denied: \"x\"\\r\\n\\u{1b}[31mü\\t\\u{202e}\\0"
        );
    }
}
