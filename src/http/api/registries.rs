//! `/v1/registries`: what is done with them.

use axum::http::{HeaderMap, StatusCode, header::IF_MATCH};

use super::{
    Answer, Api, Need,
    credentials::{Asked, token},
    json::Shape,
    keys::{Slot, kept_field},
    openapi,
    problem::{FieldError, Kind, Problem},
    query::Query,
    registry::{ANSWERED, RegistryAnswer, RegistryListAnswer, RegistryRequest, field_error, imply_endpoint},
};
use crate::{
    registry::{ANY_ACCOUNT, Credential, Credentials, Issuer, Location, Registry, RegistrySpec, id_of, id_problem},
    store::{Change, Draft, Edition, Store, StoreError, Stored, Version},
};

/// What bodies are checked against.
pub(super) fn shape() -> Shape {
    Shape::new(openapi::schema_of::<RegistryRequest>(), ANSWERED)
        .hint("registry_id", REGISTRY_ID_HINT)
        .called("url", "registry_url")
}

impl Api {
    pub(super) async fn list(&self, query: &Query) -> Result<Answer, Problem> {
        let limit = query.number("limit", MOST_LISTED)?.unwrap_or(USUALLY_LISTED);
        // Any text is a place in the order of ids: a page goes on where a registry was that has gone.
        let after = query.text("after");
        let registries = self.store.list().await?;
        let mut following = registries
            .iter()
            .filter(|stored| after.is_none_or(|after| *stored.id > *after));
        let page: Vec<_> = following.by_ref().take(limit).collect();
        let next = match (following.next(), page.last()) {
            (Some(_), Some(last)) => Some(last.id.clone()),
            _ => None,
        };
        let items = page.into_iter().map(RegistryAnswer::of).collect();
        Ok(Answer {
            body: Some(json(&RegistryListAnswer { items, next })),
            ..Answer::default()
        })
    }

    pub(super) async fn get(&self, id: &str) -> Result<Answer, Problem> {
        Ok(shown(StatusCode::OK, &self.stored(id).await?))
    }

    pub(super) async fn create(&self, request: RegistryRequest) -> Result<Answer, Problem> {
        let id = chosen_id(&request)?;
        let Understood {
            spec,
            pull,
            push,
            notify,
        } = Understood::of(request, &id)?;
        let mut errors = Vec::new();
        let draft = Draft {
            spec,
            pull: new_credential(pull, "registry", &mut errors),
            push: new_credential(push, "registry_push", &mut errors),
            notify,
        };
        if !errors.is_empty() {
            return Err(Problem::invalid(errors));
        }
        let stored = self.store.create(&id, draft).await.map_err(|error| match error {
            StoreError::Exists(_) => {
                let error = FieldError::new("id", format!("there is a registry `{id}` already"))
                    .hint("give another `id`, or replace that one by PUT");
                Problem::new(Kind::Exists, error.said()).errors(vec![error])
            }
            other => other.into(),
        })?;
        Ok(Answer {
            location: Some(format!("/v1/registries/{id}")),
            ..shown(StatusCode::CREATED, &stored)
        })
    }

