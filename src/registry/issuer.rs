//! Who issues the tokens of a registry, where somebody does: what is said of it in a spec, checked as far as that goes without asking.

use std::collections::BTreeMap;

use super::{
    Address, amazon, google,
    spec::{Location, RegistrySpec, RepositoriesSpec},
};
use crate::document::{Path, Problem};

/// Who issues the tokens of a registry, and how they are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Issuer {
    /// Amazon, for ECR.
    Ecr(EcrIssuer),
    /// Google, for Artifact Registry and `gcr.io`.
    Google(GoogleIssuer),
}

/// How Amazon is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EcrIssuer {
    /// The region.
    pub region: Box<str>,
    /// The account whose registry it is, where that is said. None: that of the identity that asks.
    pub account: Option<Box<str>>,
    /// The role that tokens to pull with are asked for under.
    pub pull_role: Option<PullRole>,
    /// What a push makes the repositories with that it needs. None: it makes none.
    pub repositories: Option<Repositories>,
}

/// A role that may pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRole {
    /// Its ARN.
    pub arn: Box<str>,
    /// The external id that its trust policy asks for.
    pub external_id: Option<Box<str>>,
}

/// What a repository of ECR is made with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repositories {
    /// Whether a tag, once pushed, stays what it is.
    pub immutable_tags: bool,
    /// AWS's tags.
    pub tags: BTreeMap<String, String>,
}

/// How Google is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoogleIssuer {
    /// The service account whose tokens are the ones to pull with. None: that of the identity that asks.
    pub pull_service_account: Option<Box<str>>,
}

impl Issuer {
    /// Whether the host, without a port, is one of the issuer's own. A token for any other goes to whoever that is.
    pub fn is_at_home_at(&self, host: &str) -> bool {
        match self {
            Self::Ecr(_) => amazon::of_host(host).is_some(),
            Self::Google(_) => google::is_google_host(host),
        }
    }
}

/// Who issues tokens, and the URL that the registry has, which is `spec.url` where nobody does. `account` is whose registry it is, where ECR
/// has been asked; what is said goes before it.
pub(super) fn parse(
    spec: &RegistrySpec,
    account: Option<&str>,
    problems: &mut Vec<Problem>,
) -> (Option<Issuer>, Option<String>) {
    foreign_keys(spec, problems);
    match spec.location {
        Location::OffCluster => (None, spec.url.clone()),
        Location::Ecr => {
            let (issuer, url) = ecr(spec, account, problems);
            (issuer.map(Issuer::Ecr), url)
        }
        Location::Gcr => {
            let (issuer, url) = google(spec, problems);
            (Some(Issuer::Google(issuer)), url)
        }
    }
}

/// What is said that goes with another location.
fn foreign_keys(spec: &RegistrySpec, problems: &mut Vec<Problem>) {
    let ecr = spec.location == Location::Ecr;
    let gcr = spec.location == Location::Gcr;
    for (key, given, fits, whose) in [
        ("region", spec.region.is_some(), ecr, "`ecr`"),
        ("registryId", spec.registry_id.is_some(), ecr, "`ecr`"),
        ("hostname", spec.hostname.is_some(), ecr || gcr, "`ecr` or `gcr`"),
        ("pullRoleArn", spec.pull_role_arn.is_some(), ecr, "`ecr`"),
        ("pullRoleExternalId", spec.pull_role_external_id.is_some(), ecr, "`ecr`"),
        ("pullServiceAccount", spec.pull_service_account.is_some(), gcr, "`gcr`"),
        ("repositories", spec.repositories.is_some(), ecr, "`ecr`"),
    ] {
        if given && !fits {
            problems.push(
                Problem::error(
                    "other-location",
                    Path::root().key(key),
                    format!(
                        "it is for the location {whose}, and the location is `{}`",
                        spec.location.as_str()
                    ),
                )
                .hint(format!("say `location`, or take `{key}` out")),
            );
        }
    }
}

