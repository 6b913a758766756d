//! Who may use the REST API, as a real API server says.

use std::sync::Arc;

use axum::{Router, body::Body, http::Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use waypost::{
    authorization::{Access, Authorizer, Resource, Verb, Verdict},
    cluster::{Access as Cluster, authorization::Reviews},
    http::api::{self, ApiState, Limits, Need, Usage},
    registry::Password,
    store::Embedded,
};

use super::{on_control_plane, registries::on_a_cluster_with_registries};
use crate::support::{cluster::case::Case, eventually};

#[test]
fn who_may_do_it_with_kubectl_may_do_it_by_rest() {
    on_control_plane("api-access", |case| {
        let asked = Asked::new(case);
        let (nobody, reader, editor, one) = (
            account(case, "nobody"),
            account(case, "reader"),
            account(case, "editor"),
            account(case, "one"),
        );
        bind(case, "reader", &json!({"verbs": ["get", "list"]}));
        bind(case, "editor", &json!({"verbs": ["*"]}));
        bind(
            case,
            "one",
            &json!({"verbs": ["get", "update"], "resourceNames": ["corp"]}),
        );
        // RBAC is known to the API server a moment later.
        eventually("the rights", || {
            let known = [&reader, &editor].map(|token| asked.may(token, Verb::List, None));
            let one = asked.may(&one, Verb::Update, Some("corp"));
            (known.iter().all(is_allowed) && is_allowed(&one)).then_some(())
        });
        for (token, allowed) in [
            (&nobody, vec![]),
            (&reader, vec![Verb::Get, Verb::List]),
            (&editor, Verb::ALL.to_vec()),
            (&one, vec![Verb::Get, Verb::Update]),
        ] {
            for verb in Verb::ALL {
                let verdict = asked.may(token, verb, Some("corp"));
                assert_eq!(is_allowed(&verdict), allowed.contains(&verb), "{verb:?}: {verdict:?}");
            }
            // To be somebody is enough to be told that there is nothing at a path.
            assert!(is_allowed(&asked.verdict(token, None)));
        }
        let Verdict::Forbidden { user, why } = asked.may(&one, Verb::Update, Some("another")) else {
            panic!("it is for one registry")
        };
        assert_eq!(user, format!("system:serviceaccount:{}:one", case.namespace));
        assert!(why.contains("may not update the registry `another`"), "{why}");
    });
}

#[test]
fn a_token_that_is_nobodys_is_told_from_one_that_cannot_be_looked_up() {
    on_control_plane("api-tokens", |case| {
        let asked = Asked::new(case);
        let token = account(case, "jane");
        assert!(is_allowed(&asked.verdict(&token, None)));
        // The last characters of a signature may have bits that do not count.
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let forged = format!(
            "{signed}.{}{}",
            if signature.starts_with('A') { 'B' } else { 'A' },
            &signature[1..]
        );
        for wrong in ["", "x", &forged] {
            assert_eq!(asked.verdict(wrong, None), Verdict::Unauthenticated, "{wrong}");
        }
        // Somebody who may not ask.
        let powerless = Asked::of(case, &account(case, "powerless"));
        let Verdict::Unavailable(why) = powerless.verdict(&token, None) else {
            panic!("it has no rights")
        };
        assert!(why.contains("bind the ClusterRole system:auth-delegator"), "{why}");
        // What the ClusterRole is for.
        let binding = json!({
            "metadata": {"name": format!("{}-delegator", case.namespace)},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator"},
            "subjects": [{"kind": "ServiceAccount", "name": "powerless", "namespace": case.namespace}],
        });
        case.admin.post(BINDINGS, &binding).unwrap();
        eventually("the right to ask", || {
            is_allowed(&powerless.verdict(&token, None)).then_some(())
        });
        case.admin
            .delete(&format!("{BINDINGS}/{}-delegator", case.namespace))
            .unwrap();
    });
}

#[test]
fn who_may_push_to_a_registry_reports_it_and_who_may_not_is_told_which_right_it_takes() {
    on_a_cluster_with_registries("reports", |case| {
        let rest = Rest::new(case);
        let [admin, ci, other, nobody] = ["admin", "ci", "other", "nobody"].map(|name| account(case, name));
        bind(case, "admin", &json!({"verbs": ["create"]}));
        bind(case, "other", &json!({"verbs": ["push"], "resourceNames": ["lab"]}));
        for id in ["corp", "lab"] {
            let body = json!({"name": id, "registry_url": format!("{id}.io")});
            eventually("the right to register", || {
                (rest.ask(&admin, "POST", "/v1/registries", &body).0 == 201).then_some(())
            });
        }
        let report = |token: &str, registry: &str| {
            let body = json!({"image": "alpine", "registry_id": registry, "state": "FAILED"});
            rest.ask(token, "POST", "/v1/pushes", &body)
        };
        eventually("the right to push to another", || {
            (report(&other, "lab").0 == 201).then_some(())
        });
        for token in [&ci, &other, &nobody, &admin] {
            assert_eq!(report(token, "corp").0, 403);
        }
        // What it says is what helps.
        let (_, refused) = report(&ci, "corp");
        let said = refused["detail"].as_str().unwrap();
        let command = said
            .split('`')
            .find(|part| part.starts_with("kubectl create clusterrole "))
            .unwrap();
        let role = format!("{}-pusher", case.namespace);
        let command = command.replace("NAME", &role);
        case.kubectl(&command.split(' ').skip(1).collect::<Vec<_>>()).exits(0);
        let account = format!("--serviceaccount={}:ci", case.namespace);
        case.kubectl(&[
            "create",
            "clusterrolebinding",
            &role,
            &format!("--clusterrole={role}"),
            &account,
        ])
        .exits(0);
        let made = eventually("the right to push", || {
            Some(report(&ci, "corp")).filter(|(status, _)| *status == 201)
        });
        assert_eq!(
            (&made.1["registry_id"], &made.1["last_attempt"]["state"]),
            (&json!("corp"), &json!("FAILED"))
        );
        // It is for that registry, whether there is another or not, and for reports.
        let [lab, none] = ["lab", "none"].map(|registry| report(&ci, registry));
        assert_eq!((lab.0, none.0), (403, 403));
        let id = made.1["id"].as_str().unwrap();
        for path in ["/v1/pushes", &format!("/v1/pushes/{id}"), "/v1/registries/corp"] {
            assert_eq!(rest.ask(&ci, "GET", path, &Value::Null).0, 403, "{path}");
        }
        for kind in ["clusterrole", "clusterrolebinding"] {
            case.kubectl(&["delete", kind, &role]).exits(0);
        }
    });
}

/// The REST API, with a store in memory.
struct Rest {
    runtime: tokio::runtime::Runtime,
    router: Router,
}

/// Nothing needs a registry.
struct Nothing;

impl Usage for Nothing {
    fn needed_by(&self, _: &str) -> Vec<Need> {
        Vec::new()
    }
}

impl Rest {
    fn new(case: &Case<'_>) -> Self {
        let Asked { runtime, reviews } = Asked::new(case);
        let router = api::router(ApiState {
            store: Arc::new(Embedded::in_memory().unwrap()),
            authorizer: Arc::new(reviews),
            usage: Arc::new(Nothing),
            served: Arc::new(|_| {}),
            limits: Limits::default(),
        });
        Self { runtime, router }
    }

    fn ask(&self, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()));
        self.runtime.block_on(async {
            let answer = self.router.clone().oneshot(request.unwrap()).await.unwrap();
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            (status, serde_json::from_slice(&body).unwrap())
        })
    }
}

