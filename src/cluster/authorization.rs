//! Who may do what by REST, as the API server says: whose token it is (TokenReview), and what RBAC lets them do with the objects
//! `registries.waypost.dev` and `pushes.waypost.dev` (SubjectAccessReview). Whoever may do it with `kubectl` may do it by REST; the verb `push` on a
//! registry is for REST alone: it is not the right to write records of any image anywhere.
//!
//! It takes the right to create both kinds of reviews: the ClusterRole `system:auth-delegator` has it, and nothing else.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::Semaphore, time::timeout};

use super::explain;
use crate::{
    authorization::{Access, Authorizer, Resource, Verb, Verdict},
    registry::Password,
};

/// Asks the API server.
pub struct Reviews {
    client: Client,
    /// So that whoever guesses tokens does not make the API server work any harder.
    asking: Arc<Semaphore>,
}

impl Reviews {
    /// One that asks as this client.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            asking: Arc::new(Semaphore::new(MOST_AT_ONCE)),
        }
    }

    async fn verdict(&self, token: &Password, access: Option<Access<'_>>) -> Result<Verdict, String> {
        // It is never closed.
        let _asks = self.asking.acquire().await;
        let Some(user) = self.user(token).await? else {
            return Ok(Verdict::Unauthenticated);
        };
        let name = user.username.clone().unwrap_or_default();
        let Some(access) = access else {
            return Ok(Verdict::Allowed(name));
        };
        let review = self.ask(&access_review(user, access)).await?;
        let status = review.status.unwrap_or_default();
        if status.allowed {
            return Ok(Verdict::Allowed(name));
        }
        if let Some(error) = status.evaluation_error.filter(|_| status.reason.is_none()) {
            return Err(format!("the API server cannot tell who may do what: {error}"));
        }
        Ok(Verdict::Forbidden {
            why: format!("{} may not {}", name.escape_debug(), missing(access)),
            user: name,
        })
    }

    /// Whose token it is; none where it is nobody's.
    async fn user(&self, token: &Password) -> Result<Option<UserInfo>, String> {
        // The API server takes that for a mistake in the question.
        if token.expose().is_empty() {
            return Ok(None);
        }
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.expose().to_owned()),
                ..TokenReviewSpec::default()
            },
            ..TokenReview::default()
        };
        let status = self.ask(&review).await?.status.unwrap_or_default();
        // `error` says why a token is nobody's, too: one that has expired, one that is of another cluster.
        let known = status.authenticated == Some(true);
        let user = status
            .user
            .filter(|user| user.username.as_deref().is_some_and(|name| !name.is_empty()));
        Ok(user.filter(|_| known))
    }

    async fn ask<K>(&self, review: &K) -> Result<K, String>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::ClusterResourceScope>,
        K: Clone + Serialize + DeserializeOwned + std::fmt::Debug,
    {
        let api: Api<K> = Api::all(self.client.clone());
        match timeout(DEADLINE, api.create(&PostParams::default(), review)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                let hint = match &error {
                    kube::Error::Api(status) if status.code == 403 => {
                        "; bind the ClusterRole system:auth-delegator to Waypost's ServiceAccount"
                    }
                    _ => "",
                };
                Err(format!("{}{hint}", explain(&error)))
            }
            Err(_) => Err(format!(
                "the API server has not answered within {} s",
                DEADLINE.as_secs()
            )),
        }
    }
}

impl Authorizer for Reviews {
    fn authorize<'a>(&'a self, token: &'a Password, access: Option<Access<'a>>) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let verdict = timeout(PATIENCE, self.verdict(token, access)).await;
            match verdict {
                Ok(Ok(verdict)) => verdict,
                Ok(Err(why)) => Verdict::Unavailable(why),
                Err(_) => Verdict::Unavailable("too much is asked of the API server at once".to_owned()),
            }
        })
    }
}

/// What somebody may not do, and which right lets him.
fn missing(access: Access<'_>) -> String {
    let (verb, resource) = (access.verb.as_str(), access.resource.as_str());
    let what = match (access.resource, access.name) {
        (Resource::Registries, Some(id)) if access.verb == Verb::Push => {
            format!("to the registry `{}`", id.escape_debug())
        }
        (Resource::Registries, Some(id)) => format!("the registry `{}`", id.escape_debug()),
        (Resource::Pushes, Some(id)) => format!("the push `{}`", id.escape_debug()),
        (_, None) => resource.to_owned(),
    };
    // Somebody may have put anything into a path. What is in a command is copied into a shell.
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let name = access.name.filter(|name| name.bytes().all(plain));
    let only = name.map_or_else(String::new, |name| format!(" --resource-name={name}"));
    format!(
        "{verb} {what}: it takes the verb `{verb}` on `{resource}` of the group {GROUP}, by a ClusterRole, as of `kubectl create clusterrole \
         NAME --verb={verb} --resource={resource}.{GROUP}{only}`, that `kubectl create clusterrolebinding` gives"
    )
}

