//! Images copied by whoever is at the command line, by the logins of this machine: nobody keeps a record of it.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use anyhow::{Context, anyhow, bail};

use crate::{
    credentials::signed_in,
    oci::{
        Client, Remote, Roots,
        copy::{Copied, Copy, CopyError, Place, Progress},
    },
    reference::Reference,
    registry::{Login, NamesSpec, Registry, RegistrySpec},
};

/// Whoever copies: one for all images of a command.
pub struct Copier {
    client: Client,
    /// Where the logins are.
    logins: Vec<PathBuf>,
    /// Hosts that are reached without TLS.
    plain_http: Vec<String>,
    /// PEM: authorities that are trusted besides those that everybody trusts.
    authorities: Option<String>,
    /// The registries that were asked so far, by their hosts.
    known: BTreeMap<String, Known>,
}

#[derive(Clone)]
struct Known {
    remote: Arc<Remote>,
    login: Option<Login>,
}

/// What is copied where, which can be looked at before it is.
pub struct Planned {
    /// The reference that it will have.
    pub target: String,
    copy: Copy,
}

impl Copier {
    /// By the logins of this machine. Reads files.
    ///
    /// # Errors
    ///
    /// When a file that is named cannot be read.
    pub fn new(
        logins: Option<PathBuf>,
        plain_http: Vec<String>,
        authorities: Option<PathBuf>,
    ) -> anyhow::Result<(Self, Vec<String>)> {
        let (roots, problems) = Roots::load();
        let authorities = authorities
            .map(|path| std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display())));
        let copier = Self {
            client: Client::new(roots),
            logins: logins.map_or_else(signed_in::files, |path| vec![path]),
            plain_http: plain_http.iter().map(|host| host.to_ascii_lowercase()).collect(),
            authorities: authorities.transpose()?,
            known: BTreeMap::new(),
        };
        Ok((copier, problems))
    }

    /// What copying the image below `to` means, which is `HOST[/ORGANIZATION]`, or to exactly `name` below that, which may be a template
    /// for names.
    ///
    /// # Errors
    ///
    /// When one of them is none, or the login for it cannot be read.
    pub async fn plan(
        &mut self,
        image: &str,
        to: &str,
        name: Option<&str>,
        referrers: bool,
    ) -> anyhow::Result<Planned> {
        let source = Reference::parse(image).map_err(|error| anyhow!("`{image}` is no image: {error}"))?;
        let template = name.filter(|name| name.contains('{'));
        let name = name.filter(|_| template.is_none());
        let names = template.map(|template| NamesSpec {
            to: template.to_owned(),
            from: (!template.contains("{registry}")).then(|| source.registry().to_owned()),
        });
        let target = self.registry(to, names)?;
        let named = match name {
            Some(name) => format!("{}/{name}", target.address),
            None => target
                .names
                .target(&source)
                .ok_or_else(|| anyhow!("`{image}` can have no name below {}", target.address))?,
        };
        let parsed = Reference::parse(&named).map_err(|error| anyhow!("the image would be `{named}`: {error}"))?;
        if name.is_some() && parsed.digest().is_some() {
            bail!("the name `{named}` has a digest, which is the image's own: give a tag, or none");
        }
        // One that has no tag is called like the image, and like the image it has none where there is a digest.
        let tag = match (parsed.tag(), parsed.digest(), name) {
            (Some(tag), _, _) => Some(tag),
            (None, _, Some(_)) => source.tag().or(source.digest().is_none().then_some(LATEST)),
            (None, Some(_), None) => None,
            (None, None, None) => Some(LATEST),
        };
        let target_place = self.place(to, &target, &parsed).await?;
        let source_registry = self.registry(source.registry(), None)?;
        let source_place = self.place(source.registry(), &source_registry, &source).await?;
        let reference = source.digest().or(source.tag()).unwrap_or(LATEST);
        let repository = format!("{}/{}", parsed.registry(), target_place.repository);
        Ok(Planned {
            target: match tag {
                Some(tag) => format!("{repository}:{tag}"),
                None => format!("{repository}@{reference}"),
            },
            copy: Copy {
                source: source_place,
                target: target_place,
                reference: reference.into(),
                tag: tag.map(Into::into),
                referrers,
            },
        })
    }

    fn registry(&self, url: &str, names: Option<NamesSpec>) -> anyhow::Result<Registry> {
        let spec = RegistrySpec {
            url: Some(url.to_owned()),
            names,
            ..RegistrySpec::default()
        };
        Registry::parse("registry", &spec).map_err(|problems| {
            let first = problems.first();
            let why = first.map(|problem| problem.message.to_string()).unwrap_or_default();
            anyhow!("`{}` is no registry: {why}", url.escape_debug())
        })
    }

    async fn place(&mut self, url: &str, registry: &Registry, image: &Reference<'_>) -> anyhow::Result<Place> {
        let known = match self.known.get(url) {
            Some(known) => known.clone(),
            None => {
                let known = self.find(url, registry).await?;
                self.known.insert(url.to_owned(), known.clone());
                known
            }
        };
        Ok(Place {
            remote: known.remote,
            repository: image.repository().to_string().into(),
            login: known.login,
        })
    }

    async fn find(&self, url: &str, registry: &Registry) -> anyhow::Result<Known> {
        let address = registry.address.clone();
        let logins = self.logins.clone();
        let login = tokio::task::spawn_blocking(move || signed_in::login(&logins, &address)).await??;
        let said = self.plain_http.iter().any(|host| *host == *registry.address.host);
        let spec = RegistrySpec {
            url: Some(url.to_owned()),
            plain_http: said,
            ca_bundle: self
                .authorities
                .clone()
                .filter(|_| !said && !url.starts_with("http://")),
            ..RegistrySpec::default()
        };
        let reach = |spec: &RegistrySpec| -> anyhow::Result<Remote> {
            let registry = Registry::parse("registry", spec)
                .map_err(|problems| anyhow!("{}", problems.first().map(|first| &*first.message).unwrap_or_default()))?;
            Ok(self.client.registry(&registry)?)
        };
        let mut remote = reach(&spec)?;
        // Whoever runs one on his own machine seldom gives it a certificate; docker does the same.
        if !said && !url.contains("://") && is_loopback(remote.endpoint().host.name()) && remote.ping().await.is_err() {
            let plain = RegistrySpec {
                plain_http: true,
                ca_bundle: None,
                ..spec
            };
            let without_tls = reach(&plain)?;
            if without_tls.ping().await.is_ok() {
                remote = without_tls;
            }
        }
        Ok(Known {
            remote: Arc::new(remote),
            login,
        })
    }
}

