//! Copies between registries that everybody runs: distribution.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use waypost::{
    oci::{
        Client, Remote, Roots,
        copy::{BlobState, Copied, Copy, CopyError, Place, Progress},
    },
    registry::{Registry, RegistrySpec},
};

use crate::support::cluster::{self, Cluster, Size};
use crate::support::distribution::Distribution;
use crate::support::program::finish;

/// Two registries, and whoever copies from the first to the second.
struct Copying<'c> {
    cluster: &'c Cluster,
    client: Client,
    a: Distribution,
    b: Distribution,
    _dirs: [tempfile::TempDir; 2],
}

impl<'c> Copying<'c> {
    fn start(cluster: &'c Cluster) -> Self {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [a, b] = [&dirs[0], &dirs[1]].map(|dir| Distribution::start(cluster, dir.path(), None));
        for registry in [&a, &b] {
            cluster::Registry::open(format!("127.0.0.1:{}", registry.port));
        }
        Self {
            cluster,
            client: Client::new(Roots::load().0),
            a,
            b,
            _dirs: dirs,
        }
    }

    fn crane(&self, args: &[&str]) -> String {
        let mut command = self.cluster.tool("crane");
        command.args(args);
        finish(command, b"").exits(0).out().trim().to_owned()
    }

    fn remote(&self, port: u16) -> Arc<Remote> {
        let spec = RegistrySpec {
            url: Some(format!("http://127.0.0.1:{port}")),
            ..RegistrySpec::default()
        };
        let registry = Registry::parse(&format!("r-{port}"), &spec).unwrap();
        Arc::new(self.client.registry(&registry).unwrap())
    }

    fn place(&self, port: u16, repository: &str) -> Place {
        Place {
            remote: self.remote(port),
            repository: repository.into(),
            login: None,
        }
    }

    async fn copy(&self, from: (u16, &str), to: (u16, &str), tag: &str) -> (Result<Copied, CopyError>, Arc<Progress>) {
        let progress = Arc::new(Progress::new());
        let copy = Copy {
            source: self.place(from.0, from.1),
            target: self.place(to.0, to.1),
            reference: tag.into(),
            tag: Some(tag.into()),
            referrers: false,
        };
        (copy.run(progress.clone()).await, progress)
    }

    fn name(&self, port: u16, name: &str) -> String {
        format!("127.0.0.1:{port}/{name}")
    }

    /// One layer of so many bytes that nothing compresses, upon an image or upon nothing.
    fn layer(&self, dir: &Path, bytes: usize, seed: u8, image: &str, base: Option<&str>) {
        let file = dir.join(format!("layer-{seed}"));
        let mut state = u64::from(seed) + 1;
        let content: Vec<u8> = (0..bytes)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                state.to_be_bytes()[0]
            })
            .collect();
        std::fs::write(&file, content).unwrap();
        let tar = dir.join(format!("layer-{seed}.tar"));
        let mut command = std::process::Command::new("tar");
        command
            .arg("-cf")
            .arg(&tar)
            .arg("-C")
            .arg(dir)
            .arg(file.file_name().unwrap());
        finish(command, b"").exits(0);
        let tar = tar.to_str().unwrap();
        match base {
            Some(base) => self.crane(&["append", "--base", base, "-f", tar, "-t", image]),
            None => self.crane(&["append", "--oci-empty-base", "-f", tar, "-t", image]),
        };
    }
}

fn states(progress: &Progress) -> Vec<BlobState> {
    progress.blobs().iter().map(|blob| blob.state).collect()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}

