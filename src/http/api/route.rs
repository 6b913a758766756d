//! Every path and operation, once: requests are taken to them, the OpenAPI document lists them, metrics and log name them.

use axum::http::Method;

use super::{problem::Kind, query};
use crate::{
    authorization::{Access, Resource, Verb},
    pushes::notification::Format,
};

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// All registries.
    Registries,
    /// One registry, by what is written for its id.
    Registry(String),
    /// Where a registry notifies, by what is written for its id, in a format if it is one.
    Notifications(String, Option<Format>),
    /// All pushes.
    Pushes,
    /// One push, by what is written for its id.
    Push(String),
    /// Where one push is tried again, by what is written for its id.
    Retry(String),
    /// The OpenAPI document.
    OpenApi,
    /// Nothing.
    Nowhere,
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Operation {
    /// Registries, a page of them.
    List,
    /// A registry is added.
    Create,
    /// A registry is read.
    Get,
    /// A registry is replaced.
    Replace,
    /// A registry is removed.
    Delete,
    /// A registry tells what was pushed to it.
    Notify,
    /// Pushes, a page of them.
    ListPushes,
    /// A push is reported, or a copy asked for.
    CreatePush,
    /// A push is read.
    GetPush,
    /// A copy is asked for again.
    RetryPush,
    /// This document.
    OpenApi,
}

impl Route {
    /// Where this path leads.
    pub(super) fn of(path: &str) -> Self {
        let Some(path) = path.strip_prefix("/v1/") else {
            return Self::Nowhere;
        };
        let one_of = |of: &str| path.strip_prefix(of).and_then(segment);
        match path {
            "registries" => Self::Registries,
            "pushes" => Self::Pushes,
            "openapi.json" => Self::OpenApi,
            _ => {
                let registry = one_of("registries/").map(Self::Registry);
                let push = || one_of("pushes/").map(Self::Push);
                let retry = || retry(path);
                let notifications = || notifications(path);
                registry
                    .or_else(push)
                    .or_else(retry)
                    .or_else(notifications)
                    .unwrap_or(Self::Nowhere)
            }
        }
    }

    /// As the OpenAPI document has it, for metrics and log.
    pub(super) fn template(&self) -> &'static str {
        match self {
            Self::Registries => "/v1/registries",
            Self::Registry(_) => "/v1/registries/{id}",
            Self::Notifications(..) => "/v1/registries/{id}/notifications/{format}",
            Self::Pushes => "/v1/pushes",
            Self::Push(_) => "/v1/pushes/{id}",
            Self::Retry(_) => "/v1/pushes/{id}/retry",
            Self::OpenApi => "/v1/openapi.json",
            Self::Nowhere => "other",
        }
    }

    /// The methods that it has, as an `Allow` header has them.
    pub(super) fn methods(&self) -> &'static str {
        match self {
            Self::Registries | Self::Pushes => "GET, HEAD, POST, OPTIONS",
            Self::Registry(_) => "GET, HEAD, PUT, DELETE, OPTIONS",
            Self::Push(_) | Self::OpenApi => "GET, HEAD, OPTIONS",
            Self::Notifications(..) | Self::Retry(_) => "POST, OPTIONS",
            Self::Nowhere => "",
        }
    }

    /// What a method does here, if anything.
    pub(super) fn operation(&self, method: &Method) -> Option<Operation> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        Operation::ALL
            .into_iter()
            .find(|operation| operation.template() == self.template() && operation.method() == method)
    }
}

impl Operation {
    /// Every operation.
    pub(super) const ALL: [Self; 11] = [
        Self::Create,
        Self::List,
        Self::Get,
        Self::Replace,
        Self::Delete,
        Self::Notify,
        Self::CreatePush,
        Self::ListPushes,
        Self::GetPush,
        Self::RetryPush,
        Self::OpenApi,
    ];

    pub(super) fn method(self) -> Method {
        match self {
            Self::List | Self::Get | Self::ListPushes | Self::GetPush | Self::OpenApi => Method::GET,
            Self::Create | Self::Notify | Self::CreatePush | Self::RetryPush => Method::POST,
            Self::Replace => Method::PUT,
            Self::Delete => Method::DELETE,
        }
    }

