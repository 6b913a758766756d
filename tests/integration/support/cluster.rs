//! A real Kubernetes, made by `tests/cluster`: started when a test first asks for it, shared by all, gone with the process.

pub(crate) mod case;
pub(crate) mod kubernetes;
pub(crate) mod webhook;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::Deserialize;

use super::program::{Finished, finish};
use case::Case;

/// How much of a Kubernetes there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// etcd, API server, controller manager, scheduler, two registries; needs no root.
    ControlPlane,
    /// A node as well, and a registry in the cluster at [`IN_CLUSTER_REGISTRY`]; needs root.
    Node,
}

/// A cluster that runs.
pub(crate) struct Cluster {
    facts: Facts,
    /// The program that keeps it alive for as long as its standard input is open.
    keeper: Child,
}

/// What `cluster.json` says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Facts {
    name: String,
    size: String,
    dir: PathBuf,
    logs: PathBuf,
    bin: PathBuf,
    kubeconfig: PathBuf,
    kubernetes: String,
    registry: Registry,
    protected_registry: Registry,
}

/// One of the cluster's registries.
#[derive(Debug, Deserialize)]
pub(crate) struct Registry {
    /// As references have it, the same for the tests and for the node.
    pub(crate) host: String,
    #[serde(default)]
    pub(crate) username: String,
    #[serde(default)]
    pub(crate) password: String,
}

impl Registry {
    /// One that anybody may use.
    pub(crate) fn open(host: String) -> Self {
        Self {
            host,
            username: String::new(),
            password: String::new(),
        }
    }
}

/// What the nodes know the registry in the cluster as: a NodePort.
pub(crate) const IN_CLUSTER_REGISTRY: &str = "127.0.0.1:30500";