fn access_review(user: UserInfo, access: Access<'_>) -> SubjectAccessReview {
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(GROUP.to_owned()),
                resource: Some(access.resource.as_str().to_owned()),
                verb: Some(access.verb.as_str().to_owned()),
                name: access.name.map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            user: user.username,
            groups: user.groups,
            uid: user.uid,
            extra: user.extra,
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}

const GROUP: &str = "waypost.dev";
const MOST_AT_ONCE: usize = 16;
/// A review is answered within milliseconds, unless a webhook of the cluster's own is asked.
const DEADLINE: Duration = Duration::from_secs(5);
/// Both reviews, and waiting for a turn.
const PATIENCE: Duration = Duration::from_secs(12);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::testing::{Answer, Server, status};

    async fn verdict(answers: impl IntoIterator<Item = Answer>) -> Verdict {
        let server = Server::default();
        server.will(answers);
        let access = Access {
            verb: Verb::Update,
            resource: Resource::Registries,
            name: Some("corp"),
        };
        let token = Password::new("hunter2".to_owned());
        let verdict = Reviews::new(server.client()).authorize(&token, Some(access)).await;
        assert!(!format!("{verdict:?}").contains("hunter2"), "{verdict:?}");
        verdict
    }

    fn review(status: Value) -> Answer {
        Answer::Json(201, json!({"spec": {}, "status": status}))
    }

    fn known() -> Answer {
        review(json!({"authenticated": true, "user": {"username": "jane", "groups": ["a"]}}))
    }

    #[tokio::test]
    async fn what_the_api_server_says_is_told_apart() {
        assert_eq!(
            verdict([known(), review(json!({"allowed": true}))]).await,
            Verdict::Allowed("jane".to_owned())
        );
        for nobody in [
            json!({"authenticated": false, "error": "invalid bearer token"}),
            json!({}),
            json!({"authenticated": true, "user": {}}),
            json!({"user": {"username": "jane"}}),
        ] {
            assert_eq!(verdict([review(nobody)]).await, Verdict::Unauthenticated);
        }
        for refused in [
            json!({"allowed": false}),
            json!({"allowed": false, "denied": true, "reason": "no"}),
        ] {
            let Verdict::Forbidden { user, why } = verdict([known(), review(refused)]).await else {
                panic!()
            };
            assert_eq!(user, "jane");
            assert_eq!(
                why,
                "jane may not update the registry `corp`: it takes the verb `update` on `registries` of the group waypost.dev, by a \
                 ClusterRole, as of `kubectl create clusterrole NAME --verb=update --resource=registries.waypost.dev --resource-name=corp`, \
                 that `kubectl create clusterrolebinding` gives"
            );
        }
    }

    #[test]
    fn what_is_asked_of_the_api_server_is_said_where_it_is_refused() {
        let id = "corp.00112233445566778899aabbccddeeff";
        for (verb, resource, name, what, command) in [
            (
                Verb::Push,
                Resource::Registries,
                Some("corp"),
                "push to the registry `corp`",
                "--verb=push --resource=registries.waypost.dev --resource-name=corp`",
            ),
            (
                Verb::List,
                Resource::Pushes,
                None,
                "list pushes",
                "--verb=list --resource=pushes.waypost.dev`",
            ),
            (
                Verb::Get,
                Resource::Pushes,
                Some(id),
                "get the push `corp.00112233445566778899aabbccddeeff`",
                "--resource=pushes.waypost.dev --resource-name=corp.00112233445566778899aabbccddeeff`",
            ),
            (
                Verb::Get,
                Resource::Registries,
                Some("a`; rm -rf\n"),
                "get the registry `a`; rm -rf\\n`",
                "--verb=get --resource=registries.waypost.dev`",
            ),
        ] {
            let access = Access { verb, resource, name };
            let said = missing(access);
            assert!(said.starts_with(&format!("{what}: ")), "{said}");
            assert!(said.contains(command), "{said}");
            let asked = access_review(UserInfo::default(), access)
                .spec
                .resource_attributes
                .unwrap();
            assert_eq!(
                (asked.verb.as_deref(), asked.resource.as_deref(), asked.name.as_deref()),
                (Some(verb.as_str()), Some(resource.as_str()), name)
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_does_not_say_is_no_refusal() {
        let undecided = json!({"allowed": false, "evaluationError": "the webhook is away"});
        for (answers, begin) in [
            (vec![Answer::Refused], "the API server cannot be reached"),
            (
                vec![Answer::Json(500, status(500, "etcd"))],
                "the API server answers 500: etcd",
            ),
            (
                vec![Answer::Json(401, status(401, "who?"))],
                "the API server does not accept the credentials",
            ),
            (
                vec![Answer::Json(403, status(403, "tokenreviews is forbidden"))],
                "the API server refuses it (403): tokenreviews is forbidden; bind the ClusterRole system:auth-delegator",
            ),
            (
                vec![known(), Answer::Json(503, status(503, "busy"))],
                "the API server answers 503: busy",
            ),
            (
                vec![known(), review(undecided)],
                "the API server cannot tell who may do what: the webhook is away",
            ),
        ] {
            let Verdict::Unavailable(why) = verdict(answers).await else {
                panic!("{begin}")
            };
            assert!(why.starts_with(begin), "{why}");
        }
    }
}