impl Planned {
    /// Copies it.
    ///
    /// # Errors
    ///
    /// As [`Copy::run_briefly`].
    pub async fn run(self, progress: Arc<Progress>) -> Result<Copied, CopyError> {
        self.copy.run_briefly(progress).await
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

const LATEST: &str = "latest";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_image_is_called_as_its_registry_says_or_as_whoever_copies_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let logins = dir.path().join("logins.json");
        std::fs::write(&logins, "{}").unwrap();
        let (mut copier, _) = Copier::new(Some(logins), Vec::new(), None).unwrap();
        for (image, name, expected) in [
            ("alpine", None, "t.example/mirror/docker.io/library/alpine:latest"),
            ("r.example:5000/team/app:1", Some("app"), "t.example/mirror/app:1"),
            ("r.example:5000/team/app:1", Some("app:2"), "t.example/mirror/app:2"),
            (
                "r.example:5000/team/app:1",
                Some("{repository}"),
                "t.example/mirror/team/app:1",
            ),
            (
                "r.example/team/app:1",
                Some("{registry}/x/{repository}"),
                "t.example/mirror/r.example/x/team/app:1",
            ),
        ] {
            let planned = copier.plan(image, "t.example/mirror", name, false).await.unwrap();
            assert_eq!(planned.target, expected);
        }
        for (image, name) in [("r.example:5000/app:1", None), ("alpine", Some("{namespace}"))] {
            assert!(copier.plan(image, "t.example/mirror", name, false).await.is_err());
        }
    }
}
