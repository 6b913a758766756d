//! Registries: where images are pulled from and pushed to, under which names, by whom.
//!
//! [`RegistrySpec`] is what an admin says of one, by REST, as an object or as a Helm value; [`Registry::parse`] makes a [`Registry`] of
//! it or says everything that is wrong. A registry that exists is one that can be used; whether it answers is another matter.
//! Credentials are apart from it, in [`credential`]: a registry may be shown to anybody who may see it.

mod address;
pub mod amazon;
pub mod condition;
pub mod credential;
pub mod document;
pub mod google;
pub mod health;
mod issuer;
mod names;
pub mod renewal;
pub mod spec;

pub use self::{
    address::{Address, Endpoint, Host, MOST_TOKEN_HOSTS, Scheme},
    condition::{Condition, ConditionKind, Status},
    credential::{Credential, Credentials, Key, Keys, Login, Password},
    issuer::{EcrIssuer, GoogleIssuer, Issuer, PullRole, Repositories, UNKNOWN_ACCOUNT},
    names::Names,
    spec::{Location, NamesSpec, NamespacesSpec, RegistrySpec, RepositoriesSpec},
};
use crate::{
    document::{Path, Problem},
    policy::{Glob, LabelSelector, Labels},
    reference::Reference,
};

/// A registry as Waypost uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// By what rules, pushes and commands name it: a DNS label, which never changes.
    pub id: Box<str>,
    /// The name that people are shown.
    pub name: Box<str>,
    /// How credentials for it are come by.
    pub location: Location,
    /// Who issues its tokens, where somebody does.
    pub issuer: Option<Issuer>,
    /// What references to its images begin with.
    pub address: Address,
    /// Where Waypost itself reaches it.
    pub endpoint: Endpoint,
    /// Hosts besides its own that its credentials may be sent to for tokens: in lower case, each with its port if only that one is meant.
    pub token_hosts: Vec<Box<str>>,
    /// Under which names images are in it.
    pub names: Names,
    /// Whose Pods may pull from it.
    pub namespaces: Admitted,
}

/// The namespaces whose Pods may use a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admitted {
    /// By name; `*` stands for any characters. None: whatever the name.
    pub names: Option<Vec<Glob>>,
    /// By label. None: whatever the labels. Both must hold where both are given.
    pub selector: Option<LabelSelector>,
}

impl Registry {
    /// Understands what was written. `id` must be a DNS label: see [`id_problem`].
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, each with the path of the key in the object's `spec`. Where it is the ECR registry of an account
    /// that nobody has asked for yet, that is an error, too ([`UNKNOWN_ACCOUNT`]).
    pub fn parse(id: &str, spec: &RegistrySpec) -> Result<Self, Vec<Problem>> {
        Self::parse_of(id, spec, None)
    }

    /// Whether it could be a registry, once it is known whose account's it is.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, as [`Registry::parse`] has it.
    pub fn check(id: &str, spec: &RegistrySpec) -> Result<(), Vec<Problem>> {
        Self::unasked(id, spec).map(drop)
    }

    /// The registry for whoever has its tokens issued, to whom it needs not be known whose it is: where nobody has asked, the account in its
    /// address is nobody's.
    ///
    /// # Errors
    ///
    /// As [`Registry::check`].
    pub fn unasked(id: &str, spec: &RegistrySpec) -> Result<Self, Vec<Problem>> {
        Self::parse_of(id, spec, Some(ANY_ACCOUNT))
    }

    /// The same as [`Registry::parse`] where ECR has said whose `account` it is. What is written goes before that.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn parse_of(id: &str, spec: &RegistrySpec, account: Option<&str>) -> Result<Self, Vec<Problem>> {
        let RegistrySpec {
            display_name,
            location,
            // These are the issuer's.
            url: _,
            region: _,
            registry_id: _,
            hostname: _,
            pull_role_arn: _,
            pull_role_external_id: _,
            pull_service_account: _,
            repositories: _,
            endpoint,
            plain_http,
            ca_bundle,
            token_hosts,
            names,
            namespaces,
            pull_credential: _,
            push_credential: _,
            notification_token: _,
        } = spec;
        let mut problems = Vec::new();
        let (issuer, url) = issuer::parse(spec, account, &mut problems);
        let (address, scheme) = match Address::parse(url.as_deref()) {
            Ok(address) => address,
            Err(problem) => {
                problems.push(problem);
                (Address::docker_hub(), None)
            }
        };
        let endpoint = Endpoint::parse(&address, scheme, endpoint.as_deref(), *plain_http, ca_bundle.as_deref());
        let endpoint = endpoint.unwrap_or_else(|problem| {
            problems.push(problem);
            Endpoint::default_of(&address)
        });
        let token_hosts = address::token_hosts(token_hosts, &mut problems);
        let names = Names::parse(&address, names.as_ref()).unwrap_or_else(|problem| {
            problems.push(problem);
            Names::everything(&Address::docker_hub())
        });
        let namespaces = Admitted::parse(namespaces.as_ref(), &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            id: id.into(),
            name: display_name.as_deref().unwrap_or(id).into(),
            location: *location,
            issuer,
            address,
            endpoint,
            token_hosts,
            names,
            namespaces,
        })
    }

    /// Whether the image lies in it, by whole segments: a registry of the organization `team` is not over `teams/app`.
    pub fn is_over(&self, image: &Reference<'_>) -> bool {
        self.address.is_over(image)
    }
}

