//! Copies that somebody asks for: what is wrong with the request, and by whose credential the source may be read.

use std::cmp::Reverse;

use axum::http::{HeaderMap, StatusCode};

use super::{
    Answer, Api,
    credentials::of_push,
    problem::{FieldError, Problem},
    push::{PushCredentials, PushRequest, RetryRequest},
    report::{reference, registry_id, usual_target},
};
use crate::{
    authorization::{Access, Resource, Verb},
    pushes::{Image, Order},
    reference::Reference,
    registry::{Login, Registry, credential::better_issued},
};

/// A copy in which nothing is wrong, whatever the registry is.
#[derive(Debug)]
pub(super) struct Wish {
    /// The registry's id.
    pub(super) registry: String,
    /// A reference.
    pub(super) image: String,
    pub(super) terms: Terms,
}

/// How it is to be copied.
#[derive(Debug, Default)]
pub(super) struct Terms {
    referrers: bool,
    login: Option<Login>,
}

impl Wish {
    /// Everything that can be said of it without looking at any registry.
    pub(super) fn of(request: PushRequest) -> Result<Self, Problem> {
        let mut errors = Vec::new();
        for (field, there) in [
            ("digest", request.digest.is_some()),
            ("error", request.error.is_some()),
            ("target", request.target.is_some()),
            ("finished_at", request.finished_at.is_some()),
        ] {
            if there {
                errors.push(
                    FieldError::new(field, "it is for reports, and without `state` this asks for a copy")
                        .hint("leave it out, or say in `state` how the push went that you made"),
                );
            }
        }
        let of_credentials = request
            .registry_push_credentials
            .as_ref()
            .and_then(|credentials| credentials.registry_id.as_deref());
        let registry = match (request.registry_id.as_deref(), of_credentials) {
            (None, Some(id)) => registry_id(CREDENTIALS_ID, Some(id), &mut errors),
            (id, _) => registry_id("registry_id", id, &mut errors),
        };
        if let Some(image) = reference("image", &request.image, &mut errors)
            && image.tag().is_some()
            && image.digest().is_some()
        {
            errors.push(FieldError::new("image", "it has a tag and a digest").hint(TAG_OR_DIGEST));
        }
        let terms = Terms::of(
            request.referrers,
            request.registry_push_credentials,
            registry.as_deref(),
            &mut errors,
        );
        match registry {
            Some(registry) if errors.is_empty() => Ok(Self {
                registry,
                image: request.image,
                terms,
            }),
            _ => Err(Problem::invalid(errors)),
        }
    }
}

impl Terms {
    /// Of a push that is tried again.
    pub(super) fn of_retry(request: RetryRequest, registry: &str) -> Result<Self, Problem> {
        let RetryRequest {
            referrers,
            registry_push_credentials,
        } = request;
        let mut errors = Vec::new();
        let terms = Self::of(referrers, registry_push_credentials, Some(registry), &mut errors);
        match &*errors {
            [] => Ok(terms),
            _ => Err(Problem::invalid(errors)),
        }
    }

    fn of(
        referrers: Option<bool>,
        credentials: Option<PushCredentials>,
        registry: Option<&str>,
        errors: &mut Vec<FieldError>,
    ) -> Self {
        let PushCredentials {
            registry_id,
            registry_username,
            registry_password,
        } = credentials.unwrap_or_default();
        if let (Some(said), Some(registry)) = (registry_id, registry)
            && said != registry
        {
            errors.push(
                FieldError::new(CREDENTIALS_ID, "it is another registry than the one that is pushed to")
                    .hint("credentials are for that one: name it, or leave this out"),
            );
        }
        Self {
            referrers: referrers.unwrap_or_default(),
            login: of_push(CREDENTIALS, registry_username, registry_password, errors),
        }
    }

