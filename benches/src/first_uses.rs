//! A storm of images that a rule replicates, against the same reviews where none does.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode,
    client::conn::http1,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use crate::{
    load::{Load, Protocol, percentile},
    server::{Program, Server, free_address},
};

/// What is measured of a server in a round.
#[derive(Clone, Copy)]
struct Measured {
    throughput: f64,
    /// A review's, in µs.
    cpu: f64,
    median: f64,
    tail: f64,
    peak: f64,
}

/// As tables have it.
const ROWS: [(&str, fn(&Measured) -> f64); 5] = [
    ("reviews/s", |measured| measured.throughput),
    ("CPU a review", |measured| measured.cpu),
    ("p50", |measured| measured.median),
    ("p99", |measured| measured.tail),
    ("most that was resident", |measured| measured.peak),
];

/// A kind of load, and whether its rules replicate.
struct Column {
    dir: PathBuf,
    reviews: Arc<[Bytes]>,
}

/// Three servers in each round, over HTTP/1.1: nothing is replicated; [`IMAGES`] images are, each of which a review brings in turn; one image
/// is. Gives a table of what the second and third take to the first.
///
/// # Errors
///
/// When a server does not start, or does not answer.
pub async fn measure(waypost: &Path, rounds: usize, duration: Duration) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let tls = dir.path().join("tls");
    let storm = reviews(IMAGES)?;
    let columns = [
        Column::new(dir.path(), "none", "keep: {}", storm.clone())?,
        Column::new(
            dir.path(),
            "storm",
            "keep: {}\n      replicate: {registry: corp}",
            storm,
        )?,
        Column::new(
            dir.path(),
            "one",
            "keep: {}\n      replicate: {registry: corp}",
            reviews(1)?,
        )?,
    ];
    let mut all: Vec<[Measured; 3]> = Vec::new();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        let [none, storm, one] = &columns;
        all.push([
            none.measure(waypost, &tls, duration).await?,
            storm.measure(waypost, &tls, duration).await?,
            one.measure(waypost, &tls, duration).await?,
        ]);
    }
    let mut table = format!(
        "| | {IMAGES} images replicated / none | one image replicated / none | none |\n| --- | ---: | ---: | ---: |\n"
    );
    for (name, of) in ROWS {
        let ratio = |column: usize| {
            let mut ratios: Vec<f64> = all.iter().map(|round| of(&round[column]) / of(&round[0])).collect();
            ratios.sort_by(f64::total_cmp);
            let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
            format!("{:.2} ({least:.2}–{most:.2})", ratios[ratios.len() / 2])
        };
        let mut absolute: Vec<f64> = all.iter().map(|round| of(&round[0])).collect();
        absolute.sort_by(f64::total_cmp);
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "| {name} | {} | {} | {:.2} |",
            ratio(1),
            ratio(2),
            absolute[absolute.len() / 2]
        );
    }
    Ok(table)
}

impl Column {
    fn new(dir: &Path, name: &str, action: &str, reviews: Arc<[Bytes]>) -> Result<Self> {
        let dir = dir.join(name);
        fs::create_dir_all(dir.join("policies"))?;
        let policy = format!(
            "apiVersion: waypost.dev/v1alpha1\nkind: Policy\nmetadata: {{name: p}}\nspec:\n  rules:\n    - name: storm\n      \
             match: {{images: [\"storm.example.com/**\"]}}\n      {action}\n"
        );
        fs::write(dir.join("policies/storm.yaml"), policy)?;
        Ok(Self { dir, reviews })
    }

    async fn measure(&self, waypost: &Path, tls: &Path, duration: Duration) -> Result<Measured> {
        // Each round begins without records.
        let data = self.dir.join("data");
        if data.exists() {
            fs::remove_dir_all(&data)?;
        }
        let api = free_address()?;
        let program = Program::Serve {
            waypost,
            tls,
            policies: &self.dir.join("policies"),
            api: Some(api),
        };
        let server = Server::start(&program, &self.dir)?;
        register(api, tls, &data.join("admin.token")).await?;
        let load = Load {
            address: server.address,
            tls: Protocol::Http1.tls(tls)?,
            reviews: self.reviews.clone(),
            protocol: Protocol::Http1,
        };
        let mut clients = load.clients().await?;
        clients.run(duration.div_f64(5.0)).await?;
        let before = server.cpu()?;
        let took = clients.run(duration).await?;
        let cpu = server.cpu()? - before;
        Ok(Measured {
            throughput: took.len() as f64 / duration.as_secs_f64(),
            cpu: cpu.as_secs_f64() * 1e6 / took.len() as f64,
            median: percentile(&took, 50)?.as_secs_f64() * 1e3,
            tail: percentile(&took, 99)?.as_secs_f64() * 1e3,
            peak: server.memory()?.peak,
        })
    }
}

/// Registers the registry that nobody answers for: what is copied is not measured here.
async fn register(api: SocketAddr, tls: &Path, token: &Path) -> Result<()> {
    let token = fs::read_to_string(token)?;
    // It is opened a moment after the webhook's port.
    let opened = async {
        loop {
            match TcpStream::connect(api).await {
                Ok(stream) => return stream,
                Err(_) => sleep(Duration::from_millis(1)).await,
            }
        }
    };
    let stream = timeout(Duration::from_secs(10), opened).await?;
    let connector = TlsConnector::from(Protocol::Http1.tls(tls)?);
    let stream = connector.connect(ServerName::from(api.ip()), stream).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with its sender.
    tokio::spawn(connection);
    let body = json!({"name": "corp", "registry_url": "http://127.0.0.1:1"}).to_string();
    let request = Request::post("/v1/registries")
        .header(HOST, api.to_string())
        .header(CONTENT_TYPE, "application/json")
        .header(AUTHORIZATION, format!("Bearer {}", token.trim()))
        .body(Full::new(Bytes::from(body)))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    ensure!(
        status == StatusCode::CREATED,
        "{status}: {}",
        String::from_utf8_lossy(&body)
    );
    Ok(())
}

/// Reviews of one Pod each, with so many images.
fn reviews(images: usize) -> Result<Arc<[Bytes]>> {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/reviews/pod-create.json");
    let mut review: Value = serde_json::from_slice(&fs::read(fixture)?)?;
    let slot = "/request/object/spec/containers/0/image";
    let mut all = Vec::with_capacity(images);
    for number in 0..images {
        let image = format!("storm.example.com/team/app-{number}:1");
        *review.pointer_mut(slot).context("the review has no image")? = image.into();
        all.push(review.to_string().into());
    }
    Ok(all.into())
}

/// So many images are in a storm.
const IMAGES: usize = 10_000;
