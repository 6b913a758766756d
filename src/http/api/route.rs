//! Every path and operation, once: requests are taken to them, the OpenAPI document lists them, metrics and log name them.

use axum::http::Method;

use super::{problem::Kind, query};
use crate::authorization::{Access, Resource, Verb};

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// All registries.
    Registries,
    /// One registry, by what is written for its id.
    Registry(String),
    /// All pushes.
    Pushes,
    /// One push, by what is written for its id.
    Push(String),
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
    /// Pushes, a page of them.
    ListPushes,
    /// A push is reported.
    ReportPush,
    /// A push is read.
    GetPush,
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
                registry.or_else(push).unwrap_or(Self::Nowhere)
            }
        }
    }

    /// As the OpenAPI document has it, for metrics and log.
    pub(super) fn template(&self) -> &'static str {
        match self {
            Self::Registries => "/v1/registries",
            Self::Registry(_) => "/v1/registries/{id}",
            Self::Pushes => "/v1/pushes",
            Self::Push(_) => "/v1/pushes/{id}",
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
    pub(super) const ALL: [Self; 9] = [
        Self::Create,
        Self::List,
        Self::Get,
        Self::Replace,
        Self::Delete,
        Self::ReportPush,
        Self::ListPushes,
        Self::GetPush,
        Self::OpenApi,
    ];

    pub(super) fn method(self) -> Method {
        match self {
            Self::List | Self::Get | Self::ListPushes | Self::GetPush | Self::OpenApi => Method::GET,
            Self::Create | Self::ReportPush => Method::POST,
            Self::Replace => Method::PUT,
            Self::Delete => Method::DELETE,
        }
    }

    pub(super) fn template(self) -> &'static str {
        match self {
            Self::List | Self::Create => Route::Registries.template(),
            Self::Get | Self::Replace | Self::Delete => Route::Registry(String::new()).template(),
            Self::ListPushes | Self::ReportPush => Route::Pushes.template(),
            Self::GetPush => Route::Push(String::new()).template(),
            Self::OpenApi => Route::OpenApi.template(),
        }
    }

    /// What whoever asks for it must be allowed to do, as far as its path says.
    pub(super) fn access(self, route: &Route) -> Option<Access<'_>> {
        let name = match route {
            Route::Registry(id) | Route::Push(id) => Some(&**id),
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
            // Its body says into which registry.
            Self::ReportPush | Self::OpenApi => return None,
        };
        Some(Access { verb, resource, name })
    }

    /// The parameters of its query.
    pub(super) fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::List => &["limit", "after"],
            Self::ListPushes => &["image", "registry_id", "state", "limit", "after"],
            Self::Delete => &["force"],
            Self::Create | Self::Get | Self::Replace | Self::ReportPush | Self::GetPush | Self::OpenApi => &[],
        }
    }

    /// Whether it has a body.
    pub(super) fn has_body(self) -> bool {
        matches!(self, Self::Create | Self::Replace | Self::ReportPush)
    }

    /// Whether it takes `If-Match`.
    pub(super) fn has_condition(self) -> bool {
        matches!(self, Self::Replace | Self::Delete)
    }

    /// The status of its success.
    pub(super) fn success(self) -> u16 {
        match self {
            Self::Create | Self::ReportPush => 201,
            Self::Delete => 204,
            Self::List | Self::Get | Self::Replace | Self::ListPushes | Self::GetPush | Self::OpenApi => 200,
        }
    }

    /// Every problem that it can be answered by.
    pub(super) fn problems(self) -> Vec<Kind> {
        let mut problems = vec![Kind::Internal, Kind::InvalidParameter];
        if self == Self::OpenApi {
            return problems;
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
            Self::ReportPush => problems.push(Kind::Contended),
            Self::Delete => problems.extend([Kind::NotFound, Kind::Needed, Kind::NoRoom, Kind::Invalid]),
            Self::List | Self::ListPushes | Self::OpenApi => {}
        }
        problems.sort_unstable();
        problems
    }
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
            ("/v1/pushes", Route::Pushes),
            ("/v1/pushes/corp.00%61", Route::Push("corp.00a".to_owned())),
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
            Route::Pushes,
            Route::Push("a".to_owned()),
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
