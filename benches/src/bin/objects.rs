//! What push records cost a replica of the webhook: so many `Push` objects in a real API server, then how long it takes from the start of
//! the process until it is ready, and how much memory it has then, at most, and at rest; and how soon a change is there.
//!
//! Runs inside of a cluster of `tests/cluster` (`cluster run --size=control-plane -- objects …`), started by the main program.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};
use waypost::pushes::{Image, PushId};
use waypost_benches::{
    api::{Access, Client, kubectl},
    server::{Program, Server},
};

const USAGE: &str = "usage: objects WAYPOST COUNT [SECONDS]    (inside of `tests/cluster/cluster run --`)";

/// As many as make requests of the API server at the same time.
const CONNECTIONS: usize = 16;

/// Each image is in both of them.
const REGISTRIES: [&str; 2] = ["prod", "sandbox"];

const OBJECTS: &str = "/apis/waypost.dev/v1alpha1";

/// Longer than anything that is waited for may take.
const LIMIT: Duration = Duration::from_secs(300);

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (waypost, count, seconds) = match &arguments[..] {
        [waypost, count] => (waypost, count.parse()?, 60),
        [waypost, count, seconds] => (waypost, count.parse()?, seconds.parse()?),
        _ => bail!(USAGE),
    };
    let waypost = Path::new(waypost);
    let definitions = Command::new(waypost).arg("crds").output()?;
    kubectl(
        &["apply", "--server-side", "--filename=-"],
        std::str::from_utf8(&definitions.stdout)?,
    )?;
    let definitions = ["registries", "pushes"].map(|plural| format!("crd/{plural}.waypost.dev"));
    kubectl(
        &[
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            &definitions[0],
            &definitions[1],
        ],
        "",
    )?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!("| push records | ready after, s | MiB when ready | at most | after {seconds} s | of each record, kB |");
    println!("| ---: | ---: | ---: | ---: | ---: | ---: |");
    let dir = tempfile::tempdir()?;
    // The first start of `serve` makes a certificate.
    let (tls, policies) = (dir.path().join("tls"), dir.path().join("policies"));
    fs::create_dir(&policies)?;
    let serve = Program::Serve {
        waypost,
        tls: &tls,
        policies: &policies,
        api: None,
    };
    drop(Server::start(&serve, dir.path())?);
    let none = measure(waypost, dir.path(), 0, seconds)?;
    row(0, &none, None);
    let began = Instant::now();
    runtime.block_on(fill(count))?;
    eprintln!("{count} objects were made within {:.0?}", began.elapsed());
    row(count, &measure(waypost, dir.path(), count, seconds)?, Some(&none));
    Ok(())
}

/// What was measured of a replica: time, and MiB.
struct Measured {
    ready: Duration,
    resident: f64,
    peak: f64,
    rest: f64,
}

fn row(count: usize, measured: &Measured, none: Option<&Measured>) {
    let each = none.map_or(String::new(), |none| {
        format!("{:.2}", (measured.rest - none.rest) * 1024.0 / count.max(1) as f64)
    });
    let Measured {
        ready,
        resident,
        peak,
        rest,
    } = measured;
    println!(
        "| {count} | {:.2} | {resident:.1} | {peak:.1} | {rest:.1} | {each} |",
        ready.as_secs_f64()
    );
}

/// Makes them, as the controller does: the object, then its status.
async fn fill(count: usize) -> Result<()> {
    let access = Access::of_cluster()?;
    let mut client = access.connect().await?;
    let mut uids = BTreeMap::new();
    for id in REGISTRIES {
        let registry = json!({"apiVersion": "waypost.dev/v1alpha1", "kind": "Registry", "metadata": {"name": id},
            "spec": {"url": format!("{id}.example.com")}});
        let made = ask(&mut client, Method::POST, &format!("{OBJECTS}/registries"), &registry).await?;
        uids.insert(id, made["metadata"]["uid"].clone());
    }
    let mut workers = Vec::new();
    for worker in 0..CONNECTIONS {
        let (access, uids) = (access.clone(), uids.clone());
        workers.push(tokio::spawn(async move {
            let mut client = access.connect().await?;
            for number in (worker..count).step_by(CONNECTIONS) {
                let registry = REGISTRIES[number % REGISTRIES.len()];
                make(&mut client, number, registry, &uids[registry]).await?;
            }
            anyhow::Ok(())
        }));
    }
    for worker in workers {
        worker.await??;
    }
    Ok(())
}

