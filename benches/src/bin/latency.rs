//! What a Pod's creation takes longer for being looked at: by nobody, by Waypost, by a policy inside of the API server.
//!
//! Runs inside of a cluster of `tests/cluster` (`cluster run -- latency …`), started by the main program.

use std::{
    env, fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};
use waypost_benches::api::{Access, Client, kubectl};

const USAGE: &str = "usage: latency WAYPOST ROUNDS PODS    (inside of `tests/cluster/cluster run --`)";

/// Who looks at a Pod, by the namespace that it is created in; the first is what the others are compared with.
const LOOKS: [&str; 3] = ["nobody", "waypost", "policy"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [waypost, rounds, pods] = &arguments[..] else {
        anyhow::bail!(USAGE);
    };
    let (rounds, pods): (usize, usize) = (rounds.parse()?, pods.parse()?);
    let scratch = tempfile::tempdir()?;
    let _waypost = install(Path::new(waypost), scratch.path())?;
    let mut client = Pods::connect().await?;
    for look in LOOKS {
        client.wait_for(look).await?;
    }

    let mut rows: [Vec<[f64; 2]>; LOOKS.len()] = Default::default();
    for round in 0..=rounds {
        let mut took: [Vec<Duration>; LOOKS.len()] = Default::default();
        for pod in 0..pods {
            // In turn, each first as often as the others: what slows the machine down slows all of them down.
            for turn in 0..LOOKS.len() {
                let look = (pod + turn) % LOOKS.len();
                took[look].push(client.create(LOOKS[look]).await?.0);
            }
        }
        // The first one warms up.
        if round > 0 {
            eprintln!("round {round} of {rounds}");
            for (row, took) in rows.iter_mut().zip(&mut took) {
                took.sort();
                let at = |percent: usize| took[took.len() * percent / 100].as_secs_f64() * 1e3;
                row.push([at(50), at(99)]);
            }
        }
    }

    println!("| a Pod created, dry run | p50, ms | more than without, ms | p99, ms | more than without, ms |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for (look, row) in LOOKS.iter().zip(&rows) {
        let name = match *look {
            "nobody" => "no webhook",
            "waypost" => "Waypost, through a Service",
            _ => "MutatingAdmissionPolicy, in process",
        };
        let of = |quantile: usize| spread(row.iter().map(|round| round[quantile]));
        let more = |quantile: usize| {
            spread(
                row.iter()
                    .zip(&rows[0])
                    .map(|(round, none)| round[quantile] - none[quantile]),
            )
        };
        println!("| {name} | {} | {} | {} | {} |", of(0), more(0), of(1), more(1));
    }
    Ok(())
}

/// The middle value, with the least and the most.
fn spread(values: impl Iterator<Item = f64>) -> String {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match (values.first(), values.get(values.len() / 2), values.last()) {
        (Some(least), Some(middle), Some(most)) => format!("{middle:.2} ({least:.2}–{most:.2})"),
        _ => String::new(),
    }
}

/// `serve` behind a Service, and a policy that does the same; each asked about one namespace.
fn install(waypost: &Path, dir: &Path) -> Result<Process> {
    let tls = dir.join("tls");
    // Its own authority: the API server trusts what `caBundle` says.
    let own = rcgen::generate_simple_self_signed(["waypost.default.svc".to_owned()])?;
    fs::create_dir(&tls)?;
    fs::write(tls.join("ca.crt"), own.cert.pem())?;
    fs::write(tls.join("tls.crt"), own.cert.pem())?;
    fs::write(tls.join("tls.key"), own.signing_key.serialize_pem())?;
    fs::create_dir(dir.join("policies"))?;
    fs::write(dir.join("policies/mirror.yaml"), POLICY)?;
    let node = kubectl(
        &[
            "get",
            "node",
            "--output=jsonpath={.items[0].status.addresses[0].address}",
        ],
        "",
    )?;
    let mut serve = Command::new(waypost);
    serve
        .current_dir(dir)
        .arg("serve")
        .args(["--kubeconfig", &env::var("KUBECONFIG")?]);
    serve.args([
        "--webhook-listen",
        &format!("{node}:8443"),
        "--admin-listen",
        "127.0.0.1:0",
    ]);
    serve.arg("--tls-dir").arg(&tls).args(["--policies", "policies"]);
    let log = dir.join("serve.log");
    let serve = serve
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log)?);
    let process = Process(serve.spawn()?);

    kubectl(&["apply", "--filename=-"], &SETUP.replace("NODE", &node))?;
    let mut printed = Command::new(waypost);
    printed.args(["webhook-config", "--service", "default/waypost"]);
    let printed = printed.arg("--ca-file").arg(tls.join("ca.crt")).output()?;
    ensure!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let read = ["create", "--dry-run=client", "--output=json", "--filename=-"];
    let mut webhook: Value = serde_json::from_str(&kubectl(&read, &String::from_utf8(printed.stdout)?)?)?;
    webhook["webhooks"][0]["namespaceSelector"] = json!({"matchLabels": {"kubernetes.io/metadata.name": "waypost"}});
    webhook["webhooks"][0]["failurePolicy"] = json!("Fail");
    kubectl(&["apply", "--filename=-"], &webhook.to_string())?;
    Ok(process)
}