    pub(super) fn template(self) -> &'static str {
        match self {
            Self::List | Self::Create => Route::Registries.template(),
            Self::Get | Self::Replace | Self::Delete => Route::Registry(String::new()).template(),
            Self::ListPushes | Self::CreatePush => Route::Pushes.template(),
            Self::Notify => Route::Notifications(String::new(), None).template(),
            Self::GetPush => Route::Push(String::new()).template(),
            Self::RetryPush => Route::Retry(String::new()).template(),
            Self::OpenApi => Route::OpenApi.template(),
        }
    }

    /// What whoever asks for it must be allowed to do, as far as its path says.
    pub(super) fn access(self, route: &Route) -> Option<Access<'_>> {
        let name = match route {
            Route::Registry(id) | Route::Push(id) => Some(&**id),
            // It is a right on the registry: of what is no id, on none.
            Route::Retry(id) => Some(id.split_once('.').map_or("", |(registry, _)| registry)),
            _ => None,
        };
        let (verb, resource) = match self {
            Self::List => (Verb::List, Resource::Registries),
            Self::Create => (Verb::Create, Resource::Registries),
            Self::Get => (Verb::Get, Resource::Registries),
            Self::Replace => (Verb::Update, Resource::Registries),
            Self::Delete => (Verb::Delete, Resource::Registries),
            Self::ListPushes => (Verb::List, Resource::Pushes),
            Self::GetPush => (Verb::Get, Resource::Pushes),
            Self::RetryPush => (Verb::Push, Resource::Registries),
            // Its body says into which registry; who notifies has a token of its own.
            Self::CreatePush | Self::Notify | Self::OpenApi => return None,
        };
        Some(Access { verb, resource, name })
    }

    /// The parameters of its query.
    pub(super) fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::List => &["limit", "after"],
            Self::ListPushes => &["image", "registry_id", "state", "limit", "after"],
            Self::Delete => &["force"],
            Self::Create
            | Self::Get
            | Self::Replace
            | Self::Notify
            | Self::CreatePush
            | Self::GetPush
            | Self::RetryPush
            | Self::OpenApi => &[],
        }
    }

    /// Whether it has a body.
    pub(super) fn has_body(self) -> bool {
        matches!(
            self,
            Self::Create | Self::Replace | Self::Notify | Self::CreatePush | Self::RetryPush
        )
    }

    /// Whether it takes `If-Match`.
    pub(super) fn has_condition(self) -> bool {
        matches!(self, Self::Replace | Self::Delete)
    }

    /// The statuses of its success.
    pub(super) fn successes(self) -> &'static [u16] {
        match self {
            Self::Create => &[201],
            // A report, and a copy, which is yet to be made.
            Self::CreatePush => &[201, 202],
            Self::RetryPush => &[202],
            Self::Delete => &[204],
            Self::List
            | Self::Get
            | Self::Replace
            | Self::Notify
            | Self::ListPushes
            | Self::GetPush
            | Self::OpenApi => &[200],
        }
    }

    /// Every problem that it can be answered by.
    pub(super) fn problems(self) -> Vec<Kind> {
        let mut problems = vec![Kind::Internal, Kind::InvalidParameter];
        if self == Self::OpenApi {
            return problems;
        }
        if self == Self::Notify {
            return vec![
                Kind::NotFound,
                Kind::MalformedJson,
                Kind::Unauthenticated,
                Kind::BodyTimeout,
                Kind::BodyTooLarge,
                Kind::Invalid,
                Kind::TooManyFailures,
                Kind::TooMany,
                Kind::Internal,
                Kind::Unavailable,
                Kind::NoRoom,
            ];
        }
        problems.extend([
            Kind::Unauthenticated,
            Kind::Forbidden,
            Kind::TooManyFailures,
            Kind::Unavailable,
        ]);
        if self.has_body() {
            problems.extend([
                Kind::MalformedJson,
                Kind::BodyTimeout,
                Kind::BodyTooLarge,
                Kind::UnsupportedMediaType,
                Kind::Invalid,
                Kind::NoRoom,
            ]);
        }
        if self.has_condition() {
            problems.extend([Kind::PreconditionFailed, Kind::Contended, Kind::DeclaredElsewhere]);
        }
        match self {
            Self::Create => problems.extend([Kind::Exists, Kind::DeclaredElsewhere]),
            Self::Get | Self::Replace | Self::GetPush => problems.push(Kind::NotFound),
            Self::CreatePush => problems.extend([Kind::Contended, Kind::TooMany]),
            Self::RetryPush => problems.extend([Kind::NotFound, Kind::Contended, Kind::TooMany]),
            Self::Delete => problems.extend([Kind::NotFound, Kind::Needed, Kind::NoRoom, Kind::Invalid]),
            Self::List | Self::Notify | Self::ListPushes | Self::OpenApi => {}
        }
        problems.sort_unstable();
        problems
    }
}