    pub(super) async fn replace(
        &self,
        id: &str,
        condition: &Condition,
        request: RegistryRequest,
    ) -> Result<Answer, Problem> {
        if let Some(other) = request.id.as_deref().filter(|other| *other != id) {
            let problem = id_problem(other).map_or("it is another one than that of the path", |problem| problem);
            return Err(Problem::invalid(vec![
                FieldError::new("id", problem).hint("an id never changes: leave it out"),
            ]));
        }
        let current = self.stored(id).await?;
        condition.check(&current.version)?;
        let understood = Understood::of(request, id)?;
        let mut current = current;
        for _ in 0..ATTEMPTS {
            let draft = understood.replacing(&current, &*self.store).await?;
            // By version, always: a credential is kept for the host that it was looked up for.
            match self.store.replace(id, draft, Some(&current.version)).await {
                Ok(stored) => return Ok(shown(StatusCode::OK, &stored)),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            current = self.stored(id).await?;
            condition.check(&current.version)?;
        }
        Err(Problem::new(
            Kind::Contended,
            "others change this registry at the same time: try again",
        ))
    }

    pub(super) async fn delete(&self, id: &str, condition: &Condition, force: bool) -> Result<Answer, Problem> {
        let current = self.stored(id).await?;
        condition.check(&current.version)?;
        let needs = if force { Vec::new() } else { self.usage.needed_by(id) };
        if !needs.is_empty() {
            let errors = needs.iter().take(MOST_NEEDS).map(need).collect();
            let what = match &*needs {
                [Need::Unknown] => "nobody knows at the moment what needs".to_owned(),
                [_] => "something needs".to_owned(),
                several => format!("{} things need", several.len()),
            };
            let detail = format!("{what} the registry: change what does, or remove it all the same with ?force=true");
            return Err(Problem::new(Kind::Needed, detail).errors(errors));
        }
        let expected = condition.is_said().then_some(&current.version);
        match self.store.delete(id, expected).await {
            Ok(()) => Ok(Answer {
                status: StatusCode::NO_CONTENT,
                ..Answer::default()
            }),
            Err(StoreError::Conflict { current, .. }) => Err(changed_since(&current)),
            Err(error) => Err(error.into()),
        }
    }

    async fn stored(&self, id: &str) -> Result<Stored, Problem> {
        if id_problem(id).is_some() {
            return Err(Problem::new(
                Kind::NotFound,
                "no registry has such an id: an id has lower-case letters, digits and `-`",
            ));
        }
        let stored = self.store.registry(id).await?;
        stored.ok_or_else(|| StoreError::NotFound(id.to_owned()).into())
    }
}

/// What a request says of a registry, in the terms of what keeps it.
struct Understood {
    spec: RegistrySpec,
    pull: Asked,
    push: Asked,
    notify: Change,
}

impl Understood {
    fn of(mut request: RegistryRequest, id: &str) -> Result<Self, Problem> {
        let mut errors = Vec::new();
        let (pull, push) = (Slot::pull(&mut request), Slot::push(&mut request));
        let spec = request.spec(id, &mut errors);
        if let Err(problems) = Registry::check(id, &spec) {
            errors.extend(problems.iter().map(field_error));
        }
        if request.name.chars().any(char::is_control) {
            errors.push(FieldError::new("name", "it has a control character in it"));
        }
        let address = spec.address();
        let pull = pull.asked(spec.location, address.as_ref(), &mut errors);
        let push = push.asked(spec.location, address.as_ref(), &mut errors);
        let notify = token(&mut request, &mut errors);
        if errors.is_empty() {
            return Ok(Self {
                spec,
                pull,
                push,
                notify,
            });
        }
        Err(Problem::invalid(errors))
    }

