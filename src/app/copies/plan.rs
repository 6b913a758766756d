//! From what is kept of a copy to where it is read and written, and as whom.

use std::{cmp::Reverse, sync::Arc};

use super::Shared;
use crate::{
    credentials::{self, IssueError},
    oci::{
        self, Client, Remote,
        copy::{Copied, CopyError, Place, Progress},
    },
    pushes::{Copying, Image},
    reference::Reference,
    registry::{Credential, Key, Login, Registry, RegistrySpec},
    store::{Copy, StoreError, Stored, credentials_where},
};

/// Where a copy is read and written.
pub(super) struct Plan {
    /// What the image is called in the registry.
    pub(super) target: Image,
    to: At,
    from: At,
    /// Whose repository may have to be made, and by which key.
    registry: Registry,
    key: Option<Key>,
    /// What it is at the source.
    reference: Box<str>,
    tag: Option<Box<str>>,
    referrers: bool,
}

/// A repository, and as whom it is asked.
struct At {
    remote: Arc<Remote>,
    repository: Box<str>,
    login: Option<Login>,
}

/// Why there is no copy.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Somebody has to do something.
    Failed(String),
    /// It may go well another time.
    Passing(String),
    /// There is no such registry any more.
    Gone,
}

/// Why a copy that was planned was not made.
#[derive(Debug)]
pub(super) struct NotMade {
    pub(super) why: String,
    /// Whether somebody may not: of a credential that was issued for a while, the while may be over.
    pub(super) is_denied: bool,
}

impl From<CopyError> for NotMade {
    fn from(error: CopyError) -> Self {
        Self {
            why: error.to_string(),
            is_denied: matches!(error, CopyError::Denied { .. }),
        }
    }
}

impl Plan {
    /// As the registries are now.
    pub(super) async fn of(shared: &Shared, copy: &Copy, copying: &Copying) -> Result<Self, Trouble> {
        let Copy { record, login } = copy;
        let image = Reference::parse(record.image.as_str())
            .map_err(|error| Trouble::Failed(format!("its image is none: {}", error.kind())))?;
        let stored = shared.store.registry(&record.registry).await?.ok_or(Trouble::Gone)?;
        let registry = usable(&stored)?;
        let target = record.image.target_in(&registry).map_err(Trouble::Failed)?;
        let (login, key) = match login {
            Some(login) => (Some(login.clone()), None),
            None => shared.login_to_push(&stored, &registry).await?,
        };
        let to = {
            let named = Reference::parse(target.as_str())
                .map_err(|error| Trouble::Failed(format!("its target is none: {}", error.kind())))?;
            at(shared.client.registry(&registry), &named, login)?
        };
        let from = shared.source(&image, copying.source.as_deref()).await?;
        let tag = image.tag().map(Into::into);
        let reference = image.digest().or(image.tag()).unwrap_or(LATEST).into();
        let plan = Self {
            target,
            to,
            from,
            registry,
            key,
            reference,
            tag,
            referrers: copying.referrers,
        };
        match plan.is_in_place() {
            true => Err(Trouble::Failed(format!(
                "the image and its target, {}, are the same place: there is nothing to copy",
                plan.target
            ))),
            false => Ok(plan),
        }
    }

    fn is_in_place(&self) -> bool {
        let (from, to) = (self.from.remote.endpoint(), self.to.remote.endpoint());
        from.scheme == to.scheme && from.host == to.host && self.from.repository == self.to.repository
    }

    /// Copies it. A repository of ECR's that is not there is made, where the registry says that it is to be.
    pub(super) async fn run(&self, shared: &Shared, progress: &Arc<Progress>) -> Result<Copied, NotMade> {
        match self.copy().run(progress.clone()).await {
            Err(missing @ CopyError::NoRepository { .. }) => {
                let name = &*self.to.repository;
                let made = shared
                    .issuer
                    .make_repository(&self.registry, self.key.as_ref(), name)
                    .await;
                match made {
                    Ok(true) => tracing::info!(registry = &*self.registry.id, "the repository {name} was made"),
                    Ok(false) => return Err(missing.into()),
                    Err(error) => {
                        return Err(NotMade {
                            why: format!("the repository {name} is not there and was not made: {error}"),
                            is_denied: false,
                        });
                    }
                }
                self.copy().run(progress.clone()).await.map_err(NotMade::from)
            }
            copied => copied.map_err(NotMade::from),
        }
    }

