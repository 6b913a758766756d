//! What push records cost on one machine: `cargo run --release --example store [RECORDS [failed]]`. Where all have `failed` there is nothing
//! in the index, and what is left is what the file costs. Linux only; docs/store.md has what it said.
#![expect(clippy::print_stdout, reason = "it is what this is for")]

use std::{
    env, fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use waypost::{
    pushes::{Event, Image, Origin, Record, State, What},
    registry::RegistrySpec,
    store::{
        Change, Draft, Embedded, PushQuery, Pushes, Store,
        embedded::{Clock, MOST_RECORDS},
    },
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let arguments: Vec<_> = env::args().collect();
    let words: Vec<_> = arguments.iter().skip(1).map(String::as_str).collect();
    match words[..] {
        [step, path, count, kind] => {
            let made = make(step, Path::new(path), count.parse()?, kind == FAILED);
            tokio::runtime::Runtime::new()?.block_on(made)
        }
        [] | [_] | [_, FAILED] => {
            let count = words.first().map_or(Ok(MOST_RECORDS), |count| count.parse())?;
            let kind = words.get(1).copied().unwrap_or("pushed");
            let dir = tempfile::tempdir()?;
            let path = dir.path().join("waypost.redb");
            // Each in a process of its own, for the memory that it takes.
            for step in STEPS {
                let status = Command::new(env::current_exe()?)
                    .arg(step)
                    .arg(&path)
                    .arg(count.to_string())
                    .arg(kind)
                    .status()?;
                if !status.success() {
                    return Err(format!("{step}: {status}").into());
                }
            }
            Ok(())
        }
        _ => Err("usage: store [RECORDS [failed]]".into()),
    }
}

async fn make(step: &str, path: &Path, count: usize, failed: bool) -> Result<()> {
    let begin = Instant::now();
    let clock: Clock = Box::new(Timestamp::now);
    let store = Embedded::open_at(path, clock)?;
    let opened = begin.elapsed();
    let records = store.index().borrow().len();
    match step {
        "fill" => fill(&store, count, failed).await?,
        "killed" => {
            println!(
                "| {count} records, opened after the process was killed | {opened:.1?}; {} |",
                memory()?
            );
            return Ok(());
        }
        "open" => {
            let bytes = fs::metadata(path)?.len();
            println!(
                "| {records} pushes that went well, opened | {opened:.1?}, {} MB; {} |",
                bytes >> 20,
                memory()?
            );
        }
        "use" => used(&store, count, failed).await?,
        "delete" => {
            let begin = Instant::now();
            store.delete("registry-0", None).await?;
            println!(
                "| a registry is removed, and nine in ten of the records with it | {:.1?}; {} |",
                begin.elapsed(),
                memory()?
            );
        }
        other => return Err(format!("there is no step `{other}`").into()),
    }
    Ok(())
}

/// Nine in ten in the first of the registries; and ends as if it had been killed.
async fn fill(store: &Embedded, count: usize, failed: bool) -> Result<()> {
    for number in 0..REGISTRIES {
        let spec = RegistrySpec {
            url: Some(format!("registry-{number}.example.com/team")),
            ..RegistrySpec::default()
        };
        let draft = Draft {
            spec,
            pull: Change::Keep,
            push: Change::Keep,
        };
        store.create(&format!("registry-{number}"), draft).await?;
    }
    let begin = Instant::now();
    for first in (0..count).step_by(1_000) {
        let events = (first..count.min(first + 1_000))
            .map(|number| event(number, failed))
            .collect::<Result<_>>()?;
        store.happened(events).await?;
    }
    println!(
        "| {count} pushes are told of, 1,000 in a call | {:.1?}; {} |",
        begin.elapsed(),
        memory()?
    );
    std::process::exit(0)
}

async fn used(store: &Embedded, count: usize, failed: bool) -> Result<()> {
    let events = (0..1_000)
        .map(|number| event(number * 7_919 % count, failed))
        .collect::<Result<Vec<_>>>()?;
    let mut took = Vec::new();
    for event in &events {
        let id = Record::new(event.image.clone(), &event.registry).id();
        let begin = Instant::now();
        store.push(&id).await?.ok_or("it is there")?;
        took.push(begin.elapsed());
    }
    println!("| a record is read | {} |", percentiles(took));
    let mut took = Vec::new();
    for event in &events {
        let query = PushQuery {
            image: Some(event.image.clone()),
            limit: 100,
            ..PushQuery::default()
        };
        let begin = Instant::now();
        store.pushes(&query).await?;
        took.push(begin.elapsed());
    }
    println!(
        "| the records of an image, of {REGISTRIES} registries | {} |",
        percentiles(took)
    );
    let query = PushQuery {
        state: Some(State::Running),
        limit: 100,
        ..PushQuery::default()
    };
    let begin = Instant::now();
    let page = store.pushes(&query).await?;
    println!(
        "| a page of a state that few are in: 10,000 are looked at | {:.1?}; it goes on: {} |",
        begin.elapsed(),
        page.next.is_some()
    );
    let mut took = Vec::new();
    for event in &events[..200] {
        let event = Event {
            at: Timestamp::now(),
            ..event.clone()
        };
        let begin = Instant::now();
        store.happened(vec![event]).await?;
        took.push(begin.elapsed());
    }
    println!("| a push is told of | {} |", percentiles(took));
    if count == MOST_RECORDS {
        let begin = Instant::now();
        store.happened(vec![event(count, failed)?]).await?;
        println!(
            "| one more, and the hundredth part makes room | {:.1?}; {} |",
            begin.elapsed(),
            memory()?
        );
    }
    Ok(())
}

fn event(number: usize, failed: bool) -> Result<Event> {
    let place = match number % 10 {
        0 => 1 + number / 10 % (REGISTRIES - 1),
        _ => 0,
    };
    let image = format!(
        "registry.example.com/team-{}/service-{}:v1.{number}",
        number % 100,
        number % 1_000
    );
    let what = match failed {
        true => What::Failed {
            error: format!(
                "registry-{place}.example.com answers 403 to PUT /v2/team/service-{}/manifests/{number:064x}",
                number % 1_000
            )
            .into(),
        },
        false => What::Succeeded {
            target: format!("registry-{place}.example.com/team/{image}").into(),
            digest: format!("sha256:{number:064x}").into(),
        },
    };
    Ok(Event {
        image: Image::parse(&image)?,
        registry: format!("registry-{place}").into(),
        at: Timestamp::from_nanosecond(1_700_000_000_123_456_789 + number as i128 * 1_000_000_000)?,
        origin: Origin::Notification,
        what,
    })
}

fn percentiles(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let at = |percent: usize| took.get(took.len() * percent / 100).copied().unwrap_or_default();
    format!("{:.2?} (p50), {:.2?} (p99)", at(50), at(99))
}

/// What the process has in memory, and has had at most.
fn memory() -> Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let of = |name: &str| -> Result<u64> {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .ok_or("Linux says it")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? >> 10)
    };
    Ok(format!("{} MB in memory, {} MB at most", of("VmRSS:")?, of("VmHWM:")?))
}

const STEPS: [&str; 5] = ["fill", "killed", "open", "use", "delete"];
const REGISTRIES: usize = 10;
const FAILED: &str = "failed";
