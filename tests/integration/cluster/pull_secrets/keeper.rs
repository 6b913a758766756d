//! What the chart puts around the pull secrets, and whoever keeps them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use waypost::app::PullSecrets;
use waypost::cluster::Access;
use waypost::http::health::Health;
use waypost::metrics::ControllerMetrics;
use waypost::registry::{Credential, Login, Password};
use waypost::store::{Change, Draft, Embedded, Issuance, Store, Token};

use crate::support::cluster::case::{CASE, Case, path};
use crate::support::cluster::kubernetes::Kubernetes;
use crate::support::eventually;
use crate::support::helm::helm;
use crate::support::program::Directory;

/// A release for one test, whose Secrets have a name of their own, and a store.
pub(super) struct Chart<'a> {
    case: &'a Case<'a>,
    /// The Secrets' name.
    pub(super) secret: String,
    /// Whose they are, too.
    pub(super) release: String,
    store: Embedded,
    runtime: Runtime,
    directory: Directory,
}

/// One process's worth.
pub(super) struct Keeper {
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
    metrics: Arc<ControllerMetrics>,
    health: Health,
}

impl<'a> Chart<'a> {
    /// Nothing of it is in the cluster yet.
    pub(super) fn new(case: &'a Case<'a>) -> Self {
        Self {
            case,
            secret: format!("pull-{}", case.namespace),
            release: format!("waypost-{}", case.namespace),
            store: Embedded::in_memory().unwrap(),
            runtime: Runtime::new().unwrap(),
            directory: Directory::new(),
        }
    }

    pub(super) fn install(case: &'a Case<'a>) -> Self {
        let chart = Self::new(case);
        chart.apply();
        chart
    }

    /// What of the chart concerns pull secrets.
    pub(super) fn apply(&self) {
        self.case
            .kubectl_with(&["apply", "--filename=-"], &self.rendered())
            .exits(0);
        self.kubeconfig();
    }

    fn rendered(&self) -> String {
        let rendered = helm(&[
            "template",
            &self.release,
            concat!(env!("CARGO_MANIFEST_DIR"), "/charts/waypost"),
            "--namespace",
            &self.case.namespace,
            "--set",
            &format!("pull.secret={}", self.secret),
            "--set",
            &format!(
                "webhook.namespaceSelector.matchLabels.{}={}",
                CASE.replace('.', "\\."),
                self.case.namespace
            ),
        ])
        .exits(0);
        let mut wanted = String::new();
        for document in rendered.out().split("\n---\n") {
            let kind = document.lines().find_map(|line| line.strip_prefix("kind: "));
            let of_controller = document.contains(&format!("name: {}-controller\n", self.release));
            let wants = match kind {
                Some(
                    "ValidatingAdmissionPolicy" | "ValidatingAdmissionPolicyBinding" | "MutatingWebhookConfiguration",
                ) => true,
                Some("ServiceAccount" | "ClusterRole" | "ClusterRoleBinding") => of_controller,
                _ => false,
            };
            if wants {
                wanted += &format!("---\n{document}\n");
            }
        }
        wanted
    }

