//! The world against an API server that is made up: events come late, writes take their time, others write in between.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    world::{Meta, Task, World, Write},
    *,
};
use crate::{
    cluster::{
        pull_secrets::{Slip, digest},
        watch::{Change, Event},
    },
    policy::Labels,
    pull_secret::{Due, KEY, MARKS, TYPE},
    registry::{Login, Password, Registry},
};

const NAMESPACES: [&str; 3] = ["a", "b", "c"];

/// One Secret of an API server.
#[derive(Clone, Debug)]
struct Secret {
    uid: u64,
    version: u64,
    ours: bool,
    kind: &'static str,
    content: Vec<u8>,
}

#[derive(Default)]
struct Server {
    version: u64,
    secrets: BTreeMap<&'static str, Secret>,
    labels: BTreeMap<&'static str, BTreeMap<String, String>>,
    /// What was not told yet.
    secret_events: VecDeque<Change<Slip>>,
    namespace_events: VecDeque<Change<Meta>>,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Move {
    Relabel(usize, usize),
    Recreate(usize),
    DeleteSecret(usize),
    /// A user's own, of a type, or one with our marks.
    WriteSecret(usize, bool, bool),
    Registries(usize),
    TellSecrets(usize),
    TellNamespaces(usize),
    Start,
    Finish(usize),
}

impl Server {
    fn next(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    fn slip(namespace: &str, secret: &Secret) -> Slip {
        let content = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &secret.content);
        let marks: BTreeMap<_, _> = MARKS.into_iter().filter(|_| secret.ours).collect();
        let object = json!({
            "metadata": {"name": "waypost-pull", "namespace": namespace, "uid": secret.uid.to_string(),
                "resourceVersion": secret.version.to_string(), "labels": marks},
            "type": secret.kind,
            "data": {KEY: content},
        });
        serde_json::from_value(object).unwrap()
    }

    fn put(&mut self, namespace: &'static str, mut secret: Secret) -> Secret {
        secret.version = self.next();
        self.secret_events
            .push_back(Change::Applied(Self::slip(namespace, &secret)));
        self.secrets.insert(namespace, secret.clone());
        secret
    }

    fn delete(&mut self, namespace: &'static str) {
        if let Some(mut secret) = self.secrets.remove(namespace) {
            secret.version = self.next();
            self.secret_events
                .push_back(Change::Deleted(Self::slip(namespace, &secret)));
        }
    }

    fn namespace(&self, namespace: &str) -> Meta {
        let labels = self.labels.get(namespace);
        serde_json::from_value(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}),
        )
        .unwrap()
    }

    fn relabel(&mut self, namespace: &'static str, label: usize) {
        let labels = BTreeMap::from([("l".to_owned(), label.to_string())]);
        self.labels.insert(namespace, labels);
        self.namespace_events
            .push_back(Change::Applied(self.namespace(namespace)));
    }

    /// As the API server does it.
    fn take(&mut self, write: &Write) -> Outcome {
        let namespace = NAMESPACES.into_iter().find(|name| **name == *write.namespace).unwrap();
        let present = self.secrets.get(namespace).cloned();
        let seen = present.as_ref().map(|secret| Self::slip(namespace, secret).found);
        let is_as_seen = present.is_some()
            && seen.as_ref().map(|seen| (&seen.uid, &seen.version))
                == write.found.as_ref().map(|found| (&found.uid, &found.version));
        let written = |server: &mut Self, due: &Due, before: Option<Secret>| {
            let uid = before.map_or_else(|| server.next(), |secret| secret.uid);
            let secret = server.put(
                namespace,
                Secret {
                    uid,
                    version: 0,
                    ours: true,
                    kind: TYPE,
                    content: due.content(None).to_vec(),
                },
            );
            Outcome::Written(Self::slip(namespace, &secret).found)
        };
        match write.step {
            Step::Create if present.is_none() => written(self, &write.due, None),
            Step::Update if is_as_seen => {
                assert!(present.as_ref().unwrap().ours, "somebody else's was changed");
                written(self, &write.due, present)
            }
            Step::Delete if is_as_seen => {
                assert!(present.unwrap().ours, "somebody else's was deleted");
                self.delete(namespace);
                Outcome::Deleted
            }
            Step::Delete if present.is_none() => Outcome::Deleted,
            _ => Outcome::Conflict(seen),
        }
    }
}

fn plan(which: usize) -> Plan {
    let source = |id: &str, url: &str, namespaces: Value, password: &str| {
        let spec = serde_json::from_value(json!({"url": url, "namespaces": namespaces})).unwrap();
        let login = Login {
            username: "u".to_owned(),
            password: Password::new(password.to_owned()),
        };
        Source::of(&Registry::parse(id, &spec).unwrap(), Some(login))
    };
    let labelled = |value: &str| json!({"selector": {"matchLabels": {"l": value}}});
    let sources = match which {
        0 => vec![],
        1 => vec![source("x", "x.io", labelled("0"), "1")],
        2 => vec![
            source("x", "x.io", labelled("0"), "2"),
            source("y", "y.io", labelled("1"), "1"),
        ],
        _ => vec![
            source("x", "x.io", labelled("1"), "1"),
            source("z", "z.io", json!({"names": ["a", "b"]}), "1"),
        ],
    };
    Plan::new(sources, Served::All, digest)
}