    fn copy(&self) -> oci::copy::Copy {
        let place = |at: &At| Place {
            remote: at.remote.clone(),
            repository: at.repository.clone(),
            login: at.login.clone(),
        };
        oci::copy::Copy {
            source: place(&self.from),
            target: place(&self.to),
            reference: self.reference.clone(),
            tag: self.tag.clone(),
            referrers: self.referrers,
        }
    }
}

impl Shared {
    /// By what a registry is pushed to where nothing came along, and by which key that was issued.
    async fn login_to_push(
        &self,
        stored: &Stored,
        registry: &Registry,
    ) -> Result<(Option<Login>, Option<Key>), Trouble> {
        if registry.location.issues() {
            let keys = self.store.keys(&stored.id).await?;
            // What is so now was so when they were read.
            self.is_still(stored).await?;
            let key = keys.push.or(keys.pull);
            let issued = self.issuer.push(registry, key.as_ref()).await;
            let issued = issued.map_err(|error| match error {
                IssueError::Unavailable(why) => Trouble::Passing(format!("no token to push with was issued: {why}")),
                error => Trouble::Failed(format!("no token to push with was issued: {error}")),
            })?;
            return Ok((Some(issued.login), key));
        }
        let credentials = credentials_where(&*self.store, &stored.id, |now| now.spec == stored.spec).await?;
        let credential = credentials.push.or(credentials.pull);
        Ok((login_of(credential, "push").await?, None))
    }

    async fn is_still(&self, stored: &Stored) -> Result<(), Trouble> {
        match self.store.registry(&stored.id).await? {
            Some(now) if now.spec == stored.spec && now.version == stored.version => Ok(()),
            Some(_) => Err(Trouble::Passing("the registry was changed meanwhile".to_owned())),
            None => Err(Trouble::Gone),
        }
    }

    /// Where the image is read: by the credential of the registry of this id, where it lies under that one; else as anybody.
    async fn source(&self, image: &Reference<'_>, by: Option<&str>) -> Result<At, Trouble> {
        if let Some(id) = by
            && let Some(stored) = self.store.registry(id).await?
            && let Some(registry) = stored.registry().ok().filter(|registry| registry.is_over(image))
        {
            let credentials = credentials_where(&*self.store, id, |now| now.spec == stored.spec).await;
            let credential = match credentials {
                Ok(credentials) => credentials.pull,
                Err(StoreError::NotFound(_)) => return Err(Trouble::Passing(format!("the registry {id} is gone"))),
                Err(error) => return Err(error.into()),
            };
            let login = login_of(credential, "read the image").await?;
            return at(self.client.registry(&registry), image, login);
        }
        let all = self.store.list().await?;
        let registered = all.iter().filter_map(|stored| stored.registry().ok());
        let over = registered.filter(|registry| registry.is_over(image));
        match over.min_by_key(|registry| Reverse(registry.address.organization.len())) {
            // Where it is reached is for whoever registered it to say.
            Some(registry) => at(self.client.registry(&registry), image, None),
            None => at(unregistered(&self.client, image)?, image, None),
        }
    }
}

fn unregistered(client: &Client, image: &Reference<'_>) -> Result<Result<Remote, oci::BundleError>, Trouble> {
    let spec = RegistrySpec {
        url: Some(image.registry().to_owned()),
        ..RegistrySpec::default()
    };
    let registry = Registry::parse("source", &spec);
    let registry = registry.map_err(|problems| Trouble::Failed(first("where it is read is no registry", &problems)))?;
    Ok(client.unregistered(&registry))
}

fn at(remote: Result<Remote, oci::BundleError>, image: &Reference<'_>, login: Option<Login>) -> Result<At, Trouble> {
    Ok(At {
        remote: Arc::new(remote.map_err(|error| Trouble::Failed(error.to_string()))?),
        repository: image.repository().to_string().into(),
        login,
    })
}

fn usable(stored: &Stored) -> Result<Registry, Trouble> {
    let registry = stored.registry();
    registry.map_err(|problems| Trouble::Failed(first("the registry cannot be used", &problems)))
}

fn first(what: &str, problems: &[crate::document::Problem]) -> String {
    let why = problems.first().map(|problem| problem.message.to_string());
    format!("{what}: {}", why.unwrap_or_default())
}

async fn login_of(credential: Option<Credential>, to: &str) -> Result<Option<Login>, Trouble> {
    let Some(credential) = credential else { return Ok(None) };
    let login = credentials::login_soon(credential).await;
    let login = login.map_err(|why| Trouble::Passing(format!("there is no credential to {to} with: {why}")))?;
    Ok(Some(login))
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(_) => Self::Gone,
            error => Self::Passing(error.to_string()),
        }
    }
}

const LATEST: &str = "latest";