    /// What is to become of a registry that there is. A credential of which nothing is said is kept, where it goes where it went.
    async fn replacing(&self, current: &Stored, store: &dyn Store) -> Result<Draft, Problem> {
        let elsewhere = self.elsewhere(current);
        let named = |asked: &Asked| matches!(asked, Asked::SameUser(_));
        let kept = if elsewhere.is_none() && (named(&self.pull) || named(&self.push)) {
            store.credentials(&current.id).await?
        } else {
            Credentials::default()
        };
        let mut errors = Vec::new();
        let location = current.spec.location;
        let mut change = |asked: &Asked, edition: &Option<Edition>, kept: &Option<Credential>, is_push: bool| {
            let wrong = match (asked, elsewhere) {
                (Asked::Clear, _) => return Change::Clear,
                (Asked::ClearAt(others), _) if others.contains(&location) => return Change::Clear,
                (Asked::Set(credential), _) => return Change::Set(credential.clone()),
                (Asked::Nothing | Asked::ClearAt(_), _) if edition.is_none() => return Change::Keep,
                (Asked::Nothing | Asked::ClearAt(_), None) => return Change::Keep,
                (Asked::Nothing | Asked::ClearAt(_), Some(only)) => {
                    format!("it is kept only where {only}, and that changes")
                }
                (Asked::SameUser(_), _) if edition.is_none() || location.issues() => {
                    "it is missing: there is none to keep".to_owned()
                }
                (Asked::SameUser(_), Some(only)) => {
                    format!("it is missing: the one that there is is kept only where {only}")
                }
                (Asked::SameUser(name), None) => match kept {
                    Some(kept) if username(kept) == name => return Change::Keep,
                    _ => "it is missing: the one that there is is another user's".to_owned(),
                },
            };
            let (field, hint) = match asked {
                Asked::SameUser(_) => (kept_field(Location::OffCluster, is_push), GIVE_AGAIN),
                _ if self.spec.location != location => (kept_field(location, is_push), GIVE_NULL),
                _ => (kept_field(location, is_push), GIVE_AGAIN),
            };
            errors.push(FieldError::new(field, wrong).hint(hint));
            Change::Keep
        };
        let key = if location.issues() { &current.key } else { &current.pull };
        let pull = change(&self.pull, key, &kept.pull, false);
        let push = change(&self.push, &current.push, &kept.push, true);
        if !errors.is_empty() {
            return Err(Problem::invalid(errors));
        }
        let mut spec = self.spec.clone();
        if matches!(self.pull, Asked::Nothing | Asked::ClearAt(_)) {
            as_it_was_written(&current.id, &mut spec, current);
        }
        spec.pull_credential.clone_from(&current.spec.pull_credential);
        spec.push_credential.clone_from(&current.spec.push_credential);
        spec.notification_token.clone_from(&current.spec.notification_token);
        Ok(Draft {
            spec,
            pull,
            push,
            // Whatever else changes: it is sent to nobody.
            notify: self.notify.clone(),
        })
    }
}

impl Understood {
    /// Where alone a credential that there is would be kept, if it would not be now: nowhere else could it be sent to another than it was
    /// given for, nor could a token that is issued by it.
    fn elsewhere(&self, current: &Stored) -> Option<&'static str> {
        if current.spec.location != self.spec.location {
            return Some(SAME_LOCATION);
        }
        let found = found_account(current);
        let parsed = [&current.spec, &self.spec]
            .map(|spec| Registry::parse_of(&current.id, spec, Some(found.unwrap_or(ANY_ACCOUNT))));
        let [Ok(old), Ok(new)] = parsed else {
            return Some(SAME_PLACE);
        };
        let place = |registry: &Registry| {
            let endpoint = &registry.endpoint;
            (registry.address.host.clone(), endpoint.scheme, endpoint.host.clone())
        };
        let issuer = |registry: &Registry| match &registry.issuer {
            Some(Issuer::Ecr(ecr)) => {
                let account = ecr.account.as_deref().or(found).map(str::to_owned);
                Some((ecr.region.clone(), account))
            }
            Some(Issuer::Google(_)) | None => None,
        };
        if issuer(&old) != issuer(&new) {
            Some(SAME_REGISTRY)
        } else if place(&old) != place(&new) {
            Some(SAME_PLACE)
        } else if !new.token_hosts.iter().all(|host| old.token_hosts.contains(host)) {
            Some(SAME_TOKEN_HOSTS)
        } else {
            None
        }
    }
}

/// Whose registry it is, where ECR was asked for that.
fn found_account(stored: &Stored) -> Option<&str> {
    stored.issuance.as_ref()?.account.as_deref()
}

/// Of a registry whose tokens are issued: an answer that is sent back says of URL and endpoint what was found out, and what is implied. Written
/// down, that would be another registry, and the token that there is of no use.
fn as_it_was_written(id: &str, spec: &mut RegistrySpec, current: &Stored) {
    if !spec.location.issues() || spec.location != current.spec.location {
        return;
    }
    let account = found_account(current);
    let mut before = spec.clone();
    before.url.clone_from(&current.spec.url);
    let parsed = [&*spec, &before].map(|spec| Registry::parse_of(id, spec, account));
    if let [Ok(new), Ok(old)] = parsed
        && (new.address, new.endpoint) == (old.address, old.endpoint)
    {
        *spec = before;
    }
    imply_endpoint(id, spec, account);
}

/// What `If-Match` says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// Nothing: there is no such header.
    None,
    /// That the registry is there.
    Any,
    /// That it is of one of these versions.
    Of(Vec<String>),
}

impl Condition {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let wrong = || {
            Problem::parameter(
                "If-Match",
                "it is no list of entity tags",
                "send what the ETag header of an answer had, with its quotes",
            )
        };
        if !headers.contains_key(IF_MATCH) {
            return Ok(Self::None);
        }
        // Of none at all is a list as well, and nothing is of it (RFC 9110, sections 5.6.1 and 13.1.1).
        let mut versions = Vec::new();
        for value in headers.get_all(IF_MATCH) {
            let tags = value.to_str().map_err(|_| wrong())?.split(',').map(str::trim);
            for tag in tags.filter(|tag| !tag.is_empty()) {
                match tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) {
                    Some(version) if !version.contains('"') => versions.push(version.to_owned()),
                    // A weak one never matches (RFC 9110, section 13.1.1).
                    None if tag.starts_with("W/\"") && tag.len() > 3 && tag.ends_with('"') => {
                        versions.push(tag.to_owned())
                    }
                    None if tag == "*" => return Ok(Self::Any),
                    _ => return Err(wrong()),
                }
            }
        }
        Ok(Self::Of(versions))
    }

    fn check(&self, current: &Version) -> Result<(), Problem> {
        match self {
            Self::Of(versions) if !versions.contains(&current.0) => Err(changed_since(current)),
            _ => Ok(()),
        }
    }

    fn is_said(&self) -> bool {
        matches!(self, Self::Of(_))
    }
}

