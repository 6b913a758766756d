//! The pull credentials of one machine's store, as programs on that machine read them.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::{
    config::{self, StoreKind},
    credentials,
    registry::{Condition, ConditionKind, Login, Registry, Status, credential},
    store::{Embedded, Issuance, Store},
};

/// Whose docker config it is: they differ in the names of the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DockerConfigFor {
    /// `docker`, `nerdctl`, `crane` and others that know hosts alone.
    Docker,
    /// `podman`, `skopeo`, `buildah`.
    Podman,
    /// The kubelet of a node.
    Kubelet,
}

/// What was asked for.
pub struct DockerConfig {
    /// It has passwords in it.
    pub json: Zeroizing<Vec<u8>>,
    /// What is not in it, and why; and until when what is in it works.
    pub remarks: Vec<String>,
}

/// The pull credentials of these registries, or of all where none is named.
///
/// # Errors
///
/// When the store cannot be read, a registry is not there or has no credential, or nothing is left to be said.
pub async fn docker_config(
    store: config::Store,
    registries: &[String],
    whose: DockerConfigFor,
) -> anyhow::Result<DockerConfig> {
    let config::Store { kind, path } = store;
    ensure!(
        kind == StoreKind::Embedded,
        "credentials of the store `kubernetes` are in the cluster, as Secrets of Waypost's namespace: this is for the store of one machine"
    );
    ensure!(
        path.exists(),
        "there is no store `{}`: `waypost serve` makes one, and registries come into it by its REST API",
        path.display()
    );
    let store = tokio::task::spawn_blocking(move || Embedded::open(&path))
        .await
        .context("the store cannot be opened")?
        .map_err(|error| match error {
            error @ crate::store::embedded::OpenError::InUse(_) => anyhow::anyhow!(
                "{error}\nhint: `waypost serve` gives credentials to nobody while it runs, this command included: stop it for a moment"
            ),
            error => error.into(),
        })?;
    let all = store.list().await?;
    for id in registries {
        ensure!(
            all.iter().any(|stored| stored.id == *id),
            "there is no registry `{id}`: those there are: {}",
            all.iter().map(|stored| &*stored.id).collect::<Vec<_>>().join(", ")
        );
    }
    let now = Timestamp::now();
    let mut remarks = Vec::new();
    let mut logins: BTreeMap<String, (Registry, Login)> = BTreeMap::new();
    for stored in all
        .iter()
        .filter(|stored| registries.is_empty() || registries.contains(&stored.id))
    {
        let id = &stored.id;
        let asked = registries.contains(id);
        let issuance = stored.issuance.as_ref();
        let pull = store.credentials(id).await?.pull;
        if stored.spec.location.issues() {
            let why = match (&pull, issuance) {
                (Some(_), Some(issuance)) if now < issuance.expires_at => None,
                (Some(_), Some(issuance)) => Some(format!(
                    "its token expired at {}: `waypost serve` has another one issued, start it for a moment",
                    until(issuance)
                )),
                _ => Some(match not_issued(&stored.conditions) {
                    None => "it has no token yet: `waypost serve` has one issued, start it for a moment".to_owned(),
                    Some(why) => format!("it has no token yet, and `waypost serve` was told why: {why}"),
                }),
            };
            if let Some(why) = why {
                ensure!(!asked, "the registry `{id}`: {why}");
                remarks.push(format!("the registry {id} is left out: {why}"));
                continue;
            }
        }
        let Some(pull) = pull else {
            ensure!(
                !asked,
                "the registry `{id}` has no pull credential: anybody may pull from it, or nobody can"
            );
            continue;
        };
        let registry = match stored.registry() {
            Ok(registry) => registry,
            Err(_) if !asked => {
                remarks.push(format!("the registry {id} is left out: it is not understood"));
                continue;
            }
            Err(_) => bail!("the registry `{id}` is not understood: register it again"),
        };
        let login = match credentials::login_soon(pull).await {
            Ok(login) => login,
            Err(why) if !asked => {
                remarks.push(format!("the registry {id} is left out: {why}"));
                continue;
            }
            Err(why) => bail!("the registry `{id}`: {why}"),
        };
        let key = match whose {
            DockerConfigFor::Docker => registry.address.docker_key(),
            DockerConfigFor::Podman => registry.address.podman_key(),
            DockerConfigFor::Kubelet => registry.address.kubelet_key(),
        };
        match logins.get(&key) {
            // The whole of a host, or else the smaller id, which came first.
            Some((first, _)) if !registry.address.organization.is_empty() || first.address == registry.address => {
                remarks.push(format!(
                    "the registry {id} is left out: {} has the entry for {key}, and there can be only one",
                    first.id
                ));
            }
            Some((first, _)) => {
                remarks.push(format!(
                    "the registry {} is left out: {id} has the entry for {key}, and there can be only one",
                    first.id
                ));
                logins.insert(key, (registry, login));
            }
            None => {
                logins.insert(key, (registry, login));
            }
        }
    }
    for (registry, _) in logins.values() {
        let issuance = all.iter().find(|stored| *stored.id == *registry.id);
        if let Some(issuance) = issuance.and_then(|stored| stored.issuance.as_ref()) {
            remarks.push(format!(
                "what is there for the registry {} is a token, and works until {}: print it again before",
                registry.id,
                until(issuance)
            ));
        }
    }
    Ok(DockerConfig {
        json: credential::docker_config(logins.iter().map(|(key, (_, login))| (key.clone(), login))),
        remarks,
    })
}

