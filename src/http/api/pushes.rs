//! `/v1/pushes`: what is told of them, and asked.

use std::net::IpAddr;

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode},
};
use jiff::Timestamp;

use super::{
    Answer, Api, Known,
    copy::{Terms, Wish},
    json::Shape,
    openapi,
    problem::{FieldError, Kind, Problem},
    push::{ANSWERED, PushAnswer, PushListAnswer, PushRequest, RetryRequest},
    query::Query,
    registries::{MOST_LISTED, USUALLY_LISTED, json},
    report::{Report, SEE_REGISTRIES, STATES},
};
use crate::{
    authorization::{Access, Resource, Verb},
    pushes::{Image, PushId, Record, State},
    reference::Reference,
    registry::{Registry, UNKNOWN_ACCOUNT, id_problem},
    store::{PushPage, PushQuery, Stored},
};

/// What reports and requests for copies are checked against.
pub(super) fn shape() -> Shape {
    Shape::new(openapi::schema_of::<PushRequest>(), ANSWERED).hint("state", STATES)
}

/// What bodies of retries are checked against.
pub(super) fn retry_shape() -> Shape {
    Shape::new(openapi::schema_of::<RetryRequest>(), ANSWERED)
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
        let record = self.store.push(&push_id(id)?).await?.ok_or_else(no_push)?;
        Ok(self.shown_push(StatusCode::OK, record))
    }

    /// Takes a report of a push, or asks for a copy. Whether somebody may is known only when the registry is, which is in the body; whether there
    /// is one of that id is told to nobody who may not.
    pub(super) async fn create_push(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
        body: Body,
        known: &mut Known,
    ) -> Result<Answer, Problem> {
        let request: PushRequest = self.read(&self.pushes, headers, body).await?;
        match request.state {
            Some(state) => {
                let report = Report::of(request, state)?;
                let id = report.registry.clone();
                let registry = self.pushed_to(&id, headers, peer, known).await?;
                self.report_push(report, &registry, known).await
            }
            None => {
                let Wish { registry, image, terms } = Wish::of(request)?;
                let registry = self.pushed_to(&registry, headers, peer, known).await?;
                let image = Reference::parse(&image)
                    .map_err(|error| Problem::invalid(vec![FieldError::new("image", error.kind().to_string())]))?;
                known.push = Some(PushId::new(&registry.id, Image::of(&image).key()));
                let asked = self.ask(headers, &registry, &image, "image", terms).await;
                asked.map_err(|problem| unless_removed(problem, &registry.id))
            }
        }
    }

    /// Asks for the copy of a record again, by whoever may push to its registry.
    pub(super) async fn retry_push(&self, id: &str, headers: &HeaderMap, body: Body) -> Result<Answer, Problem> {
        let request: Option<RetryRequest> = self.read_if_any(&self.retries, headers, body).await?;
        let id = push_id(id)?;
        let terms = Terms::of_retry(request.unwrap_or_default(), id.registry())?;
        let record = self.store.push(&id).await?.ok_or_else(no_push)?;
        let stored = self.store.registry(id.registry()).await?.ok_or_else(no_push)?;
        let registry = usable(&stored)?;
        let image = Reference::parse(record.image.as_str()).map_err(|_| {
            Problem::new(
                Kind::Internal,
                "the image of this push is no reference: somebody has changed the record",
            )
        })?;
        self.ask(headers, &registry, &image, "", terms).await
    }

    /// The registry that somebody names whose token is good for pushing to it.
    async fn pushed_to(
        &self,
        id: &str,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
        known: &mut Known,
    ) -> Result<Registry, Problem> {
        known.registry = Some(id.to_owned());
        let access = Access {
            verb: Verb::Push,
            resource: Resource::Registries,
            name: Some(id),
        };
        self.guard.admit(headers, peer, Some(access), &mut known.user).await?;
        let stored = self.store.registry(id).await?.ok_or_else(|| no_registry(id))?;
        usable(&stored)
    }

    async fn report_push(&self, report: Report, registry: &Registry, known: &mut Known) -> Result<Answer, Problem> {
        let event = report.event(registry, Timestamp::now())?;
        known.push = Some(PushId::new(&registry.id, event.image.key()));
        let kept = self.store.happened(vec![event]).await;
        let kept = kept.map_err(|error| unless_removed(error.into(), &registry.id))?;
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

    pub(super) fn shown_push(&self, status: StatusCode, record: Record) -> Answer {
        Answer {
            status,
            body: Some(json(&PushAnswer::of(record, &self.store.index().borrow()))),
            ..Answer::default()
        }
    }
}

/// A registry that can be made of what was written.
fn usable(stored: &Stored) -> Result<Registry, Problem> {
    let id = &stored.id;
    stored.registry().map_err(|problems| {
        let (message, hint) = if problems.iter().all(|problem| problem.code == UNKNOWN_ACCOUNT) {
            (
                format!(
                    "whose registry `{id}` is has not been found out yet: ECR is asked for it, with the first token"
                ),
                format!("try it again when GET /v1/registries/{id} has a `registry_url`, or give it a `registry_id`"),
            )
        } else {
            (
                format!("the registry `{id}` has mistakes, and is not used"),
                format!("GET /v1/registries/{id} says which, in `problems`"),
            )
        };
        Problem::invalid(vec![FieldError::new("registry_id", message).hint(hint)])
    })
}

fn push_id(text: &str) -> Result<PushId, Problem> {
    PushId::parse(text).ok_or_else(|| {
        Problem::new(
            Kind::NotFound,
            "no push has such an id: it has the registry's id, a dot and 32 hexadecimal digits, as GET /v1/pushes?image= shows",
        )
    })
}

fn no_push() -> Problem {
    Problem::new(
        Kind::NotFound,
        "there is no such push: nobody has told of one, or the registry was removed",
    )
}

/// Of a registry that was there a moment ago: the store does not find it where it was removed meanwhile.
fn unless_removed(problem: Problem, id: &str) -> Problem {
    if problem.kind == Kind::NotFound {
        return no_registry(id);
    }
    problem
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
