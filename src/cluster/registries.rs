//! Registries in the Kubernetes API: `Registry` objects, their credentials in Secrets of Waypost's own namespace.
//!
//! The object is what counts. A credential that comes by REST is written to a Secret of a new name, then the object is written, which
//! names it, then the old Secret goes: host and password change together, and whoever is interrupted leaves at most a Secret that
//! nobody names, which [`Kubernetes::tidy`] finds. Secrets that users made are read, and never changed.

mod known;
mod object;
mod pushes;
mod requests;
mod secrets;
mod tokens;
mod writing;

use std::{
    convert::Infallible,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures_util::{FutureExt, future::BoxFuture};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    core::{DynamicObject, PartialObjectMeta},
};
use tokio::sync::watch;

use self::{
    known::Known,
    object::{Object, resource},
    requests::{all, ask},
};
pub use self::{pushes::InUse, secrets::PATIENCE};
use super::watch::{self as following, Selection, follow, nobody};
use crate::{
    registry::{Condition, Credential, Credentials, Keys, id_problem},
    store::{Draft, News, Registries, Store, StoreError, Stored, Token, Version},
};

/// Registries as they are in a cluster.
pub struct Kubernetes {
    connect: Connect,
    connection: Mutex<Connection>,
    /// Waypost's own.
    namespace: String,
    /// Whether Secrets may be read.
    secrets: bool,
    known: Mutex<Known>,
    published: watch::Sender<Registries>,
    pushes: pushes::Records,
    unnamed: Mutex<secrets::Unnamed>,
}

/// How an API server is reached: called at the beginning and whenever a connection was lost, so that renewed credentials count.
pub type Connect = Box<dyn Fn() -> BoxFuture<'static, Result<Client, String>> + Send + Sync>;

/// How the watches fare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// All registries and push records are known, and it is told of every change.
    Working,
    /// Changes may be missed, for this reason, which is said after each attempt. It goes on trying.
    Broken {
        /// Changes of what.
        what: &'static str,
        /// The reason.
        why: String,
    },
    /// The cluster does not know the resource: there are none, until somebody makes it known.
    Missing {
        /// What there are none of.
        what: &'static str,
        /// What the API server says.
        why: String,
    },
}

/// The client that was made last, and how many were made before it.
#[derive(Clone)]
struct Connection {
    client: Client,
    number: u64,
}

impl Kubernetes {
    /// Reads what there is. `namespace` is Waypost's own; `secrets` says whether this process may read the Secrets in it (get, list and
    /// watch), and so whether an [`Edition`](crate::store::Edition) says when a credential has changed.
    ///
    /// It takes the right to get, list and watch `registries.waypost.dev` and `pushes.waypost.dev`; for whoever writes also to create, patch
    /// and delete them, to update registries, to patch the status of both, and to create, patch and delete Secrets in the namespace.
    ///
    /// # Errors
    ///
    /// When they cannot be read. A cluster that does not know such objects has none.
    pub async fn open(connect: Connect, namespace: String, secrets: bool) -> Result<Self, StoreError> {
        let client = connect().await.map_err(StoreError::Unavailable)?;
        let (published, _) = watch::channel(Registries::from([]));
        let store = Self {
            connect,
            connection: Mutex::new(Connection { client, number: 1 }),
            namespace,
            secrets,
            known: Mutex::new(Known::new(secrets)),
            published,
            pushes: pushes::Records::new(),
            unnamed: Mutex::default(),
        };
        // Before registries, so that a push of none of those is of one that is gone.
        let pushes = store.seen_pushes().await?;
        let (objects, marks) = (store.objects().await?, store.marks().await?);
        store.change(|known| {
            known.list_secrets(&marks);
            known.list(&objects);
        });
        store.begin_pushes(pushes);
        Ok(store)
    }

