//! The registries with a pull credential, and their logins. A login that was read once is kept while it cannot be read again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::{
    credentials,
    pull_secret::Source,
    registry::{Address, Login, Registry},
    store::{self, Edition, Registries, Store, StoreError, Stored},
};

/// What was read, and what it is read from.
pub(super) struct Sources {
    store: Arc<dyn Store>,
    known: BTreeMap<String, Known>,
}

/// One reading.
pub(super) struct Reading {
    pub(super) sources: Vec<Source>,
    /// What is wrong, in sentences.
    pub(super) problems: Vec<String>,
    /// When to read again even if nobody says that anything has changed.
    pub(super) again: Option<Duration>,
}

struct Known {
    edition: Edition,
    /// Whose login it is: it is nobody else's. The organization counts, for a docker config may have several of one host.
    address: Address,
    login: Option<Login>,
    /// Whether it is good as long as the edition is.
    lasting: bool,
    /// As it was when it could be understood.
    registry: Registry,
}

/// Why a login was not read.
enum Unread {
    /// The registry is another one than it was told to be.
    Changed,
    /// Anything else, in a sentence.
    Failed(String),
}

impl Sources {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            known: BTreeMap::new(),
        }
    }

    /// Reads whatever may have changed.
    pub(super) async fn read(&mut self, registries: &Registries) -> Reading {
        let mut reading = Reading {
            sources: Vec::new(),
            problems: Vec::new(),
            again: None,
        };
        let with_credential = registries
            .iter()
            .filter_map(|stored| Some((stored, stored.pull.as_ref()?)));
        let with_credential: BTreeMap<_, _> = with_credential
            .map(|(stored, edition)| (&*stored.id, (stored, edition)))
            .collect();
        self.known.retain(|id, _| with_credential.contains_key(&**id));
        for (stored, edition) in with_credential.into_values() {
            self.read_one(stored, edition, &mut reading).await;
        }
        reading
    }

    async fn read_one(&mut self, stored: &Stored, edition: &Edition, reading: &mut Reading) {
        let id = &stored.id;
        let mut say = |what: String| reading.problems.push(format!("the registry {id}: {what}"));
        let mut sooner = |pause: Duration| reading.again = Some(reading.again.map_or(pause, |again| again.min(pause)));
        let known = self.known.get(id);
        let registry = match (stored.registry(), known) {
            (Ok(registry), _) => registry,
            (Err(problems), known) => {
                let problem = problems
                    .first()
                    .map(|problem| problem.message.clone())
                    .unwrap_or_default();
                say(format!("it is not understood: {problem}"));
                // What worked goes on.
                match known {
                    Some(known) => known.registry.clone(),
                    None => return,
                }
            }
        };
        let known = known.filter(|known| known.address == registry.address);
        let read = match known {
            Some(known) if known.lasting && known.edition == *edition => Ok(Some((known.login.clone(), true))),
            _ => self.fetch(stored).await,
        };
        let (login, lasting) = match read {
            Ok(Some(read)) => read,
            // It has gone since.
            Ok(None) => {
                self.known.remove(id);
                return;
            }
            // It is told of in a moment, whom its credential is for now.
            Err(Unread::Changed) => {
                sooner(SOON);
                (known.and_then(|known| known.login.clone()), false)
            }
            Err(Unread::Failed(why)) => {
                say(format!(
                    "its pull credential cannot be read, and what has it keeps it: {why}"
                ));
                sooner(AGAIN);
                (known.and_then(|known| known.login.clone()), false)
            }
        };
        if !lasting {
            sooner(LOOK_EVERY);
        }
        reading.sources.push(Source::of(&registry, login.clone()));
        let known = Known {
            edition: edition.clone(),
            address: registry.address.clone(),
            login,
            lasting,
            registry,
        };
        self.known.insert(id.clone(), known);
    }

    /// The login, and whether it stays the same as long as the edition does; none where there is none.
    async fn fetch(&self, stored: &Stored) -> Result<Option<(Option<Login>, bool)>, Unread> {
        let is_this = |now: &Stored| now.version == stored.version;
        let credentials = store::credentials_where(&*self.store, &stored.id, is_this);
        let credentials = match timeout(DEADLINE, credentials).await {
            Ok(Ok(credentials)) => credentials,
            Ok(Err(StoreError::NotFound(_))) => return Ok(None),
            Ok(Err(StoreError::Conflict { .. })) => return Err(Unread::Changed),
            Ok(Err(error)) => return Err(Unread::Failed(error.to_string())),
            Err(_) => {
                let why = format!("the store has not answered within {} s", DEADLINE.as_secs());
                return Err(Unread::Failed(why));
            }
        };
        let Some(credential) = credentials.pull else {
            return Ok(None);
        };
        let lasting = !credential.is_elsewhere();
        let login = credentials::login_soon(credential).await.map_err(Unread::Failed)?;
        Ok(Some((Some(login), lasting)))
    }
}

/// What follows changes is behind by less.
const SOON: Duration = Duration::from_secs(1);

