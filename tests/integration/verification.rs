//! Verification against the registry that everybody runs: distribution.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::task::JoinHandle;
use waypost::{
    app::{Probes, Verifier},
    metrics::Metrics,
    oci::{Client, Roots},
    pushes::{Event, Image, Origin, PushId, Record, Success, What},
    reference::Reference,
    registry::RegistrySpec,
    store::{Change, Draft, Embedded, Pushes, Store},
};

use crate::support::cluster::{self, Cluster, Size};
use crate::support::distribution::Distribution;
use crate::support::program::finish;

const IMAGE: &str = "docker.io/library/app:1";

/// A store, and whoever asks the registries in it.
struct Verifying {
    store: Embedded,
    metrics: Metrics,
    tasks: [JoinHandle<std::convert::Infallible>; 2],
}

impl Verifying {
    async fn of(registries: &[(&str, u16)]) -> Self {
        let (store, metrics) = (Embedded::in_memory().unwrap(), Metrics::new());
        for (id, port) in registries {
            let draft = Draft {
                spec: RegistrySpec {
                    url: Some(format!("http://127.0.0.1:{port}/team")),
                    ..RegistrySpec::default()
                },
                pull: Change::Keep,
                push: Change::Keep,
                notify: Change::Keep,
            };
            store.create(id, draft).await.unwrap();
        }
        let (client, every) = (Client::new(Roots::load().0), Duration::from_secs(1));
        let kept: Arc<dyn Store> = Arc::new(store.clone());
        let probes = Probes::new(kept.clone(), client.clone(), every, metrics.common().registries());
        let (_, used) = tokio::sync::watch::channel(Default::default());
        let verifier = Verifier::new(
            kept,
            client,
            every,
            metrics.common().verifications(),
            probes.down(),
            used,
        );
        let tasks = [tokio::spawn(probes.run()), tokio::spawn(verifier.run())];
        Self { store, metrics, tasks }
    }

    /// Somebody has pushed into one registry after the other, and says so at once: none but the last is ever the latest.
    async fn report(&self, pushed: [(&str, u16); 2], digest: &str) {
        let events = pushed.map(|(registry, port)| Event {
            image: Image::parse(IMAGE).unwrap(),
            registry: registry.into(),
            at: Timestamp::now(),
            origin: Origin::Report,
            what: What::Succeeded {
                target: target(port).into(),
                digest: digest.into(),
            },
        });
        self.store.happened(events.to_vec()).await.unwrap();
    }

    async fn record(&self, registry: &str) -> Record {
        let id = PushId::new(registry, Image::parse(IMAGE).unwrap().key());
        self.store.push(&id).await.unwrap().unwrap()
    }

