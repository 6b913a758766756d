//! Whether anybody notices: Pods are created all the time while replicas restart or die, certificates and policies change, and the
//! API server goes away. Waypost is installed by its chart and called through its ClusterIP.
//!
//! Runs inside of a cluster of `tests/cluster` (`cluster run --size=node -- soak …`), started by the main program.

use std::{
    collections::BTreeMap,
    env, fs,
    path::Path,
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use waypost_benches::{
    api::{Access, cluster_dir, kubectl},
    soak::{Load, NAMESPACE, RATE},
};

const USAGE: &str = "usage: soak IMAGE-LAYOUT HELM CHART SECONDS    (inside of `tests/cluster/cluster run --`)";

/// Where Pods are pulled from before and after the policies change.
const REGISTRIES: [&str; 2] = ["one.example", "two.example"];

/// How many replicas are killed: each time it is a matter of luck what is under way, and whom the kernel picks next. The two of the
/// chart in turn, more or less, so that the kubelet starts them again without much delay.
const KILLS: usize = 3;

/// Longer than anything that is waited for may take.
const LIMIT: Duration = Duration::from_secs(300);

/// How long a phase lasts after what it is about, for what comes of it later.
const AFTER: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [layout, helm, chart, quiet] = &arguments[..] else {
        bail!(USAGE);
    };
    let waypost = Waypost { helm, chart };
    waypost.install(layout)?;
    kubectl(&["create", "namespace", NAMESPACE], "")?;
    // In threads of its own: what this one waits for holds up no Pod.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let load = {
        let _entered = runtime.enter();
        Load::start(Access::of_cluster()?, REGISTRIES[0])
    };
    let mut soak = Soak {
        load,
        quiet: Duration::from_secs_f64(quiet.parse()?),
        rows: Vec::new(),
    };
    // The first connections, a namespace that is new: none of it belongs to any phase.
    thread::sleep(Duration::from_secs(5));
    soak.load.news();

    soak.phase("replicas restarted, one after the other", || waypost.restart())?;
    for _ in 0..KILLS {
        soak.phase("the replica killed that is called", || waypost.kill())?;
    }
    soak.phase("authority and certificate replaced", || waypost.rotate())?;
    soak.load.expect(&REGISTRIES);
    soak.phase("policies changed by `helm upgrade`", || waypost.upgrade())?;
    soak.load.expect(&REGISTRIES[1..]);
    soak.phase("the API server killed", restart_api_server)?;
    soak.quiet()?;
    drop(runtime);

    println!(
        "| {RATE} Pods a second, while | s | Pods created | not rewritten | longest gap, ms | p50, ms | p99, ms |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for row in soak.rows {
        println!("{row}");
    }
    failures()
}

struct Soak {
    load: Arc<Load>,
    quiet: Duration,
    rows: Vec<String>,
}

impl Soak {
    /// A quiet phase, and one in which something happens.
    fn phase(&mut self, name: &str, happens: impl FnOnce() -> Result<()>) -> Result<()> {
        self.quiet()?;
        self.row(name, || {
            happens()?;
            thread::sleep(AFTER);
            Ok(())
        })
    }

    fn quiet(&mut self) -> Result<()> {
        let quiet = self.quiet;
        self.row("nothing happens", || {
            thread::sleep(quiet);
            Ok(())
        })
    }

    fn row(&mut self, name: &str, happens: impl FnOnce() -> Result<()>) -> Result<()> {
        let began = Instant::now();
        happens()?;
        let row = self.load.row(name, began, Instant::now())?;
        eprintln!("{row}");
        let [refused, images] = self.load.news();
        for (error, times) in refused {
            eprintln!("  refused {times} times, tried again: {error}");
        }
        for (image, times) in images {
            eprintln!("  {times} times {image}");
        }
        self.rows.push(row);
        Ok(())
    }
}

