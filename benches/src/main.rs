//! `make bench`: the floor against `waypost serve`, in one run, the core alone, and what the creation of a Pod takes longer.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use waypost_benches::{
    core::{Core, time},
    first_uses,
    load::{Load, Protocol, percentile},
    pushes, rules,
    server::{Program, Server, sibling},
    table::{Aim, Row, render},
};

const USAGE: &str = "\
usage: waypost-benches [--core | --pushes | --first-uses | --latency | --soak | --soak-tokens | --objects | --copies] [--quick] [--rounds N] [--seconds S] [--waypost PATH] [REVIEW.json…]

  --core          the core alone
  --pushes        the index of pushes alone
  --first-uses    a storm of images that a rule replicates alone
  --latency       the creation of a Pod alone: a real API server, as root
  --soak          whether Pods are rewritten whatever happens to Waypost: a real node, as root; six minutes
  --soak-tokens   whether every Pod is pulled for with tokens of a minute: a real node, as root; twice ten minutes, or twice --seconds
  --quick         one short round: shows that everything runs, and measures little
  --rounds N      rounds, of which the middle value counts [default: 5]
  --seconds S     how long each server is measured in a round with each version of HTTP [default: 2], or a phase of a soak lasts
  --objects       memory of a replica and time until it is ready, with 20,000 push records: a real API server; five minutes
  --copies        images copied from one registry into another, beside crane and skopeo; five minutes
  --waypost PATH  this binary instead of one built now from this checkout; with --soak and --soak-tokens a static one
  REVIEW.json     what is sent, in turn [default: tests/fixtures/reviews/*.json]";

const FEW: usize = 10;
const MANY: usize = 10_000;

struct Options {
    core: bool,
    pushes: bool,
    first_uses: bool,
    latency: bool,
    soak: Option<Soak>,
    objects: bool,
    copies: bool,
    rounds: usize,
    seconds: Option<f64>,
    waypost: Option<PathBuf>,
    reviews: Vec<PathBuf>,
}

/// What happens while Pods are created.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Soak {
    /// Waypost and the API server are restarted, killed, changed.
    Changes,
    /// Tokens end all the time.
    Tokens,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::of(env::args().skip(1))?;
    if let Some(which) = options.soak {
        return soak(which, &options);
    }
    let reviews: Vec<Vec<u8>> = options.reviews.iter().map(fs::read).collect::<Result<_, _>>()?;
    let bytes: usize = reviews.iter().map(Vec::len).sum();
    eprintln!(
        "{} reviews of {} bytes on average",
        reviews.len(),
        bytes / reviews.len()
    );
    if options.pushes {
        println!("{}", pushed(&reviews)?);
        return Ok(());
    }
    if options.core {
        println!("{}", core(&options.reviews, &reviews)?);
        return Ok(());
    }

    let waypost = build(options.waypost.as_deref())?;
    if options.latency {
        return latency(&waypost, options.rounds);
    }
    if options.first_uses {
        println!("{}", storm(&waypost, &options).await?);
        return Ok(());
    }
    if options.copies {
        return copies(&waypost, options.rounds);
    }
    if options.objects {
        return objects(&waypost, options.rounds);
    }
    let bench = Bench::prepare(waypost.clone(), &reviews)?;
    let mut rows = Rows::new();
    let each = options.seconds.unwrap_or(if options.rounds > 1 { 2.0 } else { 0.3 });
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        bench.round(Duration::from_secs_f64(each), &mut rows).await?;
    }
    println!("\n{}", render(&rows.into_vec(), FEW, MANY));
    eprintln!("the core alone");
    println!("{}", core(&options.reviews, &reviews)?);
    eprintln!("the index of pushes");
    println!("{}", pushed(&reviews)?);
    eprintln!("a storm of images that a rule replicates");
    println!("{}", storm(&waypost, &options).await?);
    latency(&waypost, options.rounds)
}

/// The table of a storm of images that a rule replicates.
async fn storm(waypost: &Path, options: &Options) -> Result<String> {
    let seconds = options.seconds.unwrap_or(if options.rounds > 1 { 2.0 } else { 0.3 });
    first_uses::measure(waypost, options.rounds, Duration::from_secs_f64(seconds)).await
}

/// What the creation of a Pod takes longer, on a cluster of its own.
fn latency(waypost: &Path, rounds: usize) -> Result<()> {
    let pods = if rounds > 1 { 300 } else { 30 };
    let mut command = Command::new(sibling("latency")?);
    command.arg(waypost).args([rounds.to_string(), pods.to_string()]);
    on_a_node("the creation of a Pod", &command)
}

/// What push records cost a replica, on a cluster of its own.
fn objects(waypost: &Path, rounds: usize) -> Result<()> {
    let (count, seconds) = if rounds > 1 { (20_000, 60) } else { (200, 1) };
    let mut run = Command::new(cluster());
    run.args(["run", "--size=control-plane", "--"]).arg(sibling("objects")?);
    run.arg(waypost).args([count.to_string(), seconds.to_string()]);
    ensure!(run.status()?.success(), "{} failed", cluster().display());
    Ok(())
}

/// What copying images costs, beside others that do it.
fn copies(waypost: &Path, rounds: usize) -> Result<()> {
    let tools = Command::new(cluster())
        .args(["build", "registries"])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(tools.status.success(), "{} failed", cluster().display());
    let tools = String::from_utf8(tools.stdout)?;
    let mut run = Command::new(sibling("copies")?);
    run.arg(waypost).arg(tools.trim()).arg(rounds.to_string());
    ensure!(run.status()?.success(), "{run:?} failed");
    Ok(())
}

/// Whether anybody notices what happens to Waypost, installed on a cluster of its own. Whatever takes the Internet is done before.
fn soak(which: Soak, options: &Options) -> Result<()> {
    build_in(Path::new(env!("CARGO_MANIFEST_DIR")), "--bins")?;
    let dir = tempfile::tempdir()?;
    let layout = dir.path().join("image");
    let mut image = builder(checkout().join("image/build"));
    image.env("OUT", &layout).env_remove("PUSH").stdout(Stdio::null());
    if let Some(waypost) = &options.waypost {
        image.env("BINARY", waypost);
    }
    ensure!(image.status()?.success(), "{image:?} failed");
    let helm = Command::new(cluster()).args(["build", "helm"]).output()?;
    ensure!(helm.status.success(), "{}", String::from_utf8_lossy(&helm.stderr));
    let helm = Path::new(String::from_utf8(helm.stdout)?.trim()).join("helm");
    let quick = options.rounds == 1;
    let (program, seconds, what) = match which {
        Soak::Changes if quick => ("soak", 3.0, "Pods, whatever happens"),
        Soak::Changes => ("soak", 15.0, "Pods, whatever happens"),
        Soak::Tokens if quick => ("soak_tokens", 90.0, "Pods, with tokens of a minute"),
        Soak::Tokens => ("soak_tokens", 600.0, "Pods, with tokens of a minute"),
    };
    let mut command = Command::new(sibling(program)?);
    command.arg(layout).arg(helm).arg(checkout().join("charts/waypost"));
    command.arg(options.seconds.unwrap_or(seconds).to_string());
    on_a_node(what, &command)
}

/// Runs a command in a cluster of its own, where this machine can have one with a node.
fn on_a_node(what: &str, command: &Command) -> Result<()> {
    let preflight = Command::new(cluster()).args(["preflight", "--install"]).status()?;
    if !preflight.success() {
        eprintln!("NOT measured, for it takes a node: {what}");
        return Ok(());
    }
    eprintln!("{what}");
    let mut run = Command::new(cluster());
    run.args(["run", "--size=node", "--"])
        .arg(command.get_program())
        .args(command.get_args());
    ensure!(run.status()?.success(), "{} failed", cluster().display());
    Ok(())
}

fn cluster() -> PathBuf {
    checkout().join("tests/cluster/cluster")
}

impl Options {
    fn of(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            core: false,
            pushes: false,
            first_uses: false,
            latency: false,
            soak: None,
            objects: false,
            copies: false,
            rounds: 5,
            seconds: None,
            waypost: None,
            reviews: Vec::new(),
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().context(USAGE);
            match &*argument {
                "--core" => options.core = true,
                "--pushes" => options.pushes = true,
                "--first-uses" => options.first_uses = true,
                "--latency" => options.latency = true,
                "--soak" => options.soak = Some(Soak::Changes),
                "--soak-tokens" => options.soak = Some(Soak::Tokens),
                "--objects" => options.objects = true,
                "--copies" => options.copies = true,
                "--quick" => options.rounds = 1,
                "--rounds" => options.rounds = value()?.parse()?,
                "--seconds" => options.seconds = Some(value()?.parse()?),
                "--waypost" => options.waypost = Some(fs::canonicalize(value()?)?),
                _ => {
                    ensure!(!argument.starts_with('-'), USAGE);
                    options.reviews.push(argument.into());
                }
            }
        }
        if options.reviews.is_empty() {
            let entries = fs::read_dir(checkout().join("tests/fixtures/reviews"))?;
            options.reviews = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
            options
                .reviews
                .retain(|path| path.extension().is_some_and(|extension| extension == "json"));
            options.reviews.sort();
        }
        ensure!(options.rounds > 0 && !options.reviews.is_empty(), USAGE);
        Ok(options)
    }
}

/// Everything that the rounds have in common.
struct Bench {
    dir: tempfile::TempDir,
    waypost: PathBuf,
    reviews: Arc<[Bytes]>,
}

impl Bench {
    fn prepare(waypost: PathBuf, reviews: &[Vec<u8>]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let reviews = reviews.iter().cloned().map(Bytes::from).collect();
        let bench = Self { dir, waypost, reviews };
        rules::write(&bench.path("few"), FEW)?;
        rules::write(&bench.path("many"), MANY)?;
        // The first start makes the certificate, which no later one has to.
        let few = bench.path("few");
        drop(Server::start(&bench.serve(&bench.path("tls"), &few), bench.dir.path())?);
        Ok(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn serve<'p>(&'p self, tls: &'p Path, policies: &'p Path) -> Program<'p> {
        Program::Serve {
            waypost: &self.waypost,
            tls,
            policies,
            api: None,
        }
    }

    /// Starts each server anew, asks all with one version of HTTP before the other, and ends them.
    async fn round(&self, duration: Duration, rows: &mut Rows) -> Result<()> {
        let (tls, few, many) = (self.path("tls"), self.path("few"), self.path("many"));
        let programs = [Program::Floor(&tls), self.serve(&tls, &few), self.serve(&tls, &many)];
        let mut servers = Vec::new();
        for (column, program) in programs.iter().enumerate() {
            let server = Server::start(program, self.dir.path())?;
            self.load(&server, Protocol::Http1)?.first().await?;
            rows.ready.set(column, server.started.elapsed().as_secs_f64() * 1e3);
            servers.push(server);
        }
        for (protocol, rows) in Protocol::ALL.into_iter().zip(&mut rows.protocols) {
            for (column, server) in servers.iter().enumerate() {
                let mut clients = self.load(server, protocol)?.clients().await?;
                clients.run(duration.div_f64(5.0)).await?;
                let before = server.cpu()?;
                let took = clients.run(duration).await?;
                let cpu = server.cpu()? - before;
                rows.throughput.set(column, took.len() as f64 / duration.as_secs_f64());
                rows.cpu.set(column, cpu.as_secs_f64() * 1e6 / took.len() as f64);
                rows.median.set(column, percentile(&took, 50)?.as_secs_f64() * 1e3);
                rows.tail.set(column, percentile(&took, 99)?.as_secs_f64() * 1e3);
            }
        }
        for (column, server) in servers.iter().enumerate() {
            let memory = server.memory()?;
            rows.resident.set(column, memory.resident);
            rows.peak.set(column, memory.peak);
        }
        Ok(())
    }

    fn load(&self, server: &Server, protocol: Protocol) -> Result<Load> {
        Ok(Load {
            address: server.address,
            tls: protocol.tls(&self.path("tls"))?,
            reviews: self.reviews.clone(),
            protocol,
        })
    }
}

struct Rows {
    protocols: [ProtocolRows; 2],
    resident: Row,
    peak: Row,
    ready: Row,
}

struct ProtocolRows {
    throughput: Row,
    cpu: Row,
    median: Row,
    tail: Row,
}

impl Rows {
    fn new() -> Self {
        Self {
            protocols: Protocol::ALL.map(|protocol| {
                let name = protocol.as_str();
                ProtocolRows {
                    throughput: Row::new(format!("{name}: reviews/s"), 0, None),
                    cpu: Row::new(format!("{name}: CPU a review, µs"), 1, Some(Aim::Ratios(1.5, 1.1))),
                    median: Row::new(format!("{name}: p50, ms"), 2, None),
                    // Half-way to the 40 ms of a delayed acknowledgement.
                    tail: Row::new(format!("{name}: p99, ms"), 2, Some(Aim::Values(20.0, 20.0))),
                }
            }),
            resident: Row::new("resident after that, MiB", 1, Some(Aim::Values(12.0, 32.0))),
            peak: Row::new("most that was resident, MiB", 1, None),
            ready: Row::new("start to first answer, ms", 1, Some(Aim::Values(50.0, 50.0))),
        }
    }

    fn into_vec(self) -> Vec<Row> {
        let mut all = Vec::new();
        for rows in self.protocols {
            all.extend([rows.throughput, rows.cpu, rows.median, rows.tail]);
        }
        all.extend([self.resident, self.peak, self.ready]);
        all
    }
}

/// The table of the core alone.
fn core(paths: &[PathBuf], reviews: &[Vec<u8>]) -> Result<String> {
    let mut table = String::from(
        "| | ns an image | allocations an image | µs a review | allocations a review | policies, MiB | while compiling, MiB |\n",
    );
    table.push_str("| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for rules in [FEW, MANY] {
        let core = Core::new(rules, reviews.to_vec())?;
        let image = time(|| core.decide()).as_nanos();
        let review = time(|| core.respond()).as_secs_f64() * 1e6;
        let counted = Command::new(sibling("allocations")?)
            .arg(rules.to_string())
            .args(paths)
            .output()?;
        ensure!(counted.status.success(), "{}", String::from_utf8_lossy(&counted.stderr));
        let counted = String::from_utf8(counted.stdout)?;
        let counted: Vec<f64> = counted.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [of_image, of_review, kept, most] = counted[..] else {
            bail!("four numbers were expected of `allocations`");
        };
        table += &format!(
            "| core, {rules} rules | {image} | {of_image:.1} | {review:.2} | {of_review:.1} | {kept:.1} | {most:.1} |\n"
        );
    }
    Ok(table)
}

/// The table of the index of pushes.
fn pushed(reviews: &[Vec<u8>]) -> Result<String> {
    let mut table = String::from(
        "| | ns a look-up | of a digest | of nothing | µs a change | ms to build | bytes a record | most while building | ns an image | µs a review |\n",
    );
    table.push_str("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    let row = |what: &str, measured: &pushes::Measured, memory: &[f64], core: &Core| {
        let cells = [
            format!("{:.0}", measured.look_up.as_secs_f64() * 1e9),
            format!("{:.0}", measured.by_digest.as_secs_f64() * 1e9),
            format!("{:.0}", measured.nothing.as_secs_f64() * 1e9),
            format!("{:.1}", measured.change.as_secs_f64() * 1e6),
            format!("{:.1}", measured.building.as_secs_f64() * 1e3),
            memory
                .iter()
                .map(|bytes| format!("{bytes:.1}"))
                .collect::<Vec<_>>()
                .join(" | "),
            format!("{}", time(|| core.decide()).as_nanos()),
            format!("{:.2}", time(|| core.respond()).as_secs_f64() * 1e6),
        ];
        format!("| {what} | {} |\n", cells.join(" | "))
    };
    for count in [1, 1_000, 1_000_000] {
        let counted = Command::new(sibling("allocations")?)
            .args(["pushes", &count.to_string()])
            .output()?;
        ensure!(counted.status.success(), "{}", String::from_utf8_lossy(&counted.stderr));
        let counted = String::from_utf8(counted.stdout)?;
        let counted: Vec<f64> = counted.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let mut core = Core::new(FEW, reviews.to_vec())?;
        core.push(count);
        table += &row(&format!("{count} records"), &pushes::measure(count), &counted, &core);
    }
    let core = Core::new(FEW, reviews.to_vec())?;
    let image = time(|| core.decide()).as_nanos();
    let review = time(|| core.respond()).as_secs_f64() * 1e6;
    table += &format!("| no record | | | | | | | | {image} | {review:.2} |\n");
    Ok(table)
}

/// Builds what is measured, with the same profile, and gives the path of `waypost`.
fn build(given: Option<&Path>) -> Result<PathBuf> {
    build_in(Path::new(env!("CARGO_MANIFEST_DIR")), "--bins")?;
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    build_in(&checkout(), "--bin=waypost")?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| checkout().join("target"), PathBuf::from);
    Ok(target.join("release/waypost"))
}

fn build_in(dir: &Path, what: &str) -> Result<()> {
    let mut command = builder(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--release", "--quiet", what]).current_dir(dir);
    eprintln!("building {what} in {}", dir.display());
    let status = command.status()?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}

/// A command that builds. What `cargo run` says of this package would make ring's build script, and all that depends on it, run again.
fn builder(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name.to_string_lossy().starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