    /// The controller's.
    fn kubeconfig(&self) {
        let case = self.case;
        let request = json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}});
        let path = format!("{}/{}-controller/token", case.path("serviceaccounts"), self.release);
        let token = case.admin.post(&path, &request).unwrap()["status"]["token"].clone();
        let mut kubeconfig = case
            .kubectl(&["config", "view", "--raw", "--minify", "--output=json"])
            .exits(0)
            .json();
        kubeconfig["users"][0]["user"] = json!({ "token": token });
        self.directory.write("kubeconfig", kubeconfig.to_string());
    }

    /// Its ServiceAccount.
    pub(super) fn controller(&self) -> Kubernetes {
        Kubernetes::admin(&self.directory.path().join("kubeconfig"))
    }

    /// Puts a registry into the store, or another content of it.
    pub(super) fn register(&self, id: &str, url: &str, namespaces: Value, password: &str) {
        let login = Login {
            username: "u".to_owned(),
            password: Password::new(password.to_owned()),
        };
        let draft = draft(url, &namespaces, Change::Set(Credential::Login(login)));
        self.runtime.block_on(async {
            if self.store.registry(id).await.unwrap().is_some() {
                self.store.replace(id, draft, None).await.unwrap();
            } else {
                self.store.create(id, draft).await.unwrap();
            }
        });
    }

    /// Puts a registry of ECR into the store where there is none of the id, and a token for it in the place of the one before.
    pub(super) fn issue(&self, id: &str, account: &str, text: &str) {
        let spec = json!({"location": "ecr", "region": "eu-central-1", "registryId": account});
        let draft = Draft {
            spec: serde_json::from_value(spec).unwrap(),
            pull: Change::Keep,
            push: Change::Keep,
            notify: Change::Keep,
        };
        let token = Token {
            login: Login {
                username: "AWS".to_owned(),
                password: Password::new(text.to_owned()),
            },
            issuance: Issuance {
                issued_at: "2026-11-21T10:00:00Z".parse().unwrap(),
                expires_at: "2026-11-21T22:00:00Z".parse().unwrap(),
                account: None,
                place: Issuance::place(&draft.spec),
                origin: Issuance::origin(&draft.spec, None),
            },
        };
        self.runtime.block_on(async {
            if self.store.registry(id).await.unwrap().is_none() {
                self.store.create(id, draft).await.unwrap();
            }
            self.store.issued(id, token).await.unwrap();
        });
    }

    /// Takes its credential away.
    pub(super) fn clear(&self, id: &str, url: &str) {
        let draft = draft(url, &Value::Null, Change::Clear);
        self.runtime.block_on(self.store.replace(id, draft, None)).unwrap();
    }

    pub(super) fn delete(&self, id: &str) {
        self.runtime.block_on(self.store.delete(id, None)).unwrap();
    }

    /// Keeps them until it is dropped, as the controller.
    pub(super) fn keep(&self) -> Keeper {
        let (metrics, health) = (Arc::new(ControllerMetrics::new()), Health::default());
        let secrets = PullSecrets {
            access: Access::Kubeconfig(self.directory.path().join("kubeconfig")),
            name: self.secret.clone(),
            keeper: self.release.clone(),
            webhook_configuration: Some(self.release.clone()),
            store: Arc::new(self.store.clone()),
            instance: "test".to_owned(),
            metrics: metrics.common().pull_secrets(),
            check: health.add("pull-secrets", "they have not been looked at yet"),
        };
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                tokio::select! {
                    _ = secrets.keep() => {}
                    () = stopped.notified() => {}
                }
            });
        });
        Keeper {
            stop,
            thread: Some(thread),
            metrics,
            health,
        }
    }

    /// That of a namespace.
    pub(super) fn path(&self, namespace: &str) -> String {
        path(namespace, &format!("secrets/{}", self.secret))
    }

    /// Waits until that of a namespace has these passwords, by key, and no others; answers it.
    #[track_caller]
    pub(super) fn has(&self, namespace: &str, expected: &[(&str, &str)]) -> Value {
        let expected: BTreeMap<_, _> = expected
            .iter()
            .map(|(key, password)| ((*key).to_owned(), (*password).to_owned()))
            .collect();
        eventually(&format!("{namespace} has {expected:?}"), || {
            let secret = self.case.admin.get(&self.path(namespace)).ok()?;
            (auths(&secret) == expected).then_some(secret)
        })
    }

    /// Waits until there is none.
    #[track_caller]
    pub(super) fn has_none(&self, namespace: &str) {
        eventually(&format!("{namespace} has none"), || {
            let refused = self.case.admin.get(&self.path(namespace)).err()?;
            (refused.code == 404).then_some(())
        });
    }
}

impl Drop for Chart<'_> {
    fn drop(&mut self) {
        self.case.kubectl_with(
            &["delete", "--ignore-not-found", "--wait=false", "--filename=-"],
            &self.rendered(),
        );
    }
}

impl Keeper {
    pub(super) fn metric(&self, name: &str) -> f64 {
        let text = self.metrics.common().render().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .trim()
            .parse()
            .unwrap()
    }

    pub(super) fn health(&self) -> String {
        let report = self.health.report();
        report.text
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop.notify_one();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(
            matches!(ended, Some(Ok(()))) || std::thread::panicking(),
            "the keeper panicked"
        );
    }
}

/// The passwords of a Secret, by key.
pub(super) fn auths(secret: &Value) -> BTreeMap<String, String> {
    let content = secret["data"][".dockerconfigjson"].as_str().unwrap_or_default();
    let content = STANDARD.decode(content).unwrap_or_default();
    let config: Value = serde_json::from_slice(&content).unwrap_or_default();
    let auths = config["auths"].as_object().cloned().unwrap_or_default().into_iter();
    auths
        .map(|(key, entry)| (key, entry["password"].as_str().unwrap_or_default().to_owned()))
        .collect()
}

fn draft(url: &str, namespaces: &Value, pull: Change) -> Draft {
    Draft {
        spec: serde_json::from_value(json!({"url": url, "namespaces": namespaces})).unwrap(),
        pull,
        push: Change::Keep,
        notify: Change::Keep,
    }
}