/// Asks the API server.
struct Asked {
    runtime: tokio::runtime::Runtime,
    reviews: Reviews,
}

impl Asked {
    /// As the administrator.
    fn new(case: &Case<'_>) -> Self {
        Self::with(case.cluster.kubeconfig().to_owned())
    }

    /// As whoever has this token.
    fn of(case: &Case<'_>, token: &str) -> Self {
        let view = ["config", "view", "--raw", "--minify", "--output=json"];
        let mut kubeconfig = case.kubectl(&view).exits(0).json();
        kubeconfig["users"][0]["user"] = json!({"token": token});
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kubeconfig");
        std::fs::write(&path, kubeconfig.to_string()).unwrap();
        Self::with(path)
    }

    fn with(kubeconfig: std::path::PathBuf) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let server = runtime.block_on(Cluster::Kubeconfig(kubeconfig).connect()).unwrap();
        let reviews = Reviews::new(server.client);
        Self { runtime, reviews }
    }

    fn may(&self, token: &str, verb: Verb, name: Option<&str>) -> Verdict {
        let resource = Resource::Registries;
        self.verdict(token, Some(Access { verb, resource, name }))
    }

    fn verdict(&self, token: &str, access: Option<Access<'_>>) -> Verdict {
        let token = Password::new(token.to_owned());
        self.runtime.block_on(self.reviews.authorize(&token, access))
    }
}

fn is_allowed(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Allowed(_))
}

/// The token of a ServiceAccount that is made.
fn account(case: &Case<'_>, name: &str) -> String {
    let accounts = case.path("serviceaccounts");
    case.admin
        .post(&accounts, &json!({"metadata": {"name": name}}))
        .unwrap();
    let request = json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}});
    let answer = case.admin.post(&format!("{accounts}/{name}/token"), &request).unwrap();
    answer["status"]["token"].as_str().unwrap().to_owned()
}

/// Gives a ServiceAccount a right on registries.
fn bind(case: &Case<'_>, account: &str, rule: &Value) {
    let name = format!("{}-{account}", case.namespace);
    let mut rule = rule.clone();
    rule["apiGroups"] = json!(["waypost.dev"]);
    rule["resources"] = json!(["registries"]);
    let role = json!({"metadata": {"name": name}, "rules": [rule]});
    case.admin.post(ROLES, &role).unwrap();
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": case.namespace}],
    });
    case.admin.post(BINDINGS, &binding).unwrap();
}

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
