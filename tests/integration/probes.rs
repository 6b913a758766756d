//! Probes of the registry that everybody runs: distribution, with and without passwords.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use waypost::{
    app::Probes,
    metrics::Metrics,
    oci::{CanPush, Client, Head, Ping, Remote, Roots, SignIn},
    registry::{Condition, ConditionKind, Credential, Login, Password, Registry, RegistrySpec, Status},
    store::{Change, Draft, Embedded, Store},
};

use crate::support::cluster::{self, Cluster, Size};
use crate::support::distribution::Distribution;

fn spec(host: &str) -> RegistrySpec {
    RegistrySpec {
        url: Some(format!("http://{host}/team")),
        ..RegistrySpec::default()
    }
}

fn remote(host: &str) -> Remote {
    let registry = Registry::parse("real", &spec(host)).unwrap();
    Client::new(Roots::load().0).registry(&registry).unwrap()
}

fn login(registry: &cluster::Registry, password: &str) -> Login {
    Login {
        username: registry.username.clone(),
        password: Password::new(password.to_owned()),
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}

#[test]
fn a_registry_with_passwords_takes_the_right_one_and_nothing_is_left_of_a_try_to_push() {
    let cluster = Cluster::start(Size::ControlPlane);
    cluster.test("probed", |_| {
        let (protected, open) = (cluster.protected(), cluster.registry());
        let digest = cluster.push(protected, "team/app:1", "probed");
        run(async {
            let asked = remote(&protected.host);
            let right = login(protected, &protected.password);
            let wrong = login(protected, "wrong");
            assert_eq!(asked.ping().await, Ok(Ping::Answers));
            assert_eq!(asked.sign_in(Some(&right)).await, Ok(SignIn::Accepted));
            assert_eq!(asked.sign_in(Some(&wrong)).await, Ok(SignIn::Rejected));
            assert_eq!(asked.sign_in(None).await, Ok(SignIn::CredentialRequired));
            assert_eq!(asked.can_push(&right).await, Ok(CanPush::Yes));
            assert_eq!(asked.can_push(&wrong).await, Ok(CanPush::No));
            let found = asked.head("team/app", "1", Some(&right)).await.unwrap();
            assert!(
                matches!(&found, Head::Found(Some(found)) if digest.contains(found.as_str())),
                "{found:?} {digest}"
            );
            assert_eq!(asked.head("team/none", "1", Some(&right)).await, Ok(Head::Missing));
            assert_eq!(asked.head("team/app", "1", Some(&wrong)).await, Ok(Head::Rejected));

            let anybody = remote(&open.host);
            assert_eq!(anybody.sign_in(None).await, Ok(SignIn::Anonymous));
        });
        // The registry itself leaves the directory of an upload that was cancelled, until it clears up; of the data there is nothing, and
        // no repository.
        let repository = cluster.path("storage/protected/docker/registry/v2/repositories/team/waypost-probe");
        let inside = |dir: &Path| -> Vec<PathBuf> {
            fs::read_dir(dir)
                .into_iter()
                .flatten()
                .map(|entry| entry.unwrap().path())
                .collect()
        };
        assert_eq!(inside(&repository), [repository.join("_uploads")]);
        for upload in inside(&repository.join("_uploads")) {
            assert!(!upload.join("data").exists(), "{:?}", inside(&upload));
        }
    });
}

#[test]
fn a_stop_of_a_real_registry_is_noticed_within_fifteen_seconds_and_its_return_within_thirty_six() {
    let cluster = Cluster::start(Size::ControlPlane);
    cluster.test("stopped", |_| {
        let dir = tempfile::tempdir().unwrap();
        let registry = Distribution::start(cluster, dir.path(), None);
        let free = registry.port;
        run(async {
            let (store, metrics) = (Embedded::in_memory().unwrap(), Metrics::new());
            let client = Client::new(Roots::load().0);
            // As it is where nobody says otherwise.
            let every = Duration::from_secs(10);
            let probes = Probes::new(Arc::new(store.clone()), client, every, metrics.common().registries());
            let asking = tokio::spawn(probes.run());
            let draft = Draft {
                spec: spec(&format!("127.0.0.1:{}", registry.port)),
                pull: Change::Set(Credential::Login(Login {
                    username: "u".to_owned(),
                    password: Password::new("hunter2-is-nowhere".to_owned()),
                })),
                push: Change::Keep,
                notify: Change::Keep,
            };
            store.create("real", draft).await.unwrap();
            until(&store, Status::True).await;
            registry.stop();
            let stopped = Instant::now();
            until(&store, Status::False).await;
            let noticed = stopped.elapsed();
            assert!(noticed <= Duration::from_secs(15), "{noticed:?}");

            let _again = Distribution::start_at(cluster, dir.path(), None, free);
            let started = Instant::now();
            until(&store, Status::True).await;
            let back = started.elapsed();
            assert!(back <= Duration::from_secs(36), "{back:?}");
            println!("a stop was noticed after {noticed:.1?}, the return after {back:.1?}");
            let conditions = format!("{:?}", store.list().await.unwrap());
            assert!(!conditions.contains("hunter2"), "{conditions}");
            asking.abort();
        });
    });
}

async fn until(store: &Embedded, status: Status) {
    let mut registries = store.registries();
    let is = |condition: &Condition| condition.kind == ConditionKind::Reachable && condition.status == status;
    let waited = registries.wait_for(|all| all.iter().any(|stored| stored.conditions.iter().any(is)));
    if tokio::time::timeout(Duration::from_secs(60), waited).await.is_err() {
        panic!("never {status:?}: {:?}", store.list().await);
    }
}