    /// Follows registries, push records, and Secrets where they may be read, until it is dropped. Without it, [`Store::registries`] and
    /// [`Pushes::index`](crate::store::Pushes::index) know of this process's own changes alone.
    pub async fn run(&self, tell: impl FnMut(Event)) -> Infallible {
        let fare = Mutex::new(Fare {
            tell,
            registries: None,
            pushes: None,
            secrets: (!self.secrets).then_some(Event::Working),
        });
        let mut number = 0;
        let registries = follow(
            async || {
                let client = self.reconnect(&mut number).await?;
                lock(&self.known).begin();
                Ok(registries(client))
            },
            Selection::all(RESOURCE),
            nobody,
            |event: following::Event<DynamicObject>| {
                let event = match event {
                    following::Event::Listed(objects) => return self.change(|known| known.list(&objects)),
                    following::Event::Changed(changes) => return self.change(|known| known.follow(&changes)),
                    following::Event::Working => Event::Working,
                    following::Event::Broken(why) => Event::Broken { what: WHAT, why },
                    following::Event::Missing(why) => {
                        // Their pushes stay: it may be the API server alone that does not know them yet.
                        let mut known = lock(&self.known);
                        known.clear();
                        self.publish(&known);
                        Event::Missing { what: WHAT, why }
                    }
                };
                lock(&fare).tell(|fare| &mut fare.registries, event);
            },
        );
        let mut number = 0;
        let secrets = async {
            if !self.secrets {
                return std::future::pending().await;
            }
            follow(
                async || {
                    let client = self.reconnect(&mut number).await?;
                    lock(&self.known).begin_secrets();
                    Ok(Api::namespaced(client, &self.namespace))
                },
                Selection::all("secrets"),
                nobody,
                |event: following::Event<PartialObjectMeta<Secret>>| {
                    let event = match event {
                        following::Event::Listed(marks) => return self.change(|known| known.list_secrets(&marks)),
                        following::Event::Changed(changes) => {
                            return self.change(|known| known.follow_secrets(&changes));
                        }
                        following::Event::Working => Event::Working,
                        following::Event::Broken(why) | following::Event::Missing(why) => {
                            Event::Broken { what: WHAT, why }
                        }
                    };
                    lock(&fare).tell(|fare| &mut fare.secrets, event);
                },
            )
            .await
        };
        let pushes = self.follow_pushes(|event| lock(&fare).tell(|fare| &mut fare.pushes, event));
        // Boxed, for watches are much to hold.
        tokio::select! {
            never = Box::pin(registries) => never,
            never = Box::pin(pushes) => never,
            never = Box::pin(secrets) => never,
        }
    }

    /// Changes what is known, and says so to whoever follows.
    fn change<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = lock(&self.known);
        let mut gone = known.uids();
        let done = change(&mut known);
        gone = &gone - &known.uids();
        self.publish(&known);
        self.pushes.bury(gone.iter().map(String::as_str));
        done
    }

    /// Says what is known to whoever follows: while it is locked, so that two changes are told in their order.
    fn publish(&self, known: &Known) {
        let registries = known.registries();
        self.published.send_if_modified(|present| {
            let changed = *present != registries;
            if changed {
                *present = registries;
            }
            changed
        });
    }

    /// The client for requests.
    fn client(&self) -> Client {
        lock(&self.connection).client.clone()
    }

    /// Another client than that of this number, which may be one that somebody else has made since.
    async fn reconnect(&self, number: &mut u64) -> Result<Client, String> {
        let present = lock(&self.connection).clone();
        if present.number > *number {
            *number = present.number;
            return Ok(present.client);
        }
        let client = (self.connect)().await?;
        let mut connection = lock(&self.connection);
        connection.number += 1;
        connection.client = client.clone();
        *number = connection.number;
        Ok(client)
    }

    /// One object, as the API server has it at this moment.
    async fn object(&self, id: &str) -> Result<Option<DynamicObject>, StoreError> {
        // It would be another path: nothing has such a name.
        if id_problem(id).is_some() {
            return Ok(None);
        }
        match ask(&what(id), "get", registries(self.client()).get(id)).await {
            Ok(object) => Ok(Some(object).filter(|object| object.metadata.deletion_timestamp.is_none())),
            // The same where the resource is not known.
            Err(failed) if failed.code == Some(404) => Ok(None),
            Err(failed) => Err(failed.error),
        }
    }

    /// All objects. Where the resource is not known there are none.
    async fn objects(&self) -> Result<Vec<DynamicObject>, StoreError> {
        match all(RESOURCE, &registries(self.client()), None).await {
            Err(failed) if failed.code == Some(404) => Ok(Vec::new()),
            done => Ok(done?),
        }
    }

    /// All Secrets of the namespace without what is in them; none where they may not be read.
    async fn marks(&self) -> Result<Vec<PartialObjectMeta<Secret>>, StoreError> {
        if !self.secrets {
            return Ok(Vec::new());
        }
        Ok(requests::all_metadata("secrets", &self.secret_api(), None).await?)
    }

    /// Those of the namespace.
    fn secret_api(&self) -> Api<Secret> {
        Api::namespaced(self.client(), &self.namespace)
    }
}