fn ecr(spec: &RegistrySpec, account: Option<&str>, problems: &mut Vec<Problem>) -> (Option<EcrIssuer>, Option<String>) {
    let before = problems.len();
    let mut wrong = |key: &str, code: &'static str, message: String, hint: &str| {
        problems.push(Problem::error(code, Path::root().key(key), message).hint(hint));
    };
    let url_host = spec.url.as_deref().and_then(host_of);
    let hostname = spec.hostname.as_deref().map(str::to_ascii_lowercase);
    // Which of the two keys says it.
    let (host, key) = match &hostname {
        Some(hostname) => (Some(&**hostname), "hostname"),
        None => (url_host.as_deref(), "url"),
    };
    let of_host = host.and_then(amazon::of_host);
    if let Some(hostname) = &spec.hostname {
        if let Some(problem) = hostname_problem(hostname, url_host.as_deref()) {
            wrong("hostname", "invalid-hostname", problem, HOSTNAME_HINT);
        }
    } else if let (Some(host), None) = (host, of_host) {
        let message = format!("`{}` is no host of ECR's", host.escape_debug());
        wrong("url", "foreign-host", message, ECR_HOST_HINT);
    }
    let region = spec.region.as_deref().or(of_host.map(|(_, region)| region));
    match (region, of_host) {
        (None, _) => wrong(
            "region",
            "no-region",
            "it is missing: ECR is one in each region".to_owned(),
            "write it as AWS does: eu-central-1",
        ),
        (Some(region), _) if !amazon::is_region(region) => {
            let message = format!("`{}` is no region of AWS", region.escape_debug());
            wrong("region", "invalid-region", message, "they look like eu-central-1");
        }
        (Some(region), Some((_, other))) if region != other => {
            let message = format!("`{region}` is another region than that of `{key}`, `{other}`");
            wrong("region", "contradiction", message, "take one of the two out");
        }
        _ => {}
    }
    let said = spec.registry_id.as_deref().or(of_host.map(|(account, _)| account));
    match (said, of_host) {
        (Some(id), _) if !amazon::is_account(id) => {
            let message = format!("`{}` is no id of an ECR registry", id.escape_debug());
            let hint = "it is an account's twelve digits, in quotes where YAML would read a number; left out it is the account's own";
            wrong("registryId", "invalid-registry-id", message, hint);
        }
        (Some(id), Some((other, _))) if id != other => {
            let message = format!("`{id}` is another registry than that of `{key}`, `{other}`");
            wrong("registryId", "contradiction", message, "take one of the two out");
        }
        _ => {}
    }
    if let Some(arn) = &spec.pull_role_arn {
        let of_region = region
            .filter(|region| amazon::is_region(region))
            .map(|region| amazon::partition(region).name);
        if !amazon::is_role(arn) {
            let message = format!("`{}` is no ARN of a role", arn.escape_debug());
            let hint = "they look like arn:aws:iam::123456789012:role/waypost-pull";
            wrong("pullRoleArn", "invalid-role", message, hint);
        } else if let (Some(of_role), Some(of_region)) = (amazon::partition_of(arn), of_region)
            && of_role != of_region
        {
            let message = format!("the role is one of `{of_role}`, and the region is one of `{of_region}`");
            let hint = "the two know nothing of each other: give a role of the region's own";
            wrong("pullRoleArn", "contradiction", message, hint);
        }
    }
    match (&spec.pull_role_arn, &spec.pull_role_external_id) {
        (None, Some(_)) => wrong(
            "pullRoleExternalId",
            "no-role",
            "there is no role that it could be of".to_owned(),
            "say which one in `pullRoleArn`",
        ),
        (_, Some(id)) if !amazon::is_external_id(id) => wrong(
            "pullRoleExternalId",
            "invalid-external-id",
            "it is no external id".to_owned(),
            "AWS takes 2 to 1224 letters, digits and any of _+=,.@:/-",
        ),
        _ => {}
    }
    if let Some(problem) = spec.repositories.as_ref().and_then(repositories_problem) {
        wrong(
            "repositories",
            "invalid-tags",
            problem,
            "AWS takes at most 50 tags, with keys of 1 to 128 characters and values of at most 256, and keeps keys that begin with aws: for itself",
        );
    }
    let whose = said.or(account);
    if spec.url.is_none() && spec.hostname.is_none() && whose.is_none() {
        wrong(
            "registryId",
            UNKNOWN_ACCOUNT,
            "nobody knows yet whose registry it is: ECR is asked for it, with the first token".to_owned(),
            "give it, and it is known at once",
        );
    }
    let url = said_url(spec);
    let (true, Some(region)) = (problems.len() == before, region) else {
        return (None, url);
    };
    let url = url.or_else(|| whose.map(|account| amazon::host(account, region)));
    let issuer = EcrIssuer {
        region: region.into(),
        account: said.map(Into::into),
        pull_role: spec.pull_role_arn.as_deref().map(|arn| PullRole {
            arn: arn.into(),
            external_id: spec.pull_role_external_id.as_deref().map(Into::into),
        }),
        repositories: spec
            .repositories
            .as_ref()
            .filter(|made| made.create)
            .map(|made| Repositories {
                immutable_tags: made.immutable_tags,
                tags: made.tags.clone(),
            }),
    };
    (Some(issuer), url)
}