    /// What is wrong with the credential at this registry, if anything.
    fn problem(&self, registry: &Registry) -> Option<FieldError> {
        let login = self.login.as_ref()?;
        let issued = "leave both out: Waypost has tokens issued to push with";
        if registry.location.issues() {
            let message = format!(
                "with the location `{}` tokens are issued, and there are no passwords",
                registry.location.as_str()
            );
            return Some(FieldError::new(format!("{CREDENTIALS}.registry_username"), message).hint(issued));
        }
        let (location, problem) = better_issued(&registry.address, &login.username)?;
        let hint = format!("register it with the `location` `{}`; then {issued}", location.as_str());
        Some(FieldError::new(format!("{CREDENTIALS}.registry_username"), problem).hint(hint))
    }
}

impl Api {
    /// Asks for a copy of an image, on behalf of somebody who may push to the registry. `field`: where the image was said, if it was.
    pub(super) async fn ask(
        &self,
        headers: &HeaderMap,
        registry: &Registry,
        image: &Reference<'_>,
        field: &str,
        terms: Terms,
    ) -> Result<Answer, Problem> {
        let identity = Image::of(image);
        let mut errors: Vec<_> = terms.problem(registry).into_iter().collect();
        errors.extend(not_copied(registry, image, &identity, field));
        if !errors.is_empty() {
            return Err(Problem::invalid(errors));
        }
        let source = self.source(headers, image).await?;
        let asked = self
            .store
            .ask(Order {
                image: identity,
                registry: (*registry.id).into(),
                referrers: terms.referrers,
                refresh: false,
                source,
                login: terms.login,
            })
            .await?;
        if asked.joined {
            tracing::debug!(push = %asked.record.id(), "somebody has asked for this copy before");
        }
        Ok(Answer {
            location: Some(format!("/v1/pushes/{}", asked.record.id())),
            ..self.shown_push(StatusCode::ACCEPTED, asked.record)
        })
    }

    /// The registry by whose credential the image may be read where it comes from: one that it lies under, and that is everybody's, or that whoever asks may push to. Else
    /// he could have copied what he may not read. Of several the one with the longest organization.
    async fn source(&self, headers: &HeaderMap, image: &Reference<'_>) -> Result<Option<Box<str>>, Problem> {
        let all = self.store.list().await?;
        let mut over: Vec<Registry> = all
            .iter()
            .filter_map(|stored| stored.registry().ok())
            .filter(|registry| registry.is_over(image))
            .collect();
        over.sort_by_key(|registry| Reverse(registry.address.organization.len()));
        for registry in over {
            let access = Access {
                verb: Verb::Push,
                resource: Resource::Registries,
                name: Some(&registry.id),
            };
            if registry.namespaces.admits_all() || self.guard.allows(headers, access).await? {
                return Ok(Some(registry.id));
            }
        }
        Ok(None)
    }
}

/// Why an image cannot be copied into a registry, whatever is where it comes from.
fn not_copied(registry: &Registry, image: &Reference<'_>, identity: &Image, field: &str) -> Option<FieldError> {
    if registry.is_over(image) {
        let message = format!(
            "it lies under {}, which is where it would be copied to: an image is not copied from a registry into the same",
            registry.address
        );
        let hint = match identity.source_in(registry) {
            Some(source) => format!("write it as it is called where it comes from: {source}"),
            None => "it is an image of that registry's own: nothing has to be copied".to_owned(),
        };
        return Some(FieldError::new(field, message).hint(hint));
    }
    let why = usual_target(registry, identity).err()?;
    Some(FieldError::new(field, why).hint("choose a registry with other `names`, or change them"))
}

const CREDENTIALS: &str = "registry_push_credentials";
const CREDENTIALS_ID: &str = "registry_push_credentials.registry_id";
const TAG_OR_DIGEST: &str = "give one of them: by its tag it is copied as it is where it comes from at that time, and by its digest (repository@sha256:…) it is this one, \
    which Pods find that write the digest, with a tag or without";