#[test]
fn an_index_is_copied_with_all_its_platforms_and_what_is_there_is_not_sent_again() {
    let cluster = Cluster::start(Size::ControlPlane);
    let copying = Copying::start(cluster);
    let (a, b) = (copying.a.port, copying.b.port);
    let registry = cluster::Registry::open(format!("127.0.0.1:{a}"));
    let digest = cluster.push(&registry, "team/app:1", "hello");
    let digest = digest.rsplit('@').next().unwrap();
    run(async {
        let (copied, progress) = copying.copy((a, "team/app"), (b, "mirror/team/app"), "1").await;
        let copied = copied.unwrap();
        assert_eq!((&*copied.digest, copied.was_there), (digest, false));
        let contents = copied.contents.unwrap();
        assert_eq!((contents.children.len(), contents.platforms.len()), (2, 2));
        assert!(progress.sent() > 0 && progress.done() == progress.total());
        assert_eq!(
            copying.crane(&["digest", &copying.name(b, "mirror/team/app:1")]),
            digest
        );
        copying.crane(&["validate", "--remote", &copying.name(b, "mirror/team/app:1")]);

        let (copied, progress) = copying.copy((a, "team/app"), (b, "mirror/team/app"), "1").await;
        assert!(copied.unwrap().was_there);
        assert_eq!((progress.sent(), progress.total()), (0, 0));

        // The same blobs in another repository of the same registry.
        let (copied, progress) = copying.copy((a, "team/app"), (b, "other/app"), "1").await;
        assert!(!copied.unwrap().was_there);
        assert_eq!(progress.sent(), 0);
        assert!(
            states(&progress).iter().all(|state| *state == BlobState::Mounted),
            "{:?}",
            states(&progress)
        );
        let (copied, progress) = copying.copy((b, "other/app"), (b, "third/app"), "1").await;
        assert!(!copied.unwrap().was_there && progress.sent() == 0);
        copying.crane(&["validate", "--remote", &copying.name(b, "third/app:1")]);

        let (copied, _) = copying.copy((a, "team/none"), (b, "mirror/none"), "1").await;
        assert!(matches!(copied, Err(CopyError::Missing { .. })), "{copied:?}");
    });
}

/// Between a client and a registry: closes connections after so many bytes have gone in one direction.
struct Cutting {
    port: u16,
    cut: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Cutting {
    async fn before(port: u16, every: usize, upwards: bool, most: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap().port();
        let cut = Arc::new(AtomicU64::new(0));
        let count = cut.clone();
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let count = count.clone();
                tokio::spawn(async move {
                    let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    let (counted_from, counted_to): (
                        &mut (dyn tokio::io::AsyncRead + Send + Unpin),
                        &mut (dyn tokio::io::AsyncWrite + Send + Unpin),
                    );
                    let other;
                    if upwards {
                        (counted_from, counted_to) = (&mut from_client, &mut to_server);
                        other = tokio::spawn(async move { copy(&mut from_server, &mut to_client).await });
                    } else {
                        (counted_from, counted_to) = (&mut from_server, &mut to_client);
                        other = tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
                    }
                    let mut left = every;
                    let mut buffer = vec![0; 16 * 1024];
                    while let Ok(read @ 1..) = counted_from.read(&mut buffer).await {
                        if read > left && count.load(Ordering::Relaxed) < most {
                            count.fetch_add(1, Ordering::Relaxed);
                            break;
                        }
                        left = left.saturating_sub(read);
                        if counted_to.write_all(&buffer[..read]).await.is_err() {
                            break;
                        }
                    }
                    other.abort();
                });
            }
        });
        Self { port: here, cut, task }
    }
}

impl Drop for Cutting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[test]
fn a_copy_goes_on_where_a_connection_broke_at_the_source_and_at_the_target() {
    let cluster = Cluster::start(Size::ControlPlane);
    let mut copying = Copying::start(cluster);
    let (a, b) = (copying.a.port, copying.b.port);
    let dir = tempfile::tempdir().unwrap();
    let size = 24 * 1024 * 1024;
    copying.layer(dir.path(), size, 1, &copying.name(a, "team/big:1"), None);
    run(async {
        for (upwards, repository) in [(false, "broken/source"), (true, "broken/target")] {
            let cutting = Cutting::before(if upwards { b } else { a }, 5_000_000, upwards, 6).await;
            let (from, to) = if upwards { (a, cutting.port) } else { (cutting.port, b) };
            // Nothing that the registry has elsewhere is taken from there.
            copying.client = Client::new(Roots::load().0);
            let (copied, progress) = copying.copy((from, "team/big"), (to, repository), "1").await;
            copied.unwrap();
            let cuts = cutting.cut.load(Ordering::Relaxed);
            assert!(cuts >= 3, "{cuts}");
            // From where it broke: what was lost on the way is sent again, and nothing else.
            let sent = progress.sent();
            assert!(sent < size as u64 * 2, "{sent} of {size} with {cuts} cuts");
            copying.crane(&["validate", "--remote", &copying.name(b, &format!("{repository}:1"))]);
        }
    });
}