struct Waypost<'a> {
    helm: &'a str,
    chart: &'a str,
}

impl Waypost<'_> {
    fn install(&self, layout: &str) -> Result<()> {
        let registry = env::var("WAYPOST_REGISTRY").context(USAGE)?;
        run(Command::new("crane").args(["push", layout, &format!("{registry}/waypost:soak")]))?;
        let image = format!("image.repository={registry}/waypost,image.tag=soak");
        let through = format!("pullThrough.registry={}", REGISTRIES[0]);
        self.helm(&["install", "--create-namespace", "--set", &image, "--set", &through])
    }

    /// Says what helm does to the release.
    fn helm(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(self.helm);
        command
            .args(arguments)
            .args(["--namespace", "waypost", "--wait", "waypost", self.chart]);
        run(&mut command)
    }

    /// Until those that were there before are gone: they answer while they drain.
    fn restart(&self) -> Result<()> {
        let before = pods()?;
        waypost(&["rollout", "restart", "deployment/waypost-webhook"])?;
        waypost(&["rollout", "status", "deployment/waypost-webhook", "--timeout=300s"])?;
        until("an end of the replicas before", || {
            Ok(pods()?.iter().all(|pod| !before.contains(pod)))
        })
    }

    /// SIGKILL, to the process of the replica that the API server calls most. Until it was started again and is ready.
    fn kill(&self) -> Result<()> {
        let restarts = "--output=jsonpath={.items[*].status.containerStatuses[0].restartCount}";
        let before = waypost(&["get", "pods", WEBHOOKS, restarts])?;
        let processes = on_node("waypost", "webhook")?;
        let called = processes.iter().max_by_key(|process| connections(**process));
        kill(called.context("no replica runs")?)?;
        until("a replica that was started again", || {
            Ok(waypost(&["get", "pods", WEBHOOKS, restarts])? != before)
        })?;
        waypost(&["rollout", "status", "deployment/waypost-webhook", "--timeout=300s"])?;
        Ok(())
    }

    /// Both, in the controller's steps, until it says that it is done.
    fn rotate(&self) -> Result<()> {
        let annotation = "--output=jsonpath={.metadata.annotations.waypost\\.dev/rotate}";
        let authority = "--output=jsonpath={.data.ca\\.crt}";
        let secret = ["get", "secret", "waypost-certificate"];
        let before = waypost(&[&secret[..], &[authority]].concat())?;
        waypost(&["annotate", "secret", "waypost-certificate", "waypost.dev/rotate=ca"])?;
        until("the annotation's end", || {
            Ok(waypost(&[&secret[..], &[annotation]].concat())?.is_empty())
        })?;
        ensure!(
            before != waypost(&[&secret[..], &[authority]].concat())?,
            "the authority is the old one"
        );
        Ok(())
    }

    /// Until every replica has the new policies: the kubelet takes its time.
    fn upgrade(&self) -> Result<()> {
        let before = generations()?;
        let through = format!("pullThrough.registry={}", REGISTRIES[1]);
        self.helm(&["upgrade", "--reuse-values", "--set", &through])?;
        until("new policies everywhere", || {
            let now = generations()?;
            Ok(now.len() == before.len()
                && now
                    .iter()
                    .all(|(pod, now)| before.get(pod).is_some_and(|before| before < now)))
        })
    }
}

const WEBHOOKS: &str = "--selector=app.kubernetes.io/name=waypost,app.kubernetes.io/component=webhook";

fn waypost(arguments: &[&str]) -> Result<String> {
    kubectl(&[&["--namespace=waypost"], arguments].concat(), "")
}

/// The names of the webhook's Pods, those included that are about to end.
fn pods() -> Result<Vec<String>> {
    let names = waypost(&["get", "pods", WEBHOOKS, "--output=jsonpath={.items[*].metadata.name}"])?;
    Ok(names.split_whitespace().map(str::to_owned).collect())
}