impl Admitted {
    fn parse(spec: Option<&NamespacesSpec>, problems: &mut Vec<Problem>) -> Self {
        let Some(NamespacesSpec { names, selector }) = spec else {
            return Self::default();
        };
        let path = Path::root().key("namespaces");
        if let Some(names) = names {
            if names.is_empty() {
                problems.push(
                    Problem::error(
                        "no-namespaces",
                        path.clone().key("names"),
                        "an empty list admits no namespace",
                    )
                    .hint("leave it out to admit all"),
                );
            }
            for (index, name) in names.iter().enumerate() {
                let plain =
                    |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'*');
                if name.is_empty() || name.len() > 63 || !name.bytes().all(plain) {
                    problems.push(
                        Problem::error(
                            "invalid-namespace",
                            path.clone().key("names").index(index),
                            format!("no namespace can match `{}`", name.escape_debug()),
                        )
                        .hint("a namespace has lower-case letters, digits and `-`; `*` stands for any of them"),
                    );
                }
            }
        }
        for (below, message, hint) in selector.iter().flat_map(LabelSelector::problems) {
            let at = below
                .into_iter()
                .fold(path.clone().key("selector"), |path, key| path.key(key));
            problems.push(Problem::error("invalid-selector", at, message).hint(hint));
        }
        Self {
            names: names
                .as_ref()
                .map(|names| names.iter().map(|name| Glob::new(name)).collect()),
            selector: selector.clone(),
        }
    }

    /// Whether the Pods of every namespace may use it, whatever their labels.
    pub fn admits_all(&self) -> bool {
        let all = |globs: &Vec<Glob>| globs.contains(&Glob::new("*"));
        self.selector.is_none() && self.names.as_ref().is_none_or(all)
    }

    /// Whether the Pods of this namespace may use it.
    pub fn admits(&self, namespace: &str, labels: &dyn Labels) -> bool {
        self.names
            .as_ref()
            .is_none_or(|globs| globs.iter().any(|glob| glob.matches(namespace)))
            && self.selector.as_ref().is_none_or(|selector| selector.selects(labels))
    }
}

/// What is wrong with an id, if anything: it is a DNS label (RFC 1123), for it is an object's name and stands in metrics. So are the
/// names of rules, namespaces and Services.
pub fn id_problem(id: &str) -> Option<&'static str> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if id.is_empty() {
        Some("it is empty")
    } else if id.len() > MOST_ID_BYTES {
        Some("it has more than 63 characters")
    } else if !id.bytes().all(inner) {
        Some("it has characters other than lower-case letters, digits and `-`")
    } else if id.starts_with('-') || id.ends_with('-') {
        Some("it begins or ends with `-`")
    } else {
        None
    }
}

/// The id that a display name gives: `CERN Registry (prod)` is `cern-registry-prod`. None where nothing of it can stay.
pub fn id_of(name: &str) -> Option<String> {
    let mut id = String::with_capacity(name.len());
    for char in name.chars().flat_map(char::to_lowercase) {
        if char.is_ascii_lowercase() || char.is_ascii_digit() {
            id.push(char);
        } else if !id.is_empty() && !id.ends_with('-') {
            id.push('-');
        }
    }
    id.truncate(MOST_ID_BYTES);
    let id = id.trim_end_matches('-');
    (!id.is_empty()).then(|| id.to_owned())
}

const MOST_ID_BYTES: usize = 63;

/// Of nobody: stands for whichever it will be.
pub(crate) const ANY_ACCOUNT: &str = "000000000000";

#[cfg(test)]
mod tests;
