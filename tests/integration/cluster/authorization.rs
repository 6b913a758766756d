//! Who may use the REST API, as a real API server says.

use serde_json::{Value, json};
use waypost::{
    authorization::{Access, Authorizer, Resource, Verb, Verdict},
    cluster::{Access as Cluster, authorization::Reviews},
    registry::Password,
};

use super::on_control_plane;
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
