//! Whether every Pod is pulled for while tokens live for a minute: Waypost is installed by its chart, with a registry of Google's kind and
//! one of Amazon's that take nothing but the tokens which stand-ins of both have issued, and Pods with new images are created all the time.
//! First the stand-ins work, then half of all calls of them fail.
//!
//! Runs inside of a cluster of `tests/cluster` (`cluster run --size=node -- soak_tokens …`), started by the main program.

use std::{
    collections::BTreeMap,
    env, fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, sleep};
use waypost_benches::{
    api::{Access, Client, kubectl},
    load::percentile,
};
use waypost_issuers::{Amazon, Fault, Google, Registry, Rights, Tokens};

const USAGE: &str = "usage: soak_tokens IMAGE-LAYOUT HELM CHART SECONDS    (inside of `tests/cluster/cluster run --`)";

/// What Pods reach the node by: to them the node's loopback is another one.
const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 77, 1));

const REGION: &str = "eu-central-1";
const NAMESPACE: &str = "soak";

/// One Pod in this time.
const EVERY: Duration = Duration::from_secs(1);

/// Longer than anything that is waited for may take.
const LIMIT: Duration = Duration::from_secs(120);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [layout, helm, chart, seconds] = &arguments[..] else {
        bail!(USAGE);
    };
    let seconds = Duration::from_secs_f64(seconds.parse()?);
    let scratch = tempfile::tempdir()?;
    let issuers = Issuers::start()?;
    issuers.install(layout, helm, chart, scratch.path())?;
    kubectl(&["create", "namespace", NAMESPACE], "")?;
    let images = images(scratch.path().to_owned())?;
    let mut soak = Soak {
        issuers,
        client: Access::of_cluster()?.connect().await?,
        images,
        number: 0,
        failed: 0,
    };
    soak.pull_secret().await?;
    let mut rows = Vec::new();
    for (name, fault) in [("works", Fault::None), ("fails half of its calls", Fault::Half)] {
        soak.issuers.google.fails(fault);
        soak.issuers.amazon.fails(fault);
        let row = soak.phase(name, seconds).await?;
        eprintln!("{row}");
        rows.push(row);
    }
    println!(
        "| the token service | s | Pods started | pulls failed | renewals | calls of the service | of which failed | longest gap, s | \
         creation to start, s: p50 | p99 |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for row in rows {
        println!("{row}");
    }
    ensure!(soak.failed == 0, "{} pulls failed", soak.failed);
    Ok(())
}

/// Who issues tokens, and the registries that take them.
struct Issuers {
    tokens: Tokens,
    google: Google,
    amazon: Amazon,
    /// That of Google's kind, and that of Amazon's.
    doors: [Registry; 2],
}

impl Issuers {
    fn start() -> Result<Self> {
        let behind = open_registry()?.parse()?;
        let tokens = Tokens::default();
        Ok(Self {
            google: Google::start(NODE, &tokens),
            amazon: Amazon::start(NODE, REGION, &tokens),
            doors: [(); 2].map(|()| Registry::start(NODE, behind, &tokens)),
            tokens,
        })
    }

    /// As nodes know it.
    fn host(&self, door: usize) -> String {
        format!("127.0.0.1:{}", self.doors[door].address().port())
    }

    fn install(&self, layout: &str, helm: &str, chart: &str, scratch: &Path) -> Result<()> {
        let registry = open_registry()?;
        run(Command::new("crane").args(["push", layout, &format!("{registry}/waypost:soak")]))?;
        let file = include_str!("../../../tests/fixtures/gcr/nobodys-key.pem");
        let pem = &file[file.find("-----BEGIN").context("no key")?..];
        let key = self.amazon.user("robot");
        let endpoint = |door: usize| format!("http://{}", self.doors[door].address());
        let variable = |name: &str| json!({"name": name, "value": self.amazon.origin()});
        let values = json!({
            "image": {"repository": format!("{registry}/waypost"), "tag": "soak"},
            "issuers": {"google": {"trusted": [self.google.origin()]}},
            "controller": {"env": [variable("AWS_ENDPOINT_URL_ECR"), variable("AWS_ENDPOINT_URL_STS")]},
            "registries": {
                "google": {
                    "location": "gcr", "hostname": self.host(0), "endpoint": endpoint(0),
                    "keyJson": self.google.key("waypost@stand-in.iam.gserviceaccount.com", pem),
                    "namespaces": {"names": [NAMESPACE]},
                },
                "amazon": {
                    "location": "ecr", "hostname": self.host(1), "endpoint": endpoint(1), "region": REGION,
                    "accessKeyId": key.id, "secretAccessKey": key.secret, "namespaces": {"names": [NAMESPACE]},
                },
            },
        });
        let path = scratch.join("values.json");
        fs::write(&path, values.to_string())?;
        let mut install = Command::new(helm);
        install
            .args([
                "install",
                "--create-namespace",
                "--namespace=waypost",
                "--wait",
                "--values",
            ])
            .arg(&path)
            .args(["waypost", chart]);
        run(&mut install)
    }