/// Everything that [`PullSecrets::done`] does but counting.
fn finish(world: &mut World, write: &Write, outcome: Outcome, now: Instant) {
    let found = match outcome {
        Outcome::Written(found) => Some(Some(found)),
        Outcome::Deleted => Some(None),
        Outcome::Conflict(found) => Some(found),
        Outcome::Going | Outcome::Failed(_) => None,
    };
    world.done(&write.namespace, found, false, 0.5, now);
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        (0..3_usize, 0..3_usize).prop_map(|(namespace, label)| Move::Relabel(namespace, label)),
        (0..3_usize).prop_map(Move::Recreate),
        (0..3_usize).prop_map(Move::DeleteSecret),
        (0..3_usize, any::<bool>(), any::<bool>())
            .prop_map(|(namespace, ours, fits)| Move::WriteSecret(namespace, ours, fits)),
        (0..4_usize).prop_map(Move::Registries),
        (1..4_usize).prop_map(Move::TellSecrets),
        (1..4_usize).prop_map(Move::TellNamespaces),
        Just(Move::Start),
        (0..4_usize).prop_map(Move::Finish),
    ];
    prop::collection::vec(one, 0..60)
}

proptest! {
    #[test]
    fn whatever_happens_in_whatever_order_every_namespace_ends_with_what_is_due(moves in moves()) {
        let mut now = Instant::now();
        let mut server = Server::default();
        let mut world = World::new(now);
        for namespace in NAMESPACES {
            server.relabel(namespace, 0);
        }
        world.secrets(Event::Listed(vec![]), now);
        world.namespaces(Event::Listed(NAMESPACES.map(|name| server.namespace(name)).into()), now);
        server.namespace_events.clear();
        let mut which = 1;
        world.plan(plan(which), now);
        let mut running: Vec<(Write, Option<Outcome>)> = Vec::new();

        for happens in moves {
            match happens {
                Move::Relabel(namespace, label) => server.relabel(NAMESPACES[namespace], label),
                Move::Recreate(namespace) => {
                    let name = NAMESPACES[namespace];
                    server.delete(name);
                    server.namespace_events.push_back(Change::Deleted(server.namespace(name)));
                    server.relabel(name, namespace);
                }
                Move::DeleteSecret(namespace) => server.delete(NAMESPACES[namespace]),
                Move::WriteSecret(namespace, ours, fits) => {
                    let name = NAMESPACES[namespace];
                    let before = server.secrets.get(name).cloned();
                    let uid = before.as_ref().map_or_else(|| server.next(), |secret| secret.uid);
                    let kind = before.map_or(if fits { TYPE } else { "Opaque" }, |secret| secret.kind);
                    server.put(name, Secret { uid, version: 0, ours, kind, content: b"{\"auths\":{\"own.io\":{\"auth\":\"x\"}}}".to_vec() });
                }
                Move::Registries(registries) => {
                    which = registries;
                    world.plan(plan(which), now);
                }
                Move::TellSecrets(count) => {
                    let count = count.min(server.secret_events.len());
                    world.secrets(Event::Changed(server.secret_events.drain(..count).collect()), now);
                }
                Move::TellNamespaces(count) => {
                    let count = count.min(server.namespace_events.len());
                    world.namespaces(Event::Changed(server.namespace_events.drain(..count).collect()), now);
                }
                Move::Start => {
                    if let Task::Write(write) = world.next(now) {
                        running.push((write, None));
                    }
                }
                // First the API server does it, then the answer arrives.
                Move::Finish(number) => if !running.is_empty() {
                    let number = number % running.len();
                    match running[number].1.take() {
                        None => running[number].1 = Some(server.take(&running[number].0)),
                        Some(outcome) => {
                            let (write, _) = running.swap_remove(number);
                            finish(&mut world, &write, outcome, now);
                        }
                    }
                },
            }
        }

        let mut rounds = 0;
        loop {
            rounds += 1;
            prop_assert!(rounds < 1_000, "it does not come to rest");
            for (write, outcome) in std::mem::take(&mut running) {
                let outcome = outcome.unwrap_or_else(|| server.take(&write));
                finish(&mut world, &write, outcome, now);
            }
            world.namespaces(Event::Changed(server.namespace_events.drain(..).collect()), now);
            world.secrets(Event::Changed(server.secret_events.drain(..).collect()), now);
            match world.next(now) {
                Task::Write(write) => running.push((write, None)),
                Task::Tell(..) => {}
                Task::Wait(Some(until)) => now = until,
                Task::Wait(None) => break,
            }
        }
        let mut plan = plan(which);
        for namespace in NAMESPACES {
            let labels = &server.labels[namespace];
            let due = plan.due(namespace, labels as &dyn Labels);
            match server.secrets.get(namespace) {
                Some(secret) if !secret.ours => prop_assert!(String::from_utf8_lossy(&secret.content).contains("own.io")),
                Some(secret) => {
                    prop_assert!(!due.is_nothing(), "{namespace} has {secret:?}");
                    let expected = due.content(None);
                    prop_assert_eq!(&secret.content, &*expected, "{}", namespace);
                    prop_assert_eq!(secret.kind, TYPE);
                }
                None => prop_assert!(due.is_nothing(), "{namespace} has none"),
            }
        }
    }
}
