//! A client of the API server that speaks raw JSON: nothing is lost on the way because a library does not know it.

use std::path::Path;

use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::super::PATIENCE;

/// A user of the API server.
pub(crate) struct Kubernetes {
    runtime: Runtime,
    client: kube::Client,
}

/// An answer other than success: the `Status` object.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) code: u16,
    pub(crate) message: String,
}

impl Kubernetes {
    /// The user of a kubeconfig.
    pub(crate) fn admin(kubeconfig: &Path) -> Self {
        Self::new(kubeconfig, None)
    }

    fn new(kubeconfig: &Path, token: Option<String>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let client = runtime.block_on(async {
            let mut kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
            if let Some(token) = token {
                for user in &mut kubeconfig.auth_infos {
                    user.auth_info = Some(kube::config::AuthInfo {
                        token: Some(token.clone().into()),
                        ..Default::default()
                    });
                }
            }
            let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .unwrap();
            config.read_timeout = Some(PATIENCE);
            kube::Client::try_from(config).unwrap()
        });
        Self { runtime, client }
    }

    /// A ServiceAccount, which is made here, with its own token and no rights but those given to it.
    pub(crate) fn service_account(&self, kubeconfig: &Path, namespace: &str, name: &str) -> Self {
        let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        self.post(&accounts, &json!({"metadata": {"name": name}})).unwrap();
        let token = self
            .post(
                &format!("{accounts}/{name}/token"),
                &json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}}),
            )
            .unwrap();
        Self::new(kubeconfig, token["status"]["token"].as_str().map(str::to_owned))
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value, Refused> {
        self.send("GET", path, "application/json", None)
    }

    pub(crate) fn post(&self, path: &str, object: &Value) -> Result<Value, Refused> {
        self.send("POST", path, "application/json", Some(object))
    }

    /// A merge patch (RFC 7396).
    pub(crate) fn patch(&self, path: &str, patch: &Value) -> Result<Value, Refused> {
        self.send("PATCH", path, "application/merge-patch+json", Some(patch))
    }

    /// Server-side apply, forced.
    pub(crate) fn apply(&self, path: &str, object: &Value) -> Result<Value, Refused> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}fieldManager=test&force=true");
        self.send("PATCH", &path, "application/apply-patch+yaml", Some(object))
    }

    pub(crate) fn delete(&self, path: &str) -> Result<Value, Refused> {
        self.send("DELETE", path, "application/json", None)
    }

    fn send(&self, method: &str, path: &str, media_type: &str, object: Option<&Value>) -> Result<Value, Refused> {
        self.runtime
            .block_on(send(self.client.clone(), method, path, media_type, object))
    }

    /// Does things at the same time; the answers are in their order.
    pub(crate) fn concurrently<F>(&self, tasks: impl IntoIterator<Item = F>) -> Vec<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.runtime.block_on(async {
            let started: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
            let mut answers = Vec::with_capacity(started.len());
            for task in started {
                answers.push(task.await.unwrap());
            }
            answers
        })
    }

    /// For [`concurrently`](Self::concurrently).
    pub(crate) fn client(&self) -> kube::Client {
        self.client.clone()
    }
}

/// One request.
pub(crate) async fn send(
    client: kube::Client,
    method: &str,
    path: &str,
    media_type: &str,
    object: Option<&Value>,
) -> Result<Value, Refused> {
    let body = object.map_or_else(Body::empty, |object| Body::from(object.to_string().into_bytes()));
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", media_type)
        .body(body)
        .unwrap();
    let response = client.send(request).await.map_err(|error| Refused {
        code: 0,
        message: format!("{method} {path}: {error:?}"),
    })?;
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status.is_success() {
        return Ok(answer);
    }
    let message = answer["message"]
        .as_str()
        .map_or_else(|| String::from_utf8_lossy(&body).into_owned(), str::to_owned);
    Err(Refused {
        code: status.as_u16(),
        message,
    })
}