    /// How many tokens to pull with were issued. When ECR is asked whose registry it is, it issues one that nobody pulls with.
    fn renewed(&self) -> usize {
        self.tokens.issued(Rights::Pull).len()
    }

    /// Calls, and those that failed.
    fn calls(&self) -> [u64; 2] {
        let (google, amazon) = (self.google.calls(), self.amazon.calls());
        [google.0 + amazon.0, google.1 + amazon.1]
    }

    /// Requests that were refused for their token.
    fn refused(&self) -> u64 {
        let counts = self.doors.iter().map(Registry::counts);
        counts.map(|counts| counts.ended + counts.unknown).sum()
    }
}

struct Soak {
    issuers: Issuers,
    client: Client,
    /// Tags of images that nobody has pulled.
    images: mpsc::Receiver<String>,
    number: u64,
    /// Pulls that failed in the phases before.
    failed: u64,
}

impl Soak {
    /// Waits until the namespace may pull from both.
    async fn pull_secret(&mut self) -> Result<()> {
        let began = Instant::now();
        loop {
            let path = format!("/api/v1/namespaces/{NAMESPACE}/secrets/waypost-pull");
            let (_, secret) = self.ask(Method::GET, &path, &Value::Null).await?;
            let config = secret["data"][".dockerconfigjson"].as_str().unwrap_or_default();
            let config = String::from_utf8(STANDARD.decode(config)?)?;
            if (0..2).all(|door| config.contains(&self.issuers.host(door))) {
                return Ok(());
            }
            ensure!(began.elapsed() < LIMIT, "no pull secret for both registries");
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Creates Pods for as long, and waits until all of them have started.
    async fn phase(&mut self, name: &str, lasts: Duration) -> Result<String> {
        let (renewed, calls, refused) = (self.issuers.renewed(), self.issuers.calls(), self.issuers.refused());
        let began = Instant::now();
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut looks = interval(Duration::from_millis(100));
        looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut waiting = BTreeMap::new();
        let mut started = Vec::new();
        let mut took = Vec::new();
        while began.elapsed() < lasts || !waiting.is_empty() {
            tokio::select! {
                _ = ticks.tick(), if began.elapsed() < lasts => {
                    let pod = self.create().await?;
                    waiting.insert(pod, Instant::now());
                }
                _ = looks.tick() => {
                    for pod in self.running().await? {
                        let Some(created) = waiting.remove(&pod) else {
                            continue;
                        };
                        let now = Instant::now();
                        started.push(now);
                        took.push(now - created);
                        let path = format!("{}/{pod}?gracePeriodSeconds=0", pods());
                        self.ask(Method::DELETE, &path, &Value::Null).await?;
                    }
                    if let Some((pod, created)) = waiting.iter().find(|(_, created)| created.elapsed() > LIMIT) {
                        bail!("{pod} has not started for {:?}: {:#}", created.elapsed(), self.failures().await?.1);
                    }
                }
            }
        }
        let ended = Instant::now();
        let (all, events) = self.failures().await?;
        let failed = all - std::mem::replace(&mut self.failed, all);
        if failed > 0 {
            eprintln!("{events:#}");
        }
        let now_refused = self.issuers.refused() - refused;
        if now_refused > 0 {
            eprintln!("{name}: {now_refused} requests were refused for their token");
        }
        let gap = started
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .max()
            .unwrap_or_default();
        took.sort();
        let now = self.issuers.calls();
        Ok(format!(
            "| {name} | {:.0} | {} | {failed} | {} | {} | {} | {:.1} | {:.1} | {:.1} |",
            (ended - began).as_secs_f64(),
            started.len(),
            self.issuers.renewed() - renewed,
            now[0] - calls[0],
            now[1] - calls[1],
            gap.as_secs_f64(),
            percentile(&took, 50)?.as_secs_f64(),
            percentile(&took, 99)?.as_secs_f64(),
        ))
    }

    /// Creates one with an image that no node has, of the two registries in turn.
    async fn create(&mut self) -> Result<String> {
        let tag = self.images.recv().context("no image is made any more")?;
        self.number += 1;
        let host = self.issuers.host((self.number % 2) as usize);
        let name = format!("pod-{}", self.number);
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name},
            "spec": {
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "main", "image": format!("{host}/{tag}")}],
            },
        });
        let (status, answer) = self.ask(Method::POST, &pods(), &pod).await?;
        ensure!(status == StatusCode::CREATED, "{status}: {answer}");
        let secrets = &answer["spec"]["imagePullSecrets"];
        ensure!(
            *secrets == json!([{"name": "waypost-pull"}]),
            "it may not pull: {answer:#}"
        );
        Ok(name)
    }

    /// The Pods whose container runs.
    async fn running(&mut self) -> Result<Vec<String>> {
        let (_, list) = self.ask(Method::GET, &pods(), &Value::Null).await?;
        let items = list["items"].as_array().context("no Pods")?.iter();
        let running = items.filter(|pod| {
            pod["status"]["containerStatuses"][0]["state"]["running"].is_object()
                && pod["metadata"]["deletionTimestamp"].is_null()
        });
        Ok(running
            .filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
            .collect())
    }

    /// How many pulls failed so far, and what was said of them.
    async fn failures(&mut self) -> Result<(u64, Value)> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/events?fieldSelector=reason=Failed");
        let (_, list) = self.ask(Method::GET, &path, &Value::Null).await?;
        let items = list["items"].as_array().context("no Events")?.iter();
        let pulls: Vec<_> = items
            .filter(|event| {
                let message = event["message"].as_str().unwrap_or_default();
                message.starts_with("Failed to pull image")
            })
            .collect();
        let count = pulls.iter().map(|event| event["count"].as_u64().unwrap_or(1)).sum();
        let messages = pulls.iter().map(|event| event["message"].clone()).collect();
        Ok((count, messages))
    }

    async fn ask(&mut self, method: Method, path: &str, body: &Value) -> Result<(StatusCode, Value)> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (status, answer) = self.client.send(method, path, Bytes::from(body)).await?;
        Ok((status, serde_json::from_slice(&answer).unwrap_or_default()))
    }
}