/// Why there is no token, where somebody asked for one in vain.
fn not_issued(conditions: &[Condition]) -> Option<&str> {
    let is_it =
        |condition: &&Condition| condition.kind == ConditionKind::TokenIssued && condition.status == Status::False;
    conditions.iter().find(is_it).map(|condition| &*condition.message)
}

/// When a token expires, to the second.
fn until(issuance: &Issuance) -> String {
    format!("{:.0}", issuance.expires_at)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        registry::{Credential, Password},
        store::{Change, Draft, Token},
    };

    #[tokio::test]
    async fn a_token_is_there_for_as_long_as_it_works_and_that_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("waypost.redb");
        let config = || config::Store {
            kind: StoreKind::Embedded,
            path: path.clone(),
        };
        let store = Embedded::open(&path).unwrap();
        let spec: crate::registry::RegistrySpec =
            serde_json::from_value(json!({"location": "ecr", "region": "eu-central-1"})).unwrap();
        for (id, lasts) in [
            ("live", Some("2999-01-01T00:00:00Z")),
            ("over", Some("2001-01-01T00:00:00Z")),
            ("none", None),
            ("refused", None),
        ] {
            let draft = Draft {
                spec: spec.clone(),
                pull: Change::Keep,
                push: Change::Keep,
                notify: Change::Keep,
            };
            store.create(id, draft).await.unwrap();
            let Some(expires_at) = lasts else { continue };
            let token = Token {
                login: Login {
                    username: "AWS".to_owned(),
                    password: Password::new(format!("token-{id}")),
                },
                issuance: Issuance {
                    issued_at: Timestamp::UNIX_EPOCH,
                    expires_at: expires_at.parse().unwrap(),
                    account: Some("123456789012".to_owned()),
                    place: Issuance::place(&spec),
                    origin: Issuance::origin(&spec, None),
                },
            };
            store.issued(id, token).await.unwrap();
        }
        let mut conditions = Vec::new();
        let (kind, now) = (ConditionKind::TokenIssued, Timestamp::UNIX_EPOCH);
        let why = "there is no token to pull with: AWS does not know the access key".to_owned();
        Condition::put(&mut conditions, now, kind, Status::False, "Rejected", why);
        store.report("refused", conditions).await.unwrap();
        drop(store);
        let made = docker_config(config(), &[], DockerConfigFor::Docker).await.unwrap();
        let json: Value = serde_json::from_slice(&made.json).unwrap();
        let entry = &json["auths"]["123456789012.dkr.ecr.eu-central-1.amazonaws.com"];
        assert_eq!(entry["password"], "token-live");
        assert_eq!(json["auths"].as_object().unwrap().len(), 1);
        assert_eq!(
            made.remarks,
            [
                "the registry none is left out: it has no token yet: `waypost serve` has one issued, start it for a moment",
                "the registry over is left out: its token expired at 2001-01-01T00:00:00Z: `waypost serve` has another one issued, start \
                 it for a moment",
                "the registry refused is left out: it has no token yet, and `waypost serve` was told why: there is no token to pull with: AWS \
                 does not know the access key",
                "what is there for the registry live is a token, and works until 2999-01-01T00:00:00Z: print it again before",
            ]
        );
        for (id, complaint) in [
            ("none", "has no token yet"),
            ("over", "expired at 2001"),
            ("refused", "does not know the access key"),
        ] {
            let error = docker_config(config(), &[id.to_owned()], DockerConfigFor::Docker)
                .await
                .err()
                .unwrap();
            assert!(error.to_string().contains(complaint), "{error}");
        }
    }

    #[tokio::test]
    async fn each_program_finds_the_entries_by_its_names() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("waypost.redb");
        let config = || config::Store {
            kind: StoreKind::Embedded,
            path: path.clone(),
        };
        let error = docker_config(config(), &[], DockerConfigFor::Docker)
            .await
            .err()
            .unwrap();
        assert!(error.to_string().starts_with("there is no store"), "{error}");
        assert!(!path.exists());

        let store = Embedded::open(&path).unwrap();
        for (id, url, password) in [
            ("a-team", Some("r.io/team"), Some("p-team")),
            ("b-all", Some("r.io"), Some("p-all")),
            ("c-hub", None, Some("p-hub")),
            ("d-anonymous", Some("s.io"), None),
        ] {
            let pull = password.map_or(Change::Keep, |password| {
                Change::Set(Credential::Login(Login {
                    username: "u".to_owned(),
                    password: Password::new(password.to_owned()),
                }))
            });
            let spec = serde_json::from_value(json!({ "url": url })).unwrap();
            let draft = Draft {
                spec,
                pull,
                push: Change::Keep,
                notify: Change::Set(Credential::token(Password::new("hunter2-hunter2-hunter2".to_owned()))),
            };
            store.create(id, draft).await.unwrap();
        }
        let error = docker_config(config(), &[], DockerConfigFor::Docker)
            .await
            .err()
            .unwrap();
        assert!(error.to_string().contains("stop it for a moment"), "{error}");
        drop(store);

        for (whose, expected, remarks) in [
            (
                DockerConfigFor::Docker,
                json!({"r.io": "p-all", "https://index.docker.io/v1/": "p-hub"}),
                1,
            ),
            (
                DockerConfigFor::Podman,
                json!({"r.io": "p-all", "r.io/team": "p-team", "docker.io": "p-hub"}),
                0,
            ),
            (
                DockerConfigFor::Kubelet,
                json!({"r.io": "p-all", "r.io/team/": "p-team", "index.docker.io": "p-hub"}),
                0,
            ),
        ] {
            let made = docker_config(config(), &[], whose).await.unwrap();
            let json: Value = serde_json::from_slice(&made.json).unwrap();
            let auths = json["auths"].as_object().unwrap().iter();
            let passwords: Value = auths
                .map(|(key, entry)| (key.clone(), entry["password"].clone()))
                .collect();
            assert_eq!(passwords, expected, "{whose:?}");
            assert_eq!(made.remarks.len(), remarks, "{:?}", made.remarks);
        }
        let one = docker_config(config(), &["a-team".to_owned()], DockerConfigFor::Docker)
            .await
            .unwrap();
        assert!(String::from_utf8_lossy(&one.json).contains("p-team"));
        for (id, complaint) in [
            ("nope", "there is no registry `nope`"),
            ("d-anonymous", "has no pull credential"),
        ] {
            let error = docker_config(config(), &[id.to_owned()], DockerConfigFor::Docker)
                .await
                .err()
                .unwrap();
            assert!(error.to_string().contains(complaint), "{error}");
        }
    }
}
