//! `/v1/pushes`: what is told of them, and asked.

use std::net::IpAddr;

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode},
};
use jiff::Timestamp;

use super::{
    Answer, Api, Known,
    json::Shape,
    openapi,
    problem::{FieldError, Kind, Problem},
    push::{ANSWERED, PushAnswer, PushListAnswer, PushRequest},
    query::Query,
    registries::{MOST_LISTED, USUALLY_LISTED, json},
    report::{NO_COPIES, Report, SEE_REGISTRIES},
};
use crate::{
    authorization::{Access, Resource, Verb},
    pushes::{Image, PushId, Record, State},
    reference::Reference,
    registry::{UNKNOWN_ACCOUNT, id_problem},
    store::{PushPage, PushQuery, StoreError},
};

/// What bodies are checked against.
pub(super) fn shape() -> Shape {
    Shape::new(openapi::schema_of::<PushRequest>(), ANSWERED).hint("state", NO_COPIES)
}

impl Api {
    /// A page of pushes.
    pub(super) async fn list_pushes(&self, query: &Query) -> Result<Answer, Problem> {
        let limit = query.number("limit", MOST_LISTED)?.unwrap_or(USUALLY_LISTED);
        let state = query.text("state").map(state).transpose()?;
        let registry = query.text("registry_id").map(registry_id).transpose()?;
        let of = |image| PushQuery {
            image,
            registry: registry.map(str::to_owned),
            state,
            after: query.text("after").map(str::to_owned),
            limit,
        };
        let queries: Vec<_> = match query.text("image") {
            Some(text) => self.images(text).await?.into_iter().map(Some).map(of).collect(),
            None => vec![of(None)],
        };
        let mut pages = Vec::with_capacity(queries.len());
        for query in &queries {
            pages.push(self.store.pushes(query).await?);
        }
        let PushPage { items, next } = merged(pages, limit);
        let index = self.store.index().borrow().clone();
        let items = items.into_iter().map(|record| PushAnswer::of(record, &index)).collect();
        Ok(Answer {
            body: Some(json(&PushListAnswer { items, next })),
            ..Answer::default()
        })
    }

    pub(super) async fn get_push(&self, id: &str) -> Result<Answer, Problem> {
        let id = PushId::parse(id).ok_or_else(|| {
            Problem::new(
                Kind::NotFound,
                "no push has such an id: it has the registry's id, a dot and 32 hexadecimal digits, as GET /v1/pushes?image= shows",
            )
        })?;
        let record = self.store.push(&id).await?.ok_or_else(|| {
            Problem::new(
                Kind::NotFound,
                "there is no such push: nobody has told of one, or the registry was removed",
            )
        })?;
        Ok(self.shown_push(StatusCode::OK, record))
    }

    /// Keeps what somebody tells of a push. Whether he may is known only when the registry is, which is in the body; whether there is one of
    /// that id is told to nobody who may not.
    pub(super) async fn report_push(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
        body: Body,
        known: &mut Known,
    ) -> Result<Answer, Problem> {
        let request: PushRequest = self.read(&self.reports, headers, body).await?;
        let report = Report::of(request)?;
        let id = report.registry.clone();
        known.registry = Some(id.clone());
        let access = Access {
            verb: Verb::Push,
            resource: Resource::Registries,
            name: Some(&id),
        };
        self.guard.admit(headers, peer, Some(access), &mut known.user).await?;
        let stored = self.store.registry(&id).await?.ok_or_else(|| no_registry(&id))?;
        let registry = stored.registry().map_err(|problems| {
            let (message, hint) = if problems.iter().all(|problem| problem.code == UNKNOWN_ACCOUNT) {
                (
                    format!(
                        "whose registry `{id}` is has not been found out yet: ECR is asked for it, with the first token"
                    ),
                    format!(
                        "report it again when GET /v1/registries/{id} has a `registry_url`, or give it a `registry_id`"
                    ),
                )
            } else {
                (
                    format!("the registry `{id}` has mistakes, and is not used"),
                    format!("GET /v1/registries/{id} says which, in `problems`"),
                )
            };
            Problem::invalid(vec![FieldError::new("registry_id", message).hint(hint)])
        })?;
        let event = report.event(&registry, Timestamp::now())?;
        known.push = Some(PushId::new(&id, event.image.key()));
        let kept = self.store.happened(vec![event]).await.map_err(|error| match error {
            StoreError::NotFound(_) => no_registry(&id),
            other => other.into(),
        })?;
        let record = kept.into_iter().next().ok_or_else(|| {
            Problem::new(
                Kind::Internal,
                "the store has not said what became of it: read it again",
            )
        })?;
        Ok(Answer {
            location: Some(format!("/v1/pushes/{}", record.id())),
            ..self.shown_push(StatusCode::CREATED, record)
        })
    }

    /// The images that somebody may mean: the one that is called so, and those that lie under that name in a registry.
    async fn images(&self, text: &str) -> Result<Vec<Image>, Problem> {
        let reference = Reference::parse(text)
            .map_err(|error| Problem::parameter("image", error.kind().to_string(), error.hint()))?;
        let written = Image::of(&reference);
        let mut images = vec![written.clone()];
        for stored in self.store.list().await?.iter() {
            // One that nothing can be made of is of no name.
            let Ok(registry) = stored.registry() else {
                continue;
            };
            images.extend(written.source_in(&registry).filter(|image| !images.contains(image)));
        }
        Ok(images)
    }

    fn shown_push(&self, status: StatusCode, record: Record) -> Answer {
        Answer {
            status,
            body: Some(json(&PushAnswer::of(record, &self.store.index().borrow()))),
            ..Answer::default()
        }
    }
}

fn no_registry(id: &str) -> Problem {
    Problem::invalid(vec![
        FieldError::new("registry_id", format!("there is no registry `{id}`")).hint(SEE_REGISTRIES),
    ])
}

fn state(text: &str) -> Result<State, Problem> {
    let found = State::ALL.into_iter().find(|state| state.as_str() == text);
    found.ok_or_else(|| {
        let known = State::ALL.map(State::as_str).join(", ");
        Problem::parameter("state", "it is none", format!("known are {known}"))
    })
}

fn registry_id(text: &str) -> Result<&str, Problem> {
    match id_problem(text) {
        None => Ok(text),
        Some(problem) => Err(Problem::parameter("registry_id", problem, SEE_REGISTRIES)),
    }
}

/// One page of several, each in the order of ids and of so many at most.
fn merged(pages: Vec<PushPage>, limit: usize) -> PushPage {
    // Behind the first place where one of them ends, that one may have more.
    let end = pages.iter().filter_map(|page| page.next.clone()).min();
    let mut all: Vec<_> = pages
        .into_iter()
        .flat_map(|page| page.items)
        .map(|record| (record.id(), record))
        .collect();
    all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    if let Some(end) = &end {
        all.retain(|(id, _)| id.as_str() <= &**end);
    }
    let cut = all.len() > limit;
    all.truncate(limit);
    let next = match all.last() {
        Some((id, _)) if cut => Some(id.as_str().to_owned()),
        _ => end,
    };
    PushPage {
        items: all.into_iter().map(|(_, record)| record).collect(),
        next,
    }
}