    async fn until(&self, what: &str, mut is: impl AsyncFnMut() -> bool) {
        let began = Instant::now();
        while !is().await {
            assert!(began.elapsed() < Duration::from_secs(60), "never: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Where the image is pulled from.
    fn latest(&self) -> Option<String> {
        let index = self.store.index().borrow().clone();
        let found = index.find(&Reference::parse(IMAGE).unwrap());
        found.first().map(|latest| latest.registry.to_owned())
    }

    fn count(&self, registry: &str, result: &str) -> u64 {
        let text = self.metrics.common().render().unwrap();
        let series = format!("waypost_push_verifications_total{{registry=\"{registry}\",result=\"{result}\"}} ");
        let found = text.lines().find_map(|line| line.strip_prefix(&series));
        found.map_or(0, |value| value.parse().unwrap())
    }
}

impl Drop for Verifying {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn target(port: u16) -> String {
    format!("127.0.0.1:{port}/team/{IMAGE}")
}

/// Pushes an image, and answers its digest.
fn push(cluster: &Cluster, port: u16, text: &str) -> String {
    let registry = cluster::Registry::open(format!("127.0.0.1:{port}"));
    let pushed = cluster.push(&registry, &format!("team/{IMAGE}"), text);
    pushed.rsplit('@').next().unwrap().to_owned()
}

fn delete(cluster: &Cluster, port: u16) {
    let mut command = cluster.tool("crane");
    command.args(["delete", &target(port)]);
    finish(command, b"").exits(0);
}

#[test]
fn a_tag_that_is_deleted_withdraws_its_push_and_a_registry_that_stops_does_not() {
    let cluster = Cluster::start(Size::ControlPlane);
    cluster.test("verified", |_| {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [a, b] = [&dirs[0], &dirs[1]].map(|dir| Distribution::start(cluster, dir.path(), None));
        let (port_a, port_b) = (a.port, b.port);
        let digest = push(cluster, port_a, "one");
        assert_eq!(push(cluster, port_b, "one"), digest);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let verifying = Verifying::of(&[("a", port_a), ("b", port_b)]).await;
            verifying.report([("b", port_b), ("a", port_a)], &digest).await;
            assert_eq!(verifying.latest().as_deref(), Some("a"));
            inspected(&verifying).await;
            deleted(&verifying, cluster, port_a).await;
            moved(&verifying, cluster, port_b).await;
            stopped(&verifying, cluster, b, dirs[1].path()).await;
        });
    });
}

async fn inspected(verifying: &Verifying) {
    let looked = async || !verifying.record("a").await.last_success.unwrap().platforms.is_empty();
    verifying.until("what is in it is known", looked).await;
    let Success {
        platforms, children, ..
    } = verifying.record("a").await.last_success.unwrap();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"].map(Box::<str>::from));
    assert_eq!(children.len(), 2);
    assert!(verifying.record("b").await.last_success.unwrap().platforms.is_empty());
    assert_eq!(
        verifying.count("b", "present"),
        0,
        "it decides on nothing, and is not asked for"
    );
}

async fn deleted(verifying: &Verifying, cluster: &Cluster, port: u16) {
    delete(cluster, port);
    let began = Instant::now();
    verifying
        .until("it is pulled from the other", async || {
            verifying.latest().as_deref() == Some("b")
        })
        .await;
    println!("a tag that was deleted was noticed after {:.1?}", began.elapsed());
    let record = verifying.record("a").await;
    assert!(
        record.last_success.is_none() && record.withdrawn_at.is_some(),
        "{record:?}"
    );
    verifying
        .until("it is counted", async || verifying.count("a", "gone") == 1)
        .await;
    // The one that decides now is asked for from now on.
    verifying
        .until("the other is there", async || verifying.count("b", "present") > 0)
        .await;
}

/// Somebody pushes another image to the same tag, and says nothing.
async fn moved(verifying: &Verifying, cluster: &Cluster, port: u16) {
    let before = verifying.record("b").await.last_success.unwrap().digest;
    assert_ne!(push(cluster, port, "two"), *before);
    verifying
        .until("it is noticed", async || verifying.count("b", "moved") > 1)
        .await;
    assert_eq!(verifying.record("b").await.last_success.unwrap().digest, before);
}

async fn stopped(verifying: &Verifying, cluster: &Cluster, registry: Distribution, dir: &Path) {
    let port = registry.port;
    let before = verifying.record("b").await;
    registry.stop();
    verifying
        .until("it is noticed", async || verifying.count("b", "failed") > 0)
        .await;
    let down = async || format!("{:?}", verifying.store.list().await.unwrap()).contains("ConnectionRefused");
    verifying.until("it is down", down).await;
    assert_eq!(verifying.record("b").await, before);

    let _again = Distribution::start_at(cluster, dir, None, port);
    let moved = verifying.count("b", "moved");
    verifying
        .until("it is asked again", async || verifying.count("b", "moved") > moved)
        .await;
    assert_eq!(verifying.record("b").await, before);
    assert_eq!(verifying.latest().as_deref(), Some("b"));
}
