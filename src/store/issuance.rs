//! What is known of a token that was issued, and which registry it is for.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Edition;
use crate::registry::{Endpoint, Issuer, Login, Registry, RegistrySpec, Scheme, amazon};

/// What is known of a token to pull with, but for the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Issuance {
    /// When it was issued, by the clock of whoever asked for it.
    pub issued_at: Timestamp,
    /// From then on it is refused.
    pub expires_at: Timestamp,
    /// Whose registry it is for, where ECR has been asked for that: an account's twelve digits.
    // Written where there is none, too, or that of the token before would stay in a status that is patched.
    #[serde(default)]
    pub account: Option<String>,
    /// Which registry it is for: what was said of that, as [`Issuance::place`] has it. A token that is for another is as good as none.
    pub place: String,
    /// How it came about, as [`Issuance::origin`] has it: what came about otherwise is renewed at once, and works until then.
    pub origin: String,
}

/// A token to pull with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What a registry is asked with.
    pub login: Login,
    /// What else is known of it.
    pub issuance: Issuance,
}

impl Issuance {
    /// Says which registry a token is for, and where it is sent: whoever may say another place does not get it. The same said in another way is
    /// the same place.
    pub fn place(spec: &RegistrySpec) -> String {
        let (place, account) = Self::place_and_account(spec);
        digest(&json!([place, account]))
    }

    /// The place, and whose registry it is where that is said.
    fn place_and_account(spec: &RegistrySpec) -> (serde_json::Value, Option<String>) {
        let Ok(registry) = Registry::unasked(PLACE, spec) else {
            // Nobody is asked for such a one.
            return (json!(spec), None);
        };
        let (region, account) = match &registry.issuer {
            Some(Issuer::Ecr(ecr)) => (Some(&ecr.region), ecr.account.as_deref()),
            Some(Issuer::Google(_)) | None => (None, None),
        };
        let host = &*registry.address.host;
        // A host that follows from the account is none that somebody chose.
        let chosen = Some(host).filter(|host| amazon::of_host(host).is_none());
        let Endpoint {
            scheme,
            host: endpoint,
            ca_bundle,
        } = &registry.endpoint;
        let elsewhere = Some(endpoint.as_str()).filter(|endpoint| *endpoint != host);
        let mut token_hosts: Vec<_> = registry
            .token_hosts
            .iter()
            .map(|host| host.to_ascii_lowercase())
            .collect();
        token_hosts.sort_unstable();
        let is_plain = *scheme == Scheme::Http;
        let place = json!([
            spec.location,
            region,
            chosen,
            elsewhere,
            is_plain,
            ca_bundle,
            token_hosts
        ]);
        (place, account.map(str::to_owned))
    }

    /// Says by what a token is asked for. `key`: see [`Stored::key`](super::Stored::key).
    pub fn origin(spec: &RegistrySpec, key: Option<&Edition>) -> String {
        let RegistrySpec {
            pull_role_arn,
            pull_role_external_id,
            pull_service_account,
            ..
        } = spec;
        let key = key.map(|key| &key.0);
        digest(&json!([
            pull_role_arn,
            pull_role_external_id,
            pull_service_account,
            key
        ]))
    }

    /// Whether it is for the registry that this says.
    pub fn is_for(&self, spec: &RegistrySpec) -> bool {
        if !spec.location.issues() {
            return false;
        }
        let (place, account) = Self::place_and_account(spec);
        // One that ECR was asked for is for the account that somebody says now.
        let asked = account.is_some() && account == self.account;
        self.place == digest(&json!([place, account])) || asked && self.place == digest(&json!([place, null]))
    }
}

/// The id is no part of it.
const PLACE: &str = "registry";

/// 16 hexadecimal digits.
fn digest(value: &serde_json::Value) -> String {
    let digest = Sha256::digest(value.to_string());
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn spec(json: Value) -> RegistrySpec {
        serde_json::from_value(json).unwrap()
    }

    /// For the registry that this says, where ECR was asked whose it is.
    fn issuance(of: &RegistrySpec, account: Option<&str>) -> Issuance {
        Issuance {
            issued_at: Timestamp::UNIX_EPOCH,
            expires_at: Timestamp::UNIX_EPOCH,
            account: account.map(str::to_owned),
            place: Issuance::place(of),
            origin: Issuance::origin(of, None),
        }
    }

    #[test]
    fn the_same_place_said_in_another_way_keeps_its_token() {
        let ecr = |more: Value| {
            let mut all = json!({"location": "ecr", "region": "eu-central-1"});
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            spec(all)
        };
        let url = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
        for (one, other, account) in [
            (
                spec(json!({"location": "gcr"})),
                spec(json!({"location": "gcr", "url": "gcr.io"})),
                None,
            ),
            (
                spec(json!({"location": "gcr", "hostname": "R.example.com"})),
                spec(json!({"location": "gcr", "hostname": "r.example.com", "url": "https://r.example.com/team"})),
                None,
            ),
            (
                spec(json!({"location": "gcr", "endpoint": "http://proxy:5000"})),
                spec(json!({"location": "gcr", "endpoint": "http://proxy:5000", "plainHttp": true})),
                None,
            ),
            (
                spec(json!({"location": "gcr", "tokenHosts": ["a.io", "B.io"]})),
                spec(
                    json!({"location": "gcr", "tokenHosts": ["b.io", "a.io"], "displayName": "x", "namespaces": {"names": ["y"]}}),
                ),
                None,
            ),
            (ecr(json!({})), ecr(json!({"url": url})), Some("123456789012")),
            (
                ecr(json!({})),
                ecr(json!({"registryId": "123456789012"})),
                Some("123456789012"),
            ),
            (
                ecr(json!({"registryId": "123456789012"})),
                spec(json!({"location": "ecr", "url": url})),
                None,
            ),
        ] {
            assert!(issuance(&one, account).is_for(&other), "{one:?} {other:?}");
        }
    }

    #[test]
    fn another_place_or_another_way_there_has_another_token() {
        let base = json!({"location": "ecr", "region": "eu-central-1"});
        let with = |more: Value| {
            let mut all = base.clone();
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            spec(all)
        };
        let issued = issuance(&with(json!({})), Some("123456789012"));
        assert!(issued.is_for(&with(json!({}))));
        for other in [
            with(json!({"registryId": "999999999999"})),
            with(json!({"region": "eu-west-1"})),
            with(json!({"hostname": "r.example.com"})),
            with(json!({"endpoint": "r.example.com"})),
            with(json!({"plainHttp": true})),
            with(json!({"caBundle": "-----BEGIN CERTIFICATE-----"})),
            with(json!({"tokenHosts": ["r.example.com"]})),
            with(json!({"region": "nonsense"})),
            spec(json!({"location": "gcr"})),
            spec(json!({})),
        ] {
            assert!(!issued.is_for(&other), "{other:?}");
        }
    }
}