/// How often each replica has loaded policies.
fn generations() -> Result<BTreeMap<String, u64>> {
    let generation = |pod: String| {
        let metrics = waypost(&[
            "get",
            "--raw",
            &format!("/api/v1/namespaces/waypost/pods/{pod}:9090/proxy/metrics"),
        ])?;
        let value = metrics
            .lines()
            .find_map(|line| line.strip_prefix("waypost_policy_generation "));
        Ok((pod, value.context("no waypost_policy_generation")?.parse()?))
    };
    pods()?.into_iter().map(generation).collect()
}

/// SIGKILL. Until it is ready again: the cluster's supervisor starts it a second later.
fn restart_api_server() -> Result<()> {
    let before = on_node("kube-apiserver", "--")?;
    kill(before.first().context("no API server runs")?)?;
    until("another API server", || {
        Ok(on_node("kube-apiserver", "--")?
            .iter()
            .any(|process| !before.contains(process)))
    })?;
    until("an API server that is ready", || {
        // What is not ready yet is nothing to talk about.
        let asked = Command::new("kubectl").args(["get", "--raw=/readyz"]).output()?;
        Ok(asked.status.success())
    })
}

/// Processes of this cluster's node by their program's name and the beginning of their first argument. We share the node's
/// network alone, and see those of the whole machine.
fn on_node(program: &str, argument: &str) -> Result<Vec<u32>> {
    let node: u32 = fs::read_to_string(cluster_dir()?.join("node.pid"))?.trim().parse()?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(process) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // It may have ended since.
        let command = fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
        let mut words = command.split('\0');
        let is = words
            .next()
            .is_some_and(|path| Path::new(path).file_name() == Some(program.as_ref()));
        if is && words.next().is_some_and(|word| word.starts_with(argument)) && descends(process, node) {
            found.push(process);
        }
    }
    Ok(found)
}

fn descends(mut process: u32, from: u32) -> bool {
    while process > 1 && process != from {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        process = parent.and_then(|parent| parent.trim().parse().ok()).unwrap_or(0);
    }
    process == from
}

/// How many connections a replica has open on its port, of whoever calls it: in a network of its own nobody else has any.
fn connections(process: u32) -> usize {
    let tables = ["tcp", "tcp6"].map(|table| format!("/proc/{process}/net/{table}"));
    let tables = tables.map(|table| fs::read_to_string(table).unwrap_or_default());
    // 8443, and 01 is ESTABLISHED.
    let ours = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|local| local.ends_with(":20FB")) && words.nth(1) == Some("01")
    };
    tables.iter().map(|table| table.lines().filter(ours).count()).sum()
}

fn kill(process: &u32) -> Result<()> {
    run(Command::new("kill").args(["-KILL", &process.to_string()]))
}

/// What the API server wrote about calls of the webhook that failed, each with how often.
fn failures() -> Result<()> {
    let cluster: Value = serde_json::from_slice(&fs::read(cluster_dir()?.join("cluster.json"))?)?;
    let logs = Path::new(cluster["logs"].as_str().context("no logs")?);
    let log = fs::read_to_string(logs.join("kube-apiserver.log"))?;
    let mut failures = BTreeMap::<&str, usize>::new();
    for line in log
        .lines()
        .filter(|line| line.contains("failing open") && line.contains("pods.waypost.dev"))
    {
        // Without its time.
        *failures
            .entry(line.split_once("] ").map_or(line, |(_, rest)| rest))
            .or_default() += 1;
    }
    for (failure, times) in failures {
        eprintln!("the API server, {times} times: {failure}");
    }
    Ok(())
}

fn until(what: &str, is: impl Fn() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    loop {
        let answer = is();
        if let Ok(true) = answer {
            return Ok(());
        }
        ensure!(began.elapsed() < LIMIT, "no {what}: {answer:?}");
        thread::sleep(Duration::from_millis(200));
    }
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
