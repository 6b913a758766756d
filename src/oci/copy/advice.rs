//! What a target's refusal means, and the sentence that says what to do: registries tell a place that is not there, and a right that is
//! lacking, each in words of its own.

use super::trouble::{CopyError, Side};

/// What a registry is, as far as its host says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Amazon's.
    Ecr,
    /// Google's Artifact Registry, and its older Container Registry.
    Google,
    DockerHub,
    Quay,
    GitLab,
    GitHub,
    /// Any other; Harbor is known by what it says.
    Other,
}

impl Kind {
    /// Of a host, with its port or without.
    pub(super) fn of(host: &str) -> Self {
        let name = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let is_under = |domain: &str| {
            name.strip_suffix(domain)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let first = name.split('.').next().unwrap_or_default();
        if name.contains(".dkr.ecr.") || name.contains(".dkr-ecr.") {
            Self::Ecr
        } else if is_under("pkg.dev") || is_under("gcr.io") {
            Self::Google
        } else if is_under("docker.io") || is_under("docker.com") {
            Self::DockerHub
        } else if is_under("quay.io") || first == "quay" {
            Self::Quay
        } else if name == "registry.gitlab.com" || name.contains("gitlab") {
            Self::GitLab
        } else if is_under("ghcr.io") {
            Self::GitHub
        } else {
            Self::Other
        }
    }

    /// Whether an upload of which a part is there can go on. Amazon takes what follows, and drops it without a word
    /// (aws/containers-roadmap#2831).
    pub(super) fn resumes(self) -> bool {
        self != Self::Ecr
    }
}

/// The same error, with what it means of a target and what somebody can do about it.
pub(super) fn advised(error: CopyError, host: &str, repository: &str) -> CopyError {
    let kind = Kind::of(host);
    match error {
        CopyError::NoRepository { said, .. } => no_place(kind, host, repository, said),
        CopyError::Denied {
            side: Side::Target,
            said: Some(said),
            ..
        } if says_missing(&said) => no_place(kind, host, repository, Some(said)),
        CopyError::Denied {
            side: Side::Target,
            what,
            said,
            ..
        } => CopyError::Denied {
            side: Side::Target,
            what,
            advice: Some(right(kind, said.as_deref(), repository)),
            said,
        },
        other => other,
    }
}

/// Harbor says with 401 that there is no such project, and Google with 403 that there is no such repository.
fn says_missing(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    ["project", "repository", "repo ", "namespace"].iter().any(|thing| said.contains(thing))
        && ["not found", "does not exist", "doesn't exist"].iter().any(|lack| said.contains(lack))
        // Either is meant.
        && !said.contains("may not exist")
}

fn no_place(kind: Kind, host: &str, repository: &str, said: Option<String>) -> CopyError {
    CopyError::NoRepository {
        host: host.to_owned(),
        repository: repository.to_owned(),
        advice: creation(kind, host, repository, said.as_deref().unwrap_or_default()),
        said,
    }
}

/// What has to be made, and how.
fn creation(kind: Kind, host: &str, repository: &str, said: &str) -> String {
    let first = first(repository);
    match kind {
        Kind::Ecr => format!(
            "create the repository `{repository}` in ECR (`aws ecr create-repository --repository-name {repository}`), or have it made by the push: `repositories: {{create: true}}` at the registry"
        ),
        Kind::Google if host.contains("gcr.io") => {
            format!(
                "create the repository of {host} in Artifact Registry of the project `{first}`, which is made by the first push of somebody who may (artifactregistry.repositories.createOnPush)"
            )
        }
        Kind::Google => match google(host, repository) {
            Some((project, name, location)) => format!(
                "create the repository `{name}` in Artifact Registry (`gcloud artifacts repositories create {name} --repository-format=docker --location={location} --project={project}`)"
            ),
            None => format!(
                "a name there is PROJECT/REPOSITORY/IMAGE, and `{repository}` has fewer parts: give the registry an organization of PROJECT/REPOSITORY"
            ),
        },
        Kind::DockerHub => format!("create the organization `{first}` on Docker Hub, or push below one that there is"),
        Kind::Quay => format!("create the organization `{first}` in Quay, or push below one that there is"),
        Kind::GitLab => format!(
            "create the project in GitLab whose path `{repository}` begins with, and turn its container registry on"
        ),
        Kind::GitHub => format!("push below the name of a user or an organization of GitHub: there is no `{first}`"),
        Kind::Other if is_harbor(said) => {
            format!("create the project `{first}` in Harbor, or push below one that there is")
        }
        Kind::Other => format!(
            "create `{first}` there, the project or repository that `{repository}` begins with, or push below one that there is"
        ),
    }
}

/// What whoever pushes needs.
fn right(kind: Kind, said: Option<&str>, repository: &str) -> String {
    let first = first(repository);
    match kind {
        Kind::Ecr => "the identity needs the actions of AmazonEC2ContainerRegistryPowerUser for it".to_owned(),
        Kind::Google => {
            "the account needs the role roles/artifactregistry.writer for the repository, which has to be there"
                .to_owned()
        }
        Kind::DockerHub => format!(
            "the credential has to be of somebody who may write to `{first}` on Docker Hub, with an access token for reading and writing"
        ),
        Kind::Quay => format!(
            "the organization `{first}` has to be there, and the robot account needs the permission to create repositories in it, or to write to this one"
        ),
        Kind::GitLab => {
            "the project has to be there, and the token needs the scope write_registry and the role Developer"
                .to_owned()
        }
        Kind::GitHub => "the token needs the scope write:packages, and the right to write to this package".to_owned(),
        Kind::Other if said.is_some_and(is_harbor) => {
            format!(
                "the project `{first}` has to be there in Harbor, and the account needs the right to push to it (the role Developer, or a robot account with push)"
            )
        }
        Kind::Other => {
            "the credential has to be one that may push there: give the registry one as `push`, or the push its own"
                .to_owned()
        }
    }
}

/// Nobody else speaks of projects, or says it like that.
fn is_harbor(said: &str) -> bool {
    said.starts_with("project ") || said.starts_with("unauthorized to access repository")
}

fn first(repository: &str) -> &str {
    repository.split('/').next().unwrap_or(repository)
}

/// Project, repository and location of a name in Artifact Registry. A project of a domain has two parts: `example.com/project`.
fn google<'n>(host: &'n str, repository: &'n str) -> Option<(&'n str, &'n str, &'n str)> {
    let location = host.split('.').next()?.strip_suffix("-docker")?;
    let slash = match repository.split_once('/')? {
        (domain, rest) if domain.contains('.') => domain.len() + 1 + rest.find('/')?,
        (project, _) => project.len(),
    };
    let (name, image) = repository.get(slash + 1..)?.split_once('/')?;
    (!image.is_empty()).then_some((&repository[..slash], name, location))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(said: Option<&str>) -> CopyError {
        CopyError::Denied {
            side: Side::Target,
            what: "x".to_owned(),
            said: said.map(str::to_owned),
            advice: None,
        }
    }

    fn unknown(said: &str) -> CopyError {
        CopyError::NoRepository {
            host: String::new(),
            repository: String::new(),
            said: Some(said.to_owned()),
            advice: String::new(),
        }
    }

    #[test]
    fn a_missing_place_is_told_with_what_to_create_in_whatever_words_the_registry_says_it() {
        for (host, repository, error, expected) in [
            (
                "harbor.corp:8443",
                "mirror/docker.io/x",
                denied(Some("project mirror not found")),
                "create the project `mirror` in Harbor",
            ),
            (
                "harbor.corp",
                "mirror/x",
                unknown("project mirror not found"),
                "create the project `mirror` in Harbor",
            ),
            (
                "europe-docker.pkg.dev",
                "proj/repo/docker.io/x",
                unknown("Repository \"repo\" not found"),
                "gcloud artifacts repositories create repo --repository-format=docker --location=europe --project=proj`",
            ),
            (
                "us-west1-docker.pkg.dev",
                "corp.com/proj/repo/x",
                unknown("Repository \"repo\" not found"),
                "create repo --repository-format=docker --location=us-west1 --project=corp.com/proj`",
            ),
            (
                "us-docker.pkg.dev",
                "proj/x",
                unknown("Repository \"x\" not found"),
                "a name there is PROJECT/REPOSITORY/IMAGE",
            ),
            (
                "eu.gcr.io",
                "proj/x",
                denied(Some(
                    "gcr.io repo does not exist. Creating on push requires the artifactregistry.repositories.createOnPush permission",
                )),
                "of the project `proj`",
            ),
            (
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
                "mirror/docker.io/library/nginx",
                unknown(
                    "The repository with name 'mirror/docker.io/library/nginx' does not exist in the registry with id '123456789012'",
                ),
                "aws ecr create-repository --repository-name mirror/docker.io/library/nginx`",
            ),
            (
                "quay.io",
                "org/x",
                unknown("repository not found"),
                "create the organization `org` in Quay",
            ),
            (
                "registry.gitlab.com",
                "group/project/x",
                unknown("project not found"),
                "create the project in GitLab",
            ),
            (
                "docker.io",
                "org/x",
                unknown("repository not found"),
                "the organization `org` on Docker Hub",
            ),
            (
                "r.io",
                "org/x",
                unknown("repository name not known to registry"),
                "create `org` there",
            ),
        ] {
            let CopyError::NoRepository {
                host: of,
                repository: name,
                advice,
                ..
            } = advised(error, host, repository)
            else {
                panic!("{host}: it is no missing place");
            };
            assert!(advice.contains(expected), "{host}: {advice}");
            assert_eq!((&*of, &*name), (host, repository));
        }
    }

    #[test]
    fn a_right_that_is_lacking_is_told_with_what_gives_it() {
        for (host, said, expected) in [
            (
                "harbor.corp",
                Some("unauthorized to access repository: mirror/x, action: push"),
                "the project `mirror` has to be there in Harbor",
            ),
            (
                "europe-docker.pkg.dev",
                Some(
                    "Permission \"artifactregistry.repositories.uploadArtifacts\" denied on resource \"projects/p/locations/europe/repositories/r\" (or it may not exist)",
                ),
                "roles/artifactregistry.writer",
            ),
            (
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
                Some("User: x is not authorized to perform: ecr:InitiateLayerUpload"),
                "AmazonEC2ContainerRegistryPowerUser",
            ),
            (
                "registry-1.docker.io",
                Some("requested access to the resource is denied"),
                "may write to `mirror` on Docker Hub",
            ),
            (
                "quay.io",
                Some("access to the requested resource is not authorized"),
                "the organization `mirror` has to be there",
            ),
            ("gitlab.corp:5050", Some("access forbidden"), "write_registry"),
            ("ghcr.io", Some("permission_denied: write_package"), "write:packages"),
            (
                "r.io",
                Some("requested access to the resource is denied"),
                "may push there",
            ),
            ("r.io", None, "may push there"),
        ] {
            match advised(denied(said), host, "mirror/x") {
                CopyError::Denied {
                    advice: Some(advice), ..
                } => assert!(advice.contains(expected), "{host}: {advice}"),
                other => panic!("{host}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_source_is_told_as_it_is() {
        let denied = CopyError::Denied {
            side: Side::Source,
            what: "x".to_owned(),
            said: Some("project x not found".to_owned()),
            advice: None,
        };
        assert_eq!(advised(denied.clone(), "quay.io", "x"), denied);
    }
}