impl Store for Kubernetes {
    fn registries(&self) -> watch::Receiver<Registries> {
        self.published.subscribe()
    }

    fn registry<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Option<Stored>, StoreError>> {
        async move {
            let Some(object) = self.object(id).await? else {
                return Ok(None);
            };
            let object = Object::read(&object);
            let mut marks = Vec::new();
            if self.secrets {
                let token = object.issuance().map(|_| tokens::name(id));
                for name in object.secrets().chain(token.as_deref()) {
                    let what = secrets::what(name);
                    marks.extend(ask(&what, "get", self.secret_api().get_metadata_opt(name)).await?);
                }
            }
            Ok(Some(Known::with(self.secrets, &marks).stored(&object)?))
        }
        .boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Registries, StoreError>> {
        async move {
            let (objects, marks) = (self.objects().await?, self.marks().await?);
            let mut known = Known::with(self.secrets, &marks);
            known.list(&objects);
            Ok(known.registries())
        }
        .boxed()
    }

    fn create<'s>(&'s self, id: &'s str, draft: Draft) -> BoxFuture<'s, Result<Stored, StoreError>> {
        self.add(id, draft).boxed()
    }

    fn replace<'s>(
        &'s self,
        id: &'s str,
        draft: Draft,
        expected: Option<&'s Version>,
    ) -> BoxFuture<'s, Result<Stored, StoreError>> {
        self.change_to(id, draft, expected).boxed()
    }

    fn delete<'s>(&'s self, id: &'s str, expected: Option<&'s Version>) -> BoxFuture<'s, Result<(), StoreError>> {
        self.remove(id, expected).boxed()
    }

    fn credentials<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Credentials, StoreError>> {
        self.read_credentials(id).boxed()
    }

    fn notification_token<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Option<Credential>, StoreError>> {
        self.read_token(id).boxed()
    }

    fn keys<'s>(&'s self, id: &'s str) -> BoxFuture<'s, Result<Keys, StoreError>> {
        self.read_keys(id).boxed()
    }

    fn issued<'s>(&'s self, id: &'s str, token: Token) -> BoxFuture<'s, Result<(), StoreError>> {
        self.keep_token(id, token).boxed()
    }

    fn tell<'s>(&'s self, id: &'s str, news: News) -> BoxFuture<'s, ()> {
        self.tell_people(id, news).boxed()
    }

    fn report<'s>(&'s self, id: &'s str, conditions: Vec<Condition>) -> BoxFuture<'s, Result<(), StoreError>> {
        self.keep_conditions(id, conditions).boxed()
    }
}

/// How each of the watches fares.
struct Fare<T> {
    tell: T,
    registries: Option<Event>,
    pushes: Option<Event>,
    secrets: Option<Event>,
}

impl<T: FnMut(Event)> Fare<T> {
    /// The worst of them is how all fare.
    fn tell(&mut self, of: impl FnOnce(&mut Self) -> &mut Option<Event>, event: Event) {
        *of(self) = Some(event);
        let all = [&self.registries, &self.secrets, &self.pushes];
        let mut told = all.iter().copied().flatten();
        let worst = told
            .clone()
            .find(|event| matches!(event, Event::Broken { .. }))
            .or_else(|| told.find(|event| matches!(event, Event::Missing { .. })));
        let event = match worst {
            Some(worst) => worst.clone(),
            None if all.iter().all(|told| told.is_some()) => Event::Working,
            None => return,
        };
        (self.tell)(event);
    }
}

fn registries(client: Client) -> Api<DynamicObject> {
    Api::all_with(client, &resource())
}

/// As messages name an object.
fn what(id: &str) -> String {
    format!("the Registry {id}")
}

/// What is locked is changed in one step: whoever panicked has left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As messages name all of them.
const WHAT: &str = "registries";

/// As a rule of RBAC names it.
const RESOURCE: &str = "registries.waypost.dev";

#[cfg(test)]
mod tests;
