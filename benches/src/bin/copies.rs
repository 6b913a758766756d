//! What copying images costs: `waypost push` beside `crane copy` and `skopeo copy`, from one registry of loopback into another that is empty
//! each time. Started by the main program.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use waypost_benches::{
    distribution::{Distribution, Layer, free_memory},
    server::sibling,
};

const USAGE: &str = "usage: copies WAYPOST TOOLS ROUNDS    (TOOLS: the directory with `registry` and `crane`)";

/// Whoever copies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tool {
    /// One process for all images.
    Waypost,
    /// One process for each image.
    WaypostEach,
    Crane,
    Skopeo,
}

/// What is copied.
struct Case {
    name: &'static str,
    repositories: Vec<String>,
    /// Bytes that the target has in the end.
    bytes: u64,
    rounds: usize,
}

/// What one copy, of all images, used.
#[derive(Clone, Copy)]
struct Used {
    wall: f64,
    cpu: f64,
    /// MiB.
    peak: f64,
    /// At both registries.
    requests: usize,
}

/// A first copy, and the same again.
#[derive(Clone, Copy)]
struct Round {
    first: Used,
    again: Used,
}

struct Bench {
    waypost: PathBuf,
    tools: PathBuf,
    skopeo: Option<String>,
    dir: tempfile::TempDir,
    source: Distribution,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [waypost, tools, rounds] = &arguments[..] else {
        bail!(USAGE)
    };
    let rounds: usize = rounds.parse()?;
    let dir = storage()?;
    let tools = PathBuf::from(tools);
    let source = Distribution::start(&tools.join("registry"), &dir.path().join("source"))?;
    let bench = Bench {
        waypost: waypost.into(),
        tools,
        skopeo: skopeo(),
        dir,
        source,
    };
    let great = free_memory()? > 8 * GIB;
    let cases = bench.fill(rounds, great)?;
    println!("| | | wall, s | to the faster of both | CPU, s | peak, MiB | requests | again: s | again: requests |");
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for case in &cases {
        bench.measure(case)?;
    }
    if !great {
        eprintln!("NOT measured: a layer of 2 GB, for which there is too little free memory");
    }
    Ok(())
}

/// Where the registries have their files: in memory, where there is room, for a disk would be measured otherwise.
fn storage() -> Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() && free_memory()? > 4 * GIB {
        return Ok(tempfile::tempdir_in(memory)?);
    }
    eprintln!("the registries have their files on a disk: there is too little free memory for /dev/shm");
    Ok(tempfile::tempdir()?)
}

/// What it calls itself, where it is there.
fn skopeo() -> Option<String> {
    let said = Command::new("skopeo").arg("--version").output();
    match said {
        Ok(output) if output.status.success() => Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        _ => {
            eprintln!("==> skopeo is LEFT OUT, for there is none: apt-get install skopeo, or put it into PATH <==");
            None
        }
    }
}

impl Bench {
    fn fill(&self, rounds: usize, great: bool) -> Result<Vec<Case>> {
        eprintln!("making up images");
        let mut cases = Vec::new();
        let layers: Vec<Layer> = (0..5).map(|seed| Layer::random(100 * MB, seed)).collect();
        self.source.put("big", &layers)?;
        cases.push(Case {
            name: "one image of 500 MB, 5 layers",
            repositories: vec!["big".to_owned()],
            bytes: 500 * MB as u64,
            rounds,
        });
        drop(layers);
        // 2 MB that all have, 2 MB that ten have, and 1 MB of its own.
        let mut layers = [Layer::random(2 * MB, 100), Layer::random(0, 0), Layer::random(0, 0)];
        let mut repositories = Vec::new();
        for number in 0..100 {
            if number % 10 == 0 {
                layers[1] = Layer::random(2 * MB, 1_000 + number);
            }
            layers[2] = Layer::random(MB, 2_000 + number);
            let repository = format!("team/app-{number}");
            self.source.put(&repository, &layers)?;
            repositories.push(repository);
        }
        cases.push(Case {
            name: "100 images of 5 MB that share layers",
            repositories,
            bytes: 122 * MB as u64,
            rounds,
        });
        if great {
            self.source.put("great", &[Layer::random(2_000 * MB, 10_000)])?;
            cases.push(Case {
                name: "one layer of 2 GB",
                repositories: vec!["great".to_owned()],
                bytes: 2_000 * MB as u64,
                rounds: rounds.min(3),
            });
        }
        Ok(cases)
    }