/// The id that a new registry gets.
fn chosen_id(request: &RegistryRequest) -> Result<String, Problem> {
    if let Some(id) = &request.id {
        return match id_problem(id) {
            None => Ok(id.clone()),
            Some(problem) => {
                Err(Problem::invalid(vec![FieldError::new("id", problem).hint(
                    "write it like `cern-prod`, or leave it out: it is made of `name`",
                )]))
            }
        };
    }
    id_of(&request.name).ok_or_else(|| {
        Problem::invalid(vec![
            FieldError::new(
                "name",
                "no id can be made of it: there is no letter of a to z and no digit in it",
            )
            .hint("give an `id` as well, like `cern-prod`"),
        ])
    })
}

fn new_credential(asked: Asked, prefix: &str, errors: &mut Vec<FieldError>) -> Change {
    match asked {
        Asked::Nothing | Asked::Clear | Asked::ClearAt(_) => Change::Clear,
        Asked::Set(credential) => Change::Set(credential),
        Asked::SameUser(_) => {
            let field = format!("{prefix}_password");
            errors.push(
                FieldError::new(field, format!("it is missing: `{prefix}_username` is given"))
                    .hint("give both, or neither"),
            );
            Change::Clear
        }
    }
}

fn username(credential: &Credential) -> &str {
    match credential {
        Credential::Login(login) => &login.username,
        Credential::File { username, .. } | Credential::Environment { username, .. } => username,
        // It has none.
        Credential::Key(_) => "",
    }
}

fn need(need: &Need) -> FieldError {
    match need {
        Need::Rule(rule) => FieldError::new("", format!("the rule `{}` names it", rule.escape_debug())),
        Need::Unknown => {
            let why = "the policies have mistakes, or were not read yet: some rule may name it";
            FieldError::new("", why).hint("`/readyz?verbose` and the log of Waypost say more of them")
        }
        Need::Pushes(1) => FieldError::new("", "one image was last pushed to it").hint(SEE_PUSHES),
        Need::Pushes(count) => FieldError::new("", format!("{count} images were last pushed to it")).hint(SEE_PUSHES),
    }
}

fn changed_since(current: &Version) -> Problem {
    Problem::new(
        Kind::PreconditionFailed,
        format!(
            "the registry is not in the state that `If-Match` names: its version is {} now, read it again",
            current.0
        ),
    )
}

fn shown(status: StatusCode, stored: &Stored) -> Answer {
    Answer {
        status,
        body: Some(json(&RegistryAnswer::of(stored))),
        version: Some(stored.version.clone()),
        ..Answer::default()
    }
}

pub(super) fn json(answer: &impl serde::Serialize) -> Vec<u8> {
    // Texts, numbers and lists of them; it cannot fail.
    serde_json::to_vec(answer).unwrap_or_default()
}

/// Where a credential of which nothing is said is kept: nowhere else could it be sent to another than it was given for.
const SAME_PLACE: &str = "Waypost reaches the same host in the same way";
const SAME_REGISTRY: &str = "it is the same registry, by its account and its region";
const SAME_LOCATION: &str = "the location stays what it is";
const SAME_TOKEN_HOSTS: &str = "`token_hosts` names no other host than before";

const GIVE_AGAIN: &str = "give it again, or null to have none";
const GIVE_NULL: &str = "make it null: at the other location it is of no use";

const REGISTRY_ID_HINT: &str = "it is twelve digits, as text and without dashes: \"123456789012\"";

pub(super) const USUALLY_LISTED: usize = 100;
pub(super) const MOST_LISTED: usize = 500;
const SEE_PUSHES: &str = "GET /v1/pushes?registry_id= shows them, with `latest`";
const MOST_NEEDS: usize = 20;
/// More than a few others at once there are not.
const ATTEMPTS: usize = 5;
