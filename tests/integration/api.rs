//! The REST API, as it is served: TLS, tokens, and the embedded store in memory.

mod from_outside;
mod served;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tempfile::TempDir;
use tokio::runtime::Runtime;
use waypost::{
    authorization::Tokens,
    http::{
        api::{self, ApiState, Need, Patience, Usage},
        lifecycle::Lifecycle,
        server::{self, Server},
    },
    notifications::Notifications,
    registry::Password,
    store::Embedded,
    tls::{self, Tls},
};

/// A server in this process.
struct Api {
    address: SocketAddr,
    lifecycle: Lifecycle,
    stopped: tokio::task::JoinHandle<server::Stopped>,
    certificates: TempDir,
    runtime: Runtime,
}

/// Nothing needs a registry but the one that is called so.
struct OnlyNeeded;

impl Usage for OnlyNeeded {
    fn needed_by(&self, id: &str) -> Vec<Need> {
        let rule = (id == "needed").then(|| Need::Rule("policy/rule".to_owned()));
        rule.into_iter().collect()
    }
}

impl Api {
    fn start(limits: api::Limits) -> Self {
        let password = |text: &str| Password::new(text.to_owned());
        let store = Arc::new(Embedded::in_memory().unwrap());
        let state = ApiState {
            notifications: Arc::new(Notifications::new(store.clone(), Arc::new(|_, _, _| {})).unwrap()),
            store,
            authorizer: Arc::new(Tokens::new(&password(ADMIN), &password(PUSH)).unwrap()),
            usage: Arc::new(OnlyNeeded),
            served: Arc::new(|_| {}),
            limits,
        };
        let certificates = TempDir::new().unwrap();
        tls::ensure_local(certificates.path(), &[]).unwrap();
        let source = tls::Source {
            dir: certificates.path().to_owned(),
            client_ca: None,
        };
        let tls = Arc::new(Tls::load(source, SystemTime::now()).unwrap());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = runtime.block_on(Server::bind("api", anywhere, api::router(state), server::Limits::api()));
        let server = server.unwrap().with_tls(Arc::new(move || tls.config())).with_peers();
        let address = server.local_addr();
        let lifecycle = Lifecycle::new(Duration::ZERO);
        let stopped = runtime.spawn(server.run(lifecycle.clone()));
        Self {
            address,
            lifecycle,
            stopped,
            certificates,
            runtime,
        }
    }

    fn authority(&self) -> PathBuf {
        self.certificates.path().join("ca.crt")
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

/// As one waits for whoever guesses a thousand times a second.
fn impatient() -> api::Limits {
    api::Limits {
        patience: Patience {
            first: Duration::from_millis(1),
            most: Duration::from_millis(1),
            ..Patience::default()
        },
        ..api::Limits::default()
    }
}

const ADMIN: &str = "an-admin-token-of-the-tests";
const PUSH: &str = "a-push-token-of-the-tests";