/// After a failure.
const AGAIN: Duration = Duration::from_secs(5);

/// Files and variables say nothing when they change.
const LOOK_EVERY: Duration = Duration::from_secs(30);

const DEADLINE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        registry::{Credential, Password},
        store::{Change, Draft, Embedded},
    };

    fn draft(url: &str, pull: Change) -> Draft {
        Draft {
            spec: serde_json::from_value(json!({ "url": url })).unwrap(),
            pull,
            push: Change::Keep,
            notify: Change::Keep,
        }
    }

    fn password(password: &str) -> Change {
        Change::Set(Credential::Login(Login {
            username: "u".to_owned(),
            password: Password::new(password.to_owned()),
        }))
    }

    fn passwords(reading: &Reading) -> Vec<(String, Option<String>)> {
        let sources = reading.sources.iter();
        sources
            .map(|source| {
                let password = source.login.as_ref().map(|login| login.password.expose().to_owned());
                (source.key.to_string(), password)
            })
            .collect()
    }

    #[tokio::test]
    async fn what_cannot_be_read_keeps_its_login_and_what_is_gone_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        std::fs::write(&path, "file-1").unwrap();
        let store = Embedded::in_memory().unwrap();
        let of_file = Change::Set(Credential::File {
            username: "u".to_owned(),
            path: path.clone(),
        });
        store.create("file", draft("file.io", of_file)).await.unwrap();
        store
            .create("login", draft("login.io", password("login-1")))
            .await
            .unwrap();
        store
            .create("anonymous", draft("anonymous.io", Change::Keep))
            .await
            .unwrap();
        let mut sources = Sources::new(Arc::new(store.clone()));
        let row = |key: &str, password: &str| (key.to_owned(), Some(password.to_owned()));

        let reading = sources.read(&store.list().await.unwrap()).await;
        assert_eq!(
            passwords(&reading),
            [row("file.io", "file-1"), row("login.io", "login-1")]
        );
        assert!(
            reading.problems.is_empty() && reading.again == Some(LOOK_EVERY),
            "{:?}",
            reading.problems
        );

        std::fs::write(&path, "file-2").unwrap();
        store
            .replace("login", draft("login.io", password("login-2")), None)
            .await
            .unwrap();
        let reading = sources.read(&store.list().await.unwrap()).await;
        assert_eq!(
            passwords(&reading),
            [row("file.io", "file-2"), row("login.io", "login-2")]
        );

        std::fs::remove_file(&path).unwrap();
        let reading = sources.read(&store.list().await.unwrap()).await;
        assert_eq!(passwords(&reading)[0], row("file.io", "file-2"));
        assert!(reading.problems[0].starts_with("the registry file: its pull credential cannot be read"));
        assert_eq!(reading.again, Some(AGAIN));
        // Another host never gets it.
        store
            .replace("file", draft("evil.io", Change::Keep), None)
            .await
            .unwrap();
        let reading = sources.read(&store.list().await.unwrap()).await;
        assert_eq!(passwords(&reading)[0], ("evil.io".to_owned(), None));

        store
            .replace("login", draft("login.io", Change::Clear), None)
            .await
            .unwrap();
        store.delete("file", None).await.unwrap();
        let reading = sources.read(&store.list().await.unwrap()).await;
        assert_eq!(passwords(&reading), []);
        assert!(reading.problems.is_empty() && reading.again.is_none());
    }

    #[tokio::test]
    async fn a_credential_that_came_with_another_host_or_other_namespaces_is_not_read_for_those_of_before() {
        for after in [
            json!({"url": "b.io"}),
            json!({"url": "a.io", "namespaces": {"names": ["prod"]}}),
        ] {
            let store = Embedded::in_memory().unwrap();
            store.create("r", draft("a.io", password("first"))).await.unwrap();
            let before = store.list().await.unwrap();
            let mut sources = Sources::new(Arc::new(store.clone()));
            let mut later = Sources::new(Arc::new(store.clone()));
            sources.read(&before).await;
            let replaced = Draft {
                spec: serde_json::from_value(after.clone()).unwrap(),
                ..draft("", password("second"))
            };
            store.replace("r", replaced, None).await.unwrap();
            // Nobody has told of it.
            let mut told: Vec<Stored> = before.to_vec();
            told[0].pull = Some(Edition("another".to_owned()));
            let reading = sources.read(&told.clone().into()).await;
            assert_eq!(
                passwords(&reading),
                [("a.io".to_owned(), Some("first".to_owned()))],
                "{after}"
            );
            let reading = later.read(&before).await;
            assert_eq!(passwords(&reading), [("a.io".to_owned(), None)], "{after}");
            assert!(
                reading.problems.is_empty() && reading.again == Some(SOON),
                "{:?}",
                reading.problems
            );
            // Somebody has.
            for sources in [&mut sources, &mut later] {
                let reading = sources.read(&store.list().await.unwrap()).await;
                assert_eq!(passwords(&reading)[0].1, Some("second".to_owned()), "{after}");
            }
        }
    }
}
