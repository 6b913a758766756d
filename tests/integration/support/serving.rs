//! A `waypost` that serves in the background, ended with the test whichever way that ends.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;

use super::client::{Client, Protocol, Reply};
use super::program::Directory;
use super::{eventually, fixture};

/// A process that serves.
pub(crate) struct Serving {
    child: Child,
    directory: Directory,
    pub(crate) webhook: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// The REST API, where it is served from the start.
    pub(crate) api: SocketAddr,
}

impl Serving {
    /// Starts it on free ports, and waits until it is ready.
    pub(crate) fn start(directory: Directory, args: &[&str]) -> Self {
        let args = [&PORTS, args].concat();
        let command = directory.command(["serve"].iter().chain(&args));
        Self::spawn(directory, command)
    }

    /// The same with a command of one's own: `serve`, `webhook` or `controller`. The latter two may not be ready yet.
    pub(crate) fn spawn(directory: Directory, command: Command) -> Self {
        let mut serving = Self::begin(directory, command);
        let started = serving.event("metrics and health at http://");
        let address = |field: &str| Some(started[field].as_str()?.parse().unwrap());
        let nowhere = serving.admin;
        serving.webhook = address("webhook").unwrap_or(nowhere);
        serving.admin = address("admin").unwrap();
        serving.api = address("api").unwrap_or(nowhere);
        serving
    }

    /// The same without waiting for anything: no port is known.
    pub(crate) fn begin(directory: Directory, mut command: Command) -> Self {
        let log = File::create(directory.path().join(LOG)).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            child,
            directory,
            webhook: nowhere,
            admin: nowhere,
            api: nowhere,
        }
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Every event logged so far.
    pub(crate) fn log(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.directory.path().join(LOG)).unwrap();
        // The last line may be on its way still.
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The last event whose message has this text in it, once there is one.
    pub(crate) fn event(&mut self, text: &str) -> Value {
        eventually(text, || {
            let found = self.log().into_iter().rev().find(|event| message(event).contains(text));
            if found.is_none()
                && let Some(status) = self.child.try_wait().unwrap()
            {
                panic!("it ended with {status}, without {text:?}: {:#?}", self.log());
            }
            found
        })
    }

    /// A client that trusts its authority.
    pub(crate) fn client(&self, protocol: Protocol) -> Client {
        Client::new(&self.directory.path().join("certs/local/ca.crt"), protocol)
    }

    /// Sends a review.
    pub(crate) fn review(&self, body: impl Into<Vec<u8>>) -> Reply {
        self.client(Protocol::Http1).post(self.webhook, body.into()).unwrap()
    }

    /// The image that the first container of this Pod gets.
    pub(crate) fn image(&self) -> String {
        let body = fs::read(fixture("pod-create.json")).unwrap();
        let reply = self.review(body.clone());
        let (_, object) = reply.applied_to(&serde_json::from_slice(&body).unwrap());
        object["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
    }

    /// What the admin port says.
    pub(crate) fn admin(&self, path: &str) -> Reply {
        Client::plain().get(self.admin, path).unwrap()
    }

    /// The value of a metric without labels, or with these.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let metrics = self.admin("/metrics").text();
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{metrics}"))
            .parse()
            .unwrap()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        eventually("the end of the process", || self.child.try_wait().unwrap())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended; there is nobody to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("log of the process: {:#?}", self.log());
        }
    }
}

/// An event's message.
pub(crate) fn message(event: &Value) -> &str {
    event["message"].as_str().unwrap_or_default()
}

/// Every listener on a free port; a replica has the first two.
pub(crate) const PORTS: [&str; 6] = [
    "--webhook-listen",
    "127.0.0.1:0",
    "--admin-listen",
    "127.0.0.1:0",
    "--api-listen",
    "127.0.0.1:0",
];

const LOG: &str = "serve.log";

/// The certificate of some authority, PEM.
pub(crate) fn authority() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.self_signed(&key).unwrap().pem()
}