impl Cluster {
    /// The one of this size that the tests of this process share.
    pub(crate) fn start(size: Size) -> &'static Self {
        static CONTROL_PLANE: Slot = OnceLock::new();
        static NODE: Slot = OnceLock::new();
        let (slot, options): (_, &[&str]) = match size {
            Size::ControlPlane => (&CONTROL_PLANE, &[]),
            Size::Node => (&NODE, &["--in-cluster-registry", "open"]),
        };
        let started = slot.get_or_init(|| Self::with(size, options));
        started.as_ref().unwrap_or_else(|error| panic!("{error}"))
    }

    /// One of its own, with these options of `tests/cluster/cluster up`; it ends when dropped.
    pub(crate) fn with(size: Size, options: &[&str]) -> Result<Self, String> {
        // The one thing that is tried twice: programs that are not ours, on a machine that may be busy.
        Self::up(size, options).or_else(|_| Self::up(size, options))
    }

    fn up(size: Size, options: &[&str]) -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{}-{count}", std::process::id());
        let logs = kept().join(&name);
        let mut command = Command::new(PROGRAM);
        command.args(["up", "--attached", "--name", &name]).args(match size {
            Size::ControlPlane => ["--size", "control-plane", "--registries"].as_slice(),
            Size::Node => &["--size", "node"],
        });
        command.arg("--logs").arg(&logs).args(options);
        if std::env::var_os("K8S_MINOR").is_some() {
            // Image volumes are there by default since 1.35.
            command.arg("--arg=kube-apiserver=--feature-gates=ImageVolume=true");
        }
        // Not captured by the test runner: a first build takes minutes, and says so.
        let mut keeper = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| format!("{PROGRAM}: {error}"))?;
        let mut path = String::new();
        let said = BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut path);
        if said.is_err() || path.is_empty() {
            let status = keeper.wait().unwrap();
            return Err(format!(
                "no cluster: `{PROGRAM} up` ended with {status}, see above and {}. {HELP}",
                logs.display()
            ));
        }
        let facts = fs::read(path.trim()).map_err(|error| format!("{path}: {error}"))?;
        let facts = serde_json::from_slice(&facts).map_err(|error| format!("{path}: {error}"))?;
        Ok(Self { facts, keeper })
    }

    /// Runs a test in a namespace of its own, whose name begins with this one's. In a cluster with a node the test is on that
    /// node's network: 127.0.0.1 is the node's, for the test and for every program that it starts.
    pub(crate) fn test(&self, name: &str, test: impl FnOnce(&Case<'_>) + Send) {
        let work = || {
            self.enter();
            let case = Case::new(self, name);
            test(&case);
        };
        // A thread of its own: whatever else the runner's thread does is done where it was.
        let thread = std::thread::Builder::new().name(name.to_owned());
        std::thread::scope(|scope| {
            if let Err(panic) = thread.spawn_scoped(scope, work).unwrap().join() {
                eprintln!("what the components of the cluster said: {}", self.facts.logs.display());
                std::panic::resume_unwind(panic);
            }
        });
    }

    fn enter(&self) {
        if self.facts.size == "node" {
            let pid = fs::read_to_string(self.path("node.pid")).unwrap();
            let network = File::open(format!("/proc/{}/ns/net", pid.trim())).unwrap();
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&network), Some(LinkNameSpaceType::Network)).unwrap();
        }
    }

    /// A file in the cluster's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.facts.dir.join(name)
    }

    /// A file of its logs.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.facts.logs.join(name)
    }

    /// The administrator's.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.facts.kubeconfig
    }

    /// The minor version, such as 36.
    pub(crate) fn minor(&self) -> u32 {
        self.facts.kubernetes.rsplit('.').next().unwrap().parse().unwrap()
    }

    /// The registry that anybody may use.
    pub(crate) fn registry(&self) -> &Registry {
        &self.facts.registry
    }

    /// The one that wants a password.
    pub(crate) fn protected(&self) -> &Registry {
        &self.facts.protected_registry
    }

    /// A program of the cluster's own version: `kubectl`, `crane`.
    pub(crate) fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.facts.bin.join(name));
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// Pushes a small image for amd64 and arm64 that serves, and says this text; answers its digest.
    pub(crate) fn push(&self, registry: &Registry, repository: &str, text: &str) -> String {
        let mut command = Command::new(PROGRAM);
        command.args(["image", "--text", text]);
        if !registry.username.is_empty() {
            command
                .args(["--username", &registry.username])
                .env("WAYPOST_IMAGE_PASSWORD", &registry.password);
        }
        command.arg(format!("{}/{repository}", registry.host));
        finish(command, b"").exits(0).out().trim().to_owned()
    }

    /// Runs a program on the node, among its processes and files.
    pub(crate) fn on_node(&self, args: &[&str]) -> Finished {
        let mut command = Command::new(PROGRAM);
        command.args(["exec", "--node", &self.facts.name, "--"]).args(args);
        finish(command, b"")
    }

    /// Kills a component, by its program's name; the cluster starts it again.
    pub(crate) fn kill(&self, component: &str) {
        let program = self.facts.bin.join(component);
        let mut killed = false;
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let arguments = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let of_this = arguments
                .windows(self.facts.name.len())
                .any(|window| window == self.facts.name.as_bytes());
            if of_this && arguments.starts_with(program.as_os_str().as_encoded_bytes()) {
                let pid = process.file_name();
                killed |= Command::new("kill").arg("-9").arg(pid).status().unwrap().success();
            }
        }
        assert!(killed, "no {component} runs");
    }

    fn kubectl(&self, args: &[&str], stdin: &[u8]) -> Finished {
        let mut command = self.tool("kubectl");
        command.args(args);
        finish(command, stdin)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

type Slot = OnceLock<Result<Cluster, String>>;

/// Where things are kept until the next run: the logs of clusters, and what is put into them. Names are `WHAT-PID…`.
pub(crate) fn kept() -> PathBuf {
    static OLD: OnceLock<()> = OnceLock::new();
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clusters");
    OLD.get_or_init(|| {
        for old in fs::read_dir(&kept).into_iter().flatten().flatten() {
            let name = old.file_name();
            let mut parts = name.to_str().unwrap_or_default().split('-');
            let pid = parts.nth(1).unwrap_or_default();
            if !Path::new("/proc").join(pid).exists() {
                // Somebody else may be at it.
                let _ = fs::remove_dir_all(old.path()).or_else(|_| fs::remove_file(old.path()));
            }
        }
    });
    kept
}

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/cluster");

/// What may have to be done by whoever runs the tests.
const HELP: &str = "Tests on a node are called `on_node::` and need root, runc and iptables (`tests/cluster/cluster preflight \
                    --install`); without them: cargo test -- --skip on_node::";