fn google(spec: &RegistrySpec, problems: &mut Vec<Problem>) -> (GoogleIssuer, Option<String>) {
    let url_host = spec.url.as_deref().and_then(host_of);
    if let Some(hostname) = &spec.hostname {
        if let Some(problem) = hostname_problem(hostname, url_host.as_deref()) {
            problems
                .push(Problem::error("invalid-hostname", Path::root().key("hostname"), problem).hint(HOSTNAME_HINT));
        }
    } else if let Some(host) = url_host.filter(|host| !google::is_google_host(host)) {
        let message = format!("`{}` is no registry of Google's", host.escape_debug());
        problems.push(Problem::error("foreign-host", Path::root().key("url"), message).hint(GOOGLE_HOST_HINT));
    }
    if let Some(account) = &spec.pull_service_account
        && !google::is_account(account)
    {
        let message = format!("`{}` is no service account", account.escape_debug());
        problems.push(
            Problem::error(
                "invalid-service-account",
                Path::root().key("pullServiceAccount"),
                message,
            )
            .hint("it is an e-mail address: NAME@PROJECT.iam.gserviceaccount.com"),
        );
    }
    let url = said_url(spec);
    let issuer = GoogleIssuer {
        pull_service_account: spec.pull_service_account.as_deref().map(Into::into),
    };
    (issuer, Some(url.unwrap_or_else(|| google::DEFAULT_HOST.to_owned())))
}

/// The host of a URL, in lower case. None where it is no URL: what is wrong is said where URLs are read, and it may be a password in the wrong
/// place.
fn host_of(url: &str) -> Option<String> {
    Address::parse(Some(url)).ok().map(|(address, _)| address.host.into())
}

/// The URL that is said, be it by a hostname. What is wrong with that is said where it is read.
fn said_url(spec: &RegistrySpec) -> Option<String> {
    let usable = |hostname: &&String| hostname_problem(hostname, None).is_none();
    spec.url
        .clone()
        .or_else(|| spec.hostname.as_ref().filter(usable).cloned())
}

fn hostname_problem(hostname: &str, url_host: Option<&str>) -> Option<String> {
    if hostname.contains(['/', '@', '?', '#']) {
        // It may be a password in the wrong place.
        return Some("it has more in it than a host".to_owned());
    }
    let Some(host) = host_of(hostname).filter(|_| hostname.trim() == hostname) else {
        return Some(format!("`{}` is no host of a registry", hostname.escape_debug()));
    };
    if host == Address::docker_hub().host.as_ref() {
        return Some(format!("`{}` is Docker Hub", hostname.escape_debug()));
    }
    let other = url_host.filter(|other| *other != host)?;
    Some(format!("`url` has another host, `{}`", other.escape_debug()))
}

fn repositories_problem(made: &RepositoriesSpec) -> Option<String> {
    if made.tags.len() > 50 {
        return Some(format!("there are {} tags", made.tags.len()));
    }
    made.tags.iter().find_map(|(key, value)| {
        if key.is_empty() {
            Some("a tag has no key".to_owned())
        } else if key.chars().count() > 128 {
            Some("the key of a tag has more than 128 characters".to_owned())
        } else if key.to_ascii_lowercase().starts_with("aws:") {
            Some(format!("the tag `{}` is one of AWS's own", key.escape_debug()))
        } else if value.chars().count() > 256 {
            let key = key.escape_debug();
            Some(format!("the value of the tag `{key}` has more than 256 characters"))
        } else {
            None
        }
    })
}

/// The code of the problem that whose registry it is has not been asked yet, which passes by itself.
pub const UNKNOWN_ACCOUNT: &str = "account-unknown";

const HOSTNAME_HINT: &str =
    "it is the host that references begin with: registry.example.com; what is below it goes into `url`";

const ECR_HOST_HINT: &str = "they look like 123456789012.dkr.ecr.eu-central-1.amazonaws.com; where a name of your own or a proxy stands for one, \
                             say so by `hostname`";

const GOOGLE_HOST_HINT: &str = "those are gcr.io, us.gcr.io, eu.gcr.io, asia.gcr.io and LOCATION-docker.pkg.dev; where a name of your own or a \
                                proxy stands for one, say so by `hostname`";

#[cfg(test)]
mod tests;