fn pods() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/pods")
}

/// The cluster's registry that anybody may use.
fn open_registry() -> Result<String> {
    env::var("WAYPOST_REGISTRY").context(USAGE)
}

/// Images that differ in a layer, made a few ahead of whoever takes them.
fn images(scratch: PathBuf) -> Result<mpsc::Receiver<String>> {
    let registry = open_registry()?;
    let base = format!("{registry}/soak/base:1");
    let cluster = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cluster/cluster");
    run(Command::new(cluster).args(["image", "--text", "soak", &base]))?;
    let (made, images) = mpsc::sync_channel(10);
    let file = scratch.join("number");
    let layer = scratch.join("layer.tar");
    thread::spawn(move || -> Result<()> {
        for number in 0_u64.. {
            fs::write(&file, number.to_string())?;
            run(Command::new("tar")
                .args(["--create", "--file"])
                .arg(&layer)
                .arg("--directory")
                .arg(&scratch)
                .arg("number"))?;
            let tag = format!("soak/app:{number}");
            let mut append = Command::new("crane");
            append.args(["append", "--platform=linux/amd64", "--base", &base, "--new_layer"]);
            append.arg(&layer).args(["--new_tag", &format!("{registry}/{tag}")]);
            run(&mut append).inspect_err(|error| eprintln!("{error:#}"))?;
            if made.send(tag).is_err() {
                break;
            }
        }
        Ok(())
    });
    Ok(images)
}

fn run(command: &mut Command) -> Result<()> {
    // Standard output is for the table.
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