/// `pushes/ID/retry`.
fn retry(path: &str) -> Option<Route> {
    let id = path.strip_prefix("pushes/")?.strip_suffix("/retry")?;
    segment(id).map(Route::Retry)
}

/// `registries/ID/notifications/FORMAT`.
fn notifications(path: &str) -> Option<Route> {
    let (id, rest) = path.strip_prefix("registries/")?.split_once('/')?;
    let format = rest.strip_prefix("notifications/")?;
    let format = segment(format)?;
    let format = Format::ALL.into_iter().find(|known| known.as_str() == format);
    Some(Route::Notifications(segment(id)?, format))
}

/// One segment of a path, and not more: what it stands for.
fn segment(text: &str) -> Option<String> {
    let is_one = !text.is_empty() && !text.contains('/');
    is_one.then(|| query::decoded(text)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_they_say() {
        let one = |id: &str| Route::Registry(id.to_owned());
        for (path, route) in [
            ("/v1/registries", Route::Registries),
            ("/v1/registries/corp", one("corp")),
            ("/v1/registries/c%6frp", one("corp")),
            ("/v1/registries/a%2Fb", one("a/b")),
            ("/v1/registries/", Route::Nowhere),
            ("/v1/registries/%ff", Route::Nowhere),
            ("/v1/registries/a/b", Route::Nowhere),
            (
                "/v1/registries/c%6frp/notifications/harbor",
                Route::Notifications("corp".to_owned(), Some(Format::Harbor)),
            ),
            (
                "/v1/registries/corp/notifications/distribution",
                Route::Notifications("corp".to_owned(), Some(Format::Distribution)),
            ),
            ("/v1/registries/corp/notifications", Route::Nowhere),
            (
                "/v1/registries/corp/notifications/quay",
                Route::Notifications("corp".to_owned(), None),
            ),
            ("/v1/registries/corp/notifications/harbor/", Route::Nowhere),
            ("/v1/registries//notifications/harbor", Route::Nowhere),
            ("/v1/pushes", Route::Pushes),
            ("/v1/pushes/corp.00%61", Route::Push("corp.00a".to_owned())),
            ("/v1/pushes/corp.00%61/retry", Route::Retry("corp.00a".to_owned())),
            ("/v1/pushes//retry", Route::Nowhere),
            ("/v1/pushes/a/retry/", Route::Nowhere),
            ("/v1/pushes/a/b/retry", Route::Nowhere),
            ("/v1/pushes/retry", Route::Push("retry".to_owned())),
            ("/v1/pushes/", Route::Nowhere),
            ("/v1/pushes/a/b", Route::Nowhere),
            ("/v1/pushes/registries/a", Route::Nowhere),
            ("/v1/openapi.json", Route::OpenApi),
            ("/v1/registriesx", Route::Nowhere),
            ("/v1", Route::Nowhere),
            ("/", Route::Nowhere),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }

    #[test]
    fn the_methods_that_are_told_are_those_that_there_are() {
        for route in [
            Route::Registries,
            Route::Registry("a".to_owned()),
            Route::Notifications("a".to_owned(), Some(Format::Harbor)),
            Route::Pushes,
            Route::Push("a".to_owned()),
            Route::Retry("a".to_owned()),
            Route::OpenApi,
        ] {
            for method in [
                Method::GET,
                Method::HEAD,
                Method::POST,
                Method::PUT,
                Method::DELETE,
                Method::PATCH,
            ] {
                let told = route.methods().split(", ").any(|told| told == method);
                assert_eq!(route.operation(&method).is_some(), told, "{route:?} {method}");
            }
        }
    }
}
