//! Every path and operation, once: requests are taken to them, the OpenAPI document lists them, metrics and log name them.

use axum::http::Method;

use super::{problem::Kind, query};
use crate::authorization::{Access, Verb};

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// All registries.
    Registries,
    /// One registry, by what is written for its id.
    Registry(String),
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
    /// This document.
    OpenApi,
}

impl Route {
    /// Where this path leads.
    pub(super) fn of(path: &str) -> Self {
        match path.strip_prefix("/v1/") {
            Some("registries") => Self::Registries,
            Some("openapi.json") => Self::OpenApi,
            Some(rest) => match rest.strip_prefix("registries/") {
                Some(id) if !id.is_empty() && !id.contains('/') => {
                    query::decoded(id).map_or(Self::Nowhere, Self::Registry)
                }
                _ => Self::Nowhere,
            },
            None => Self::Nowhere,
        }
    }

    /// As the OpenAPI document has it, for metrics and log.
    pub(super) fn template(&self) -> &'static str {
        match self {
            Self::Registries => "/v1/registries",
            Self::Registry(_) => "/v1/registries/{id}",
            Self::OpenApi => "/v1/openapi.json",
            Self::Nowhere => "other",
        }
    }

    /// The methods that it has, as an `Allow` header has them.
    pub(super) fn methods(&self) -> &'static str {
        match self {
            Self::Registries => "GET, HEAD, POST, OPTIONS",
            Self::Registry(_) => "GET, HEAD, PUT, DELETE, OPTIONS",
            Self::OpenApi => "GET, HEAD, OPTIONS",
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
    pub(super) const ALL: [Self; 6] = [
        Self::Create,
        Self::List,
        Self::Get,
        Self::Replace,
        Self::Delete,
        Self::OpenApi,
    ];

    pub(super) fn method(self) -> Method {
        match self {
            Self::List | Self::Get | Self::OpenApi => Method::GET,
            Self::Create => Method::POST,
            Self::Replace => Method::PUT,
            Self::Delete => Method::DELETE,
        }
    }

    pub(super) fn template(self) -> &'static str {
        match self {
            Self::List | Self::Create => Route::Registries.template(),
            Self::Get | Self::Replace | Self::Delete => Route::Registry(String::new()).template(),
            Self::OpenApi => Route::OpenApi.template(),
        }
    }

    /// What whoever asks for it must be allowed to do.
    pub(super) fn access(self, route: &Route) -> Option<Access<'_>> {
        let name = match route {
            Route::Registry(id) => Some(&**id),
            _ => None,
        };
        let verb = match self {
            Self::List => Verb::List,
            Self::Create => Verb::Create,
            Self::Get => Verb::Get,
            Self::Replace => Verb::Update,
            Self::Delete => Verb::Delete,
            Self::OpenApi => return None,
        };
        Some(Access { verb, name })
    }

    /// The parameters of its query.
    pub(super) fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::List => &["limit", "after"],
            Self::Delete => &["force"],
            Self::Create | Self::Get | Self::Replace | Self::OpenApi => &[],
        }
    }

    /// Whether it has a body.
    pub(super) fn has_body(self) -> bool {
        matches!(self, Self::Create | Self::Replace)
    }

    /// Whether it takes `If-Match`.
    pub(super) fn has_condition(self) -> bool {
        matches!(self, Self::Replace | Self::Delete)
    }

    /// The status of its success.
    pub(super) fn success(self) -> u16 {
        match self {
            Self::Create => 201,
            Self::Delete => 204,
            Self::List | Self::Get | Self::Replace | Self::OpenApi => 200,
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
            Self::Get | Self::Replace => problems.push(Kind::NotFound),
            Self::Delete => problems.extend([Kind::NotFound, Kind::Needed, Kind::NoRoom, Kind::Invalid]),
            Self::List | Self::OpenApi => {}
        }
        problems.sort_unstable();
        problems
    }
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
        for route in [Route::Registries, Route::Registry("a".to_owned()), Route::OpenApi] {
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