    fn measure(&self, case: &Case) -> Result<()> {
        let mut tools = vec![Tool::Waypost, Tool::Crane];
        if case.repositories.len() > 1 {
            tools.push(Tool::WaypostEach);
        }
        if self.skopeo.is_some() {
            tools.push(Tool::Skopeo);
        }
        let mut rounds: BTreeMap<Tool, Vec<Round>> = BTreeMap::new();
        for round in 0..case.rounds {
            eprintln!("{}: round {} of {}", case.name, round + 1, case.rounds);
            // Nobody is always the first.
            tools.rotate_left(1);
            for tool in &tools {
                rounds.entry(*tool).or_default().push(self.round(case, *tool)?);
            }
        }
        let faster = |round: usize| {
            let others = [Tool::Crane, Tool::Skopeo]
                .into_iter()
                .filter_map(|tool| rounds.get(&tool));
            others.map(|all| all[round].first.wall).fold(f64::INFINITY, f64::min)
        };
        for (tool, all) in &rounds {
            let of = |value: fn(&Round) -> f64| median(all.iter().map(value).collect());
            let ratios: Vec<f64> = all
                .iter()
                .enumerate()
                .map(|(round, used)| used.first.wall / faster(round))
                .collect();
            let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let most = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            println!(
                "| {} | {} | {:.2} | {:.2} ({least:.2}–{most:.2}) | {:.2} | {:.1} | {:.0} | {:.2} | {:.0} |",
                case.name,
                self.name(*tool, case),
                of(|round| round.first.wall),
                median(ratios.clone()),
                of(|round| round.first.cpu),
                of(|round| round.first.peak),
                of(|round| round.first.requests as f64),
                of(|round| round.again.wall),
                of(|round| round.again.requests as f64),
            );
        }
        Ok(())
    }

    fn name(&self, tool: Tool, case: &Case) -> String {
        match tool {
            Tool::Waypost if case.repositories.len() > 1 => "waypost, one process".to_owned(),
            Tool::Waypost => "waypost".to_owned(),
            Tool::WaypostEach => "waypost, a process each".to_owned(),
            Tool::Crane => "crane".to_owned(),
            Tool::Skopeo => self.skopeo.clone().unwrap_or_default().replace(" version", ""),
        }
    }

    /// Into a registry that is empty, and the same again.
    fn round(&self, case: &Case, tool: Tool) -> Result<Round> {
        let dir = self.dir.path().join("target");
        let target = Distribution::start(&self.tools.join("registry"), &dir)?;
        let first = self.copy(case, tool, &target)?;
        for repository in &case.repositories {
            let (there, expected) = (target.digest(repository)?, self.source.digest(repository)?);
            ensure!(there == expected, "{repository} is {there} there, and not {expected}");
        }
        let again = self.copy(case, tool, &target)?;
        drop(target);
        let bytes = size(&dir.join("storage"))?;
        ensure!(bytes >= case.bytes, "{} has {bytes} bytes", dir.display());
        fs::remove_dir_all(&dir)?;
        Ok(Round { first, again })
    }

    fn copy(&self, case: &Case, tool: Tool, target: &Distribution) -> Result<Used> {
        let file = self.dir.path().join("commands");
        fs::write(&file, self.commands(case, tool, target.port).join("\n"))?;
        let before = self.source.requests()? + target.requests()?;
        let output = Command::new(sibling("usage")?)
            .arg(&file)
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            // Without anybody's logins.
            .env("HOME", self.dir.path())
            .output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout)?;
        let numbers: Vec<f64> = said.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [wall, cpu, peak] = numbers[..] else {
            bail!("three numbers were expected of `usage`")
        };
        Ok(Used {
            wall,
            cpu,
            peak: peak / 1024.0,
            requests: self.source.requests()? + target.requests()? - before,
        })
    }

    /// One a line, the words with tabs between them.
    fn commands(&self, case: &Case, tool: Tool, to: u16) -> Vec<String> {
        let from = self.source.port;
        let each = |command: &dyn Fn(&str) -> Vec<String>| {
            let commands = case
                .repositories
                .iter()
                .map(|repository| command(repository).join("\t"));
            commands.collect()
        };
        let words = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let waypost = |images: String| {
            let waypost = self.waypost.display();
            words(format!(
                "{waypost} push --to 127.0.0.1:{to} --as {{repository}} {images}"
            ))
        };
        let image = |repository: &str| format!("127.0.0.1:{from}/{repository}:1");
        match tool {
            Tool::Waypost => {
                let images: Vec<String> = case.repositories.iter().map(|repository| image(repository)).collect();
                vec![waypost(images.join(" ")).join("\t")]
            }
            Tool::WaypostEach => each(&|repository| waypost(image(repository))),
            Tool::Crane => each(&|repository| {
                let crane = self.tools.join("crane");
                let crane = crane.display();
                words(format!(
                    "{crane} copy --insecure {} 127.0.0.1:{to}/{repository}:1",
                    image(repository)
                ))
            }),
            Tool::Skopeo => each(&|repository| {
                words(format!(
                    "skopeo --insecure-policy copy --quiet --all --src-tls-verify=false --dest-tls-verify=false docker://{} docker://127.0.0.1:{to}/{repository}:1",
                    image(repository)
                ))
            }),
        }
    }
}

/// Bytes of all files below.
fn size(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            size(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(bytes)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

const MB: usize = 1_000_000;
const GIB: u64 = 1 << 30;
