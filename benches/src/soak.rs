//! Pods, created at a steady rate whatever happens meanwhile, and what became of them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{self, MissedTickBehavior};

use crate::{
    api::{Access, Client},
    load::percentile,
};

/// Pods a second, of all connections together.
pub const RATE: u32 = 20;

/// So many that each has time for the longest that a webhook may take, 2 s: else a slow answer would slow down what is counted.
const CONNECTIONS: u32 = 40;

/// Before a Pod is tried again that the API server did not take.
const RETRY: Duration = Duration::from_millis(100);

/// Longer than any answer takes: a connection that an API server left behind when it was killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// The namespace of the Pods.
pub const NAMESPACE: &str = "soak";

/// What the Pods' author writes; it is created as `REGISTRY/` and this.
const IMAGE: &str = "docker.io/library/alpine:3.22";

/// A Pod that was created.
struct Created {
    at: Instant,
    /// Not known of one whose answer was lost.
    took: Option<Duration>,
    rewritten: bool,
}

#[derive(Default)]
struct Book {
    created: Vec<Created>,
    /// What the API server did not take, tried again since, by what it said.
    refused: BTreeMap<String, usize>,
    /// Where Pods are to be pulled from at the moment.
    registries: Vec<String>,
    /// The images that Pods were given, since this was last asked.
    images: BTreeMap<String, usize>,
}

/// Pods that are created until the runtime ends.
pub struct Load {
    access: Access,
    began: Instant,
    book: Mutex<Book>,
}

impl Load {
    /// Starts it, in the runtime that this is called in.
    #[must_use]
    pub fn start(access: Access, registry: &str) -> Arc<Self> {
        let load = Arc::new(Self {
            access,
            began: Instant::now(),
            book: Mutex::default(),
        });
        load.expect(&[registry]);
        for connection in 0..CONNECTIONS {
            tokio::spawn(Arc::clone(&load).run(connection));
        }
        load
    }

    /// Pods that are asked for from now on are to be pulled from one of these.
    pub fn expect(&self, registries: &[&str]) {
        self.book().registries = registries.iter().map(|&registry| registry.to_owned()).collect();
    }

    /// What the API server did not take since this was last asked, and the images of what it took.
    pub fn news(&self) -> [BTreeMap<String, usize>; 2] {
        let mut book = self.book();
        [std::mem::take(&mut book.refused), std::mem::take(&mut book.images)]
    }

    /// One row of the table: what became of the Pods that were created between the two.
    ///
    /// # Errors
    ///
    /// When none was.
    pub fn row(&self, name: &str, from: Instant, to: Instant) -> Result<String> {
        let book = self.book();
        let mut times: Vec<Instant> = book.created.iter().map(|pod| pod.at).filter(|&at| at <= to).collect();
        times.sort();
        // One that began before, and ended within, is this one's gap.
        let first = times.partition_point(|&at| at < from).saturating_sub(1);
        let gap = times[first..]
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .max()
            .unwrap_or_default();
        let within = || book.created.iter().filter(|pod| (from..=to).contains(&pod.at));
        let kept: Vec<String> = within()
            .filter(|pod| !pod.rewritten)
            .map(|pod| format!("{:.2}", (pod.at - from).as_secs_f64()))
            .collect();
        if !kept.is_empty() {
            eprintln!("{name}: not rewritten, seconds since it began: {}", kept.join(" "));
        }
        let mut took: Vec<Duration> = within().filter_map(|pod| pod.took).collect();
        took.sort();
        let milliseconds = |percent| percentile(&took, percent).map(|took| took.as_secs_f64() * 1e3);
        Ok(format!(
            "| {name} | {:.0} | {} | {} | {:.0} | {:.1} | {:.1} |",
            (to - from).as_secs_f64(),
            within().count(),
            kept.len(),
            gap.as_secs_f64() * 1e3,
            milliseconds(50)?,
            milliseconds(99)?,
        ))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // A task that panicked has left nothing half done.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>, connection: u32) {
        let first = self.began + Duration::from_secs(1) * connection / RATE;
        let mut ticks = time::interval_at(first.into(), Duration::from_secs(1) * CONNECTIONS / RATE);
        // No rush afterwards for what an API server that was away did not take.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut client = None;
        for number in 0_u64.. {
            ticks.tick().await;
            let pod = format!("pod-{connection}-{number}");
            let registries = self.book().registries.clone();
            while let Err(error) = self.patiently(&mut client, &pod, &registries).await {
                client = None;
                *self.book().refused.entry(format!("{error:#}")).or_default() += 1;
                time::sleep(RETRY).await;
            }
        }
    }

    async fn patiently(&self, client: &mut Option<Client>, pod: &str, registries: &[String]) -> Result<()> {
        let created = time::timeout(PATIENCE, self.create(client, pod, registries));
        created.await.context("no answer")?
    }

    /// Creates a Pod, enters what became of it, and deletes it.
    async fn create(&self, client: &mut Option<Client>, name: &str, registries: &[String]) -> Result<()> {
        let client = match client {
            Some(client) => client,
            None => client.insert(self.access.connect().await?),
        };
        let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods");
        let path = format!("{pods}/{name}");
        let body = Bytes::from(pod(name).to_string());
        let started = Instant::now();
        let (mut status, mut body) = client.send(Method::POST, &pods, body).await?;
        let at = Instant::now();
        let mut took = Some(at - started);
        if status == StatusCode::CONFLICT {
            // Created by an earlier try, whose answer was lost.
            took = None;
            (status, body) = client.send(Method::GET, &path, Bytes::new()).await?;
        }
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if !status.is_success() {
            bail!(
                "{status}: {}",
                answer["message"].as_str().unwrap_or("").replace(name, "POD")
            );
        }
        let image = answer["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
        let rewritten = registries
            .iter()
            .any(|registry| *image == format!("{registry}/{IMAGE}"));
        {
            let mut book = self.book();
            book.created.push(Created { at, took, rewritten });
            *book.images.entry(image.to_owned()).or_default() += 1;
        }
        // Where that fails the Pod stays, and harms nobody.
        let _ = client
            .send(Method::DELETE, &format!("{path}?gracePeriodSeconds=0"), Bytes::new())
            .await;
        Ok(())
    }
}

/// One that no scheduler looks at, so that no node does either.
fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "main", "image": IMAGE}]},
    })
}