/// Ends with this.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One connection to the API server, and the Pod that is created.
struct Pods {
    client: Client,
    pod: Bytes,
}

impl Pods {
    async fn connect() -> Result<Self> {
        Ok(Self {
            client: Access::of_cluster()?.connect().await?,
            pod: Bytes::from(pod().to_string()),
        })
    }

    /// Creates the Pod, by a dry run; how long that took, and what it would be.
    async fn create(&mut self, namespace: &str) -> Result<(Duration, Value)> {
        let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
        let started = Instant::now();
        let (status, body) = self.client.send(Method::POST, &path, self.pod.clone()).await?;
        let took = started.elapsed();
        ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
        Ok((took, serde_json::from_slice(&body)?))
    }

    /// Until Pods of the namespace come out as they are to.
    async fn wait_for(&mut self, look: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            let answer = self.create(look).await;
            if let Ok((_, pod)) = &answer {
                let images: Vec<_> = ["initContainers", "containers"]
                    .iter()
                    .flat_map(|list| pod["spec"][*list].as_array().into_iter().flatten())
                    .filter_map(|container| container["image"].as_str())
                    .collect();
                let rewritten = images
                    .iter()
                    .filter(|image| image.starts_with("mirror.test/docker.io/"))
                    .count();
                if rewritten == if look == "nobody" { 0 } else { images.len() } {
                    return Ok(());
                }
            }
            ensure!(began.elapsed() < Duration::from_secs(60), "Pods in {look}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A user's notebook as JupyterHub has it: four images, some 5 kB.
fn pod() -> Value {
    let container = |name: &str, image: &str| {
        let variables: Vec<_> = (0..20)
            .map(|n| json!({"name": format!("JUPYTERHUB_SETTING_{n}"), "value": format!("/user/some-body/value-{n}")}))
            .collect();
        json!({
            "name": name, "image": image, "env": variables, "imagePullPolicy": "IfNotPresent",
            "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "4Gi"}},
            "volumeMounts": [{"name": "home", "mountPath": "/home/jovyan"}],
        })
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "jupyter-", "labels": {"component": "singleuser-server"}},
        "spec": {
            "initContainers": [container("block-metadata", "docker.io/jupyterhub/k8s-network-tools:4.2.0"),
                container("fetch", "docker.io/library/alpine:3.22")],
            "containers": [container("notebook", "docker.io/jupyter/datascience-notebook:2025-03-14"),
                container("sync", "docker.io/library/busybox:1.37")],
            "volumes": [{"name": "home", "emptyDir": {}}],
        },
    })
}

const POLICY: &str = "\
apiVersion: waypost.dev/v1alpha1
kind: Policy
metadata: {name: mirror}
spec:
  rules:
    - {name: hub, match: {images: [docker.io/**]}, rewrite: {prefix: mirror.test}}
";

/// The namespaces, the Service, and the policy that does what Waypost's rule does.
const SETUP: &str = r#"
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: Namespace, metadata: {name: nobody}}
  - {apiVersion: v1, kind: Namespace, metadata: {name: waypost}}
  - {apiVersion: v1, kind: Namespace, metadata: {name: policy}}
  - {apiVersion: v1, kind: Service, metadata: {name: waypost, namespace: default}, spec: {ports: [{port: 443, targetPort: 8443}]}}
  - apiVersion: discovery.k8s.io/v1
    kind: EndpointSlice
    metadata: {name: waypost, namespace: default, labels: {kubernetes.io/service-name: waypost}}
    addressType: IPv4
    ports: [{port: 8443}]
    endpoints: [{addresses: [NODE]}]
  - apiVersion: admissionregistration.k8s.io/v1
    kind: MutatingAdmissionPolicy
    metadata: {name: mirror}
    spec:
      failurePolicy: Fail
      reinvocationPolicy: IfNeeded
      matchConstraints:
        resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
        namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: policy}}
      mutations:
        - patchType: ApplyConfiguration
          applyConfiguration:
            expression: >-
              Object{spec: Object.spec{
              initContainers: object.spec.initContainers.map(c, Object.spec.initContainers{name: c.name, imagePullPolicy: 'Always',
              image: c.image.startsWith('docker.io/') ? 'mirror.test/' + c.image : c.image}),
              containers: object.spec.containers.map(c, Object.spec.containers{name: c.name, imagePullPolicy: 'Always',
              image: c.image.startsWith('docker.io/') ? 'mirror.test/' + c.image : c.image})}}
  - apiVersion: admissionregistration.k8s.io/v1
    kind: MutatingAdmissionPolicyBinding
    metadata: {name: mirror}
    spec: {policyName: mirror}
"#;
