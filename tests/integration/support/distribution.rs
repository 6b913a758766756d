//! A registry of a test's own, which can be stopped and started again.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Stdio};

use super::cluster::Cluster;

/// Distribution, which everybody runs, without TLS.
pub(crate) struct Distribution {
    child: Child,
    pub(crate) port: u16,
}

impl Distribution {
    /// On a free port, with its files in a directory; with passwords where there is an htpasswd file.
    pub(crate) fn start(cluster: &Cluster, dir: &Path, passwords: Option<&Path>) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::start_at(cluster, dir, passwords, free)
    }

    /// On this port, which it had before.
    pub(crate) fn start_at(cluster: &Cluster, dir: &Path, passwords: Option<&Path>, port: u16) -> Self {
        let config = dir.join("registry.yaml");
        let auth = passwords.map(|path| format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", path.display()));
        let content = format!(
            "version: 0.1\nlog: {{level: error}}\nhttp: {{addr: ':{port}'}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n{}",
            dir.join("storage").display(),
            auth.unwrap_or_default()
        );
        fs::write(&config, content).unwrap();
        let mut command = cluster.tool("registry");
        command.arg("serve").arg(&config).env("OTEL_TRACES_EXPORTER", "none");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, port }
    }

    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

impl Drop for Distribution {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            let mut said = String::new();
            if let Some(mut stderr) = self.child.stderr.take() {
                let _ = stderr.read_to_string(&mut said);
            }
            eprintln!("the registry said: {said}");
        }
    }
}