async fn make(client: &mut Client, number: usize, registry: &str, owner: &Value) -> Result<()> {
    let image = format!(
        "docker.io/organization-{}/application:1.{}",
        number / 40,
        number / 2 % 20
    );
    let id = PushId::new(registry, Image::parse(&image)?.key());
    let object = json!({
        "apiVersion": "waypost.dev/v1alpha1", "kind": "Push",
        "metadata": {
            "name": id.as_str(),
            "labels": {"waypost.dev/registry": registry},
            "ownerReferences": [{"apiVersion": "waypost.dev/v1alpha1", "kind": "Registry", "name": registry, "uid": owner}],
        },
        "spec": {"image": image, "registry": registry},
    });
    let mut object = ask(client, Method::POST, &format!("{OBJECTS}/pushes"), &object).await?;
    let digest = |part: usize| format!("sha256:{number:032x}{part:032x}");
    let at = "2026-11-21T10:00:00.123456Z";
    let name = image.trim_start_matches("docker.io/");
    object["status"] = json!({
        "observedGeneration": 1,
        "lastAttempt": {"state": "SUCCEEDED", "attempt": 1, "startedAt": at, "finishedAt": at},
        "lastSuccess": {
            "target": format!("{registry}.example.com/docker.io/{name}"), "digest": digest(0), "finishedAt": at,
            "sequence": 1_795_000_000_000_000_u64 + number as u64,
            // Of an index, and of what most of them have in them.
            "platforms": ["linux/amd64", "linux/arm64/v8"], "children": [digest(1), digest(2)],
        },
        "conditions": [
            {"type": "Available", "status": "True", "reason": "Pushed", "message": "it is there", "lastTransitionTime": at},
            {"type": "Succeeded", "status": "True", "reason": "Succeeded", "message": "the last push went well", "lastTransitionTime": at},
        ],
    });
    ask(client, Method::PUT, &format!("{OBJECTS}/pushes/{id}/status"), &object).await?;
    Ok(())
}

async fn ask(client: &mut Client, method: Method, path: &str, body: &Value) -> Result<Value> {
    let (status, answer) = client.send(method, path, Bytes::from(body.to_string())).await?;
    ensure!(
        status.is_success(),
        "{path}: {status}: {}",
        String::from_utf8_lossy(&answer)
    );
    Ok(serde_json::from_slice(&answer)?)
}

/// Starts a replica of the webhook in a directory where a certificate is, and waits until it is ready and for so many seconds more.
fn measure(waypost: &Path, dir: &Path, count: usize, seconds: u64) -> Result<Measured> {
    let admin = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let kubeconfig = env::var("KUBECONFIG").context(USAGE)?;
    let mut command = Command::new(waypost);
    command
        .args([
            "webhook",
            "--kubeconfig",
            &kubeconfig,
            "--tls-dir",
            "tls",
            "--webhook-listen",
            "127.0.0.1:0",
        ])
        .args([
            "--admin-listen",
            &admin.to_string(),
            "--log-level",
            "debug",
            "--log-format",
            "json",
        ])
        .current_dir(dir)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(dir.join("log"))?);
    let started = Instant::now();
    let mut replica = Replica(command.spawn().with_context(|| format!("{command:?}"))?);
    let log = || fs::read_to_string(dir.join("log")).unwrap_or_default();
    while !is_ready(admin).unwrap_or(false) {
        let ended = replica.0.try_wait()?.is_some();
        ensure!(!ended && started.elapsed() < LIMIT, "it was never ready:\n{}", log());
        thread::sleep(Duration::from_millis(5));
    }
    let ready = started.elapsed();
    let resident = replica.memory("VmRSS")?;
    thread::sleep(Duration::from_secs(seconds));
    ensure!(
        log()
            .lines()
            .any(|line| line.contains("pushes.waypost.dev") && line.contains(&format!("\"objects\":{count}"))),
        "it has not listed {count} push records:\n{}",
        log()
    );
    Ok(Measured {
        ready,
        resident,
        peak: replica.memory("VmHWM")?,
        rest: replica.memory("VmRSS")?,
    })
}

/// Ends when it is dropped.
struct Replica(Child);

impl Replica {
    /// In MiB.
    fn memory(&self, key: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kibibytes: f64 = line
            .context("/proc/PID/status is short")?
            .trim()
            .trim_end_matches(" kB")
            .parse()?;
        Ok(kibibytes / 1024.0)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // It may have ended by itself, which was noticed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_ready(admin: SocketAddr) -> Result<bool> {
    let mut stream = TcpStream::connect(admin)?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}
