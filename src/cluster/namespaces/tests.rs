//! The watch against an API server that answers by a script.

use std::{cell::RefCell, time::Duration};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{super::testing::*, *};
use crate::cluster::watch::WATCH_SECONDS;

fn namespace(name: &str, version: &str, team: &str) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"name": name, "resourceVersion": version, "labels": {"team": team}}})
}

fn list(version: &str, token: &str, items: &[(&str, &str)]) -> Answer {
    let items: Vec<_> = items.iter().map(|(name, team)| namespace(name, "1", team)).collect();
    let list = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version, "continue": token}, "items": items});
    Answer::Json(200, list)
}

/// What was told, in a form to compare with.
#[derive(Default)]
struct Told {
    events: RefCell<Vec<String>>,
    last: RefCell<Namespaces>,
}

impl Told {
    fn tell(&self, event: Event) {
        let text = match event {
            Event::Changed(namespaces) => {
                let count = namespaces.len();
                *self.last.borrow_mut() = namespaces;
                format!("{count} namespaces")
            }
            Event::Working => "working".to_owned(),
            Event::Broken(why) => format!("broken: {why}"),
        };
        // The same after each attempt.
        let mut events = self.events.borrow_mut();
        if events.last() != Some(&text) {
            events.push(text);
        }
    }

    fn team(&self, name: &str) -> Option<String> {
        let last = self.last.borrow();
        Some(last.labels(name)?.value("team").unwrap_or_default().to_owned())
    }

    fn events(&self) -> Vec<String> {
        self.events.take()
    }
}

/// Runs the watch beside what is done to it.
async fn beside(server: &Server, told: &Told, work: impl Future<Output = ()>) {
    let connect = async || Ok(server.client());
    tokio::select! {
        biased;
        () = work => {}
        never = watch(connect, async || server.wanted.notified().await, |event| told.tell(event)) => match never {},
    }
}

#[tokio::test(start_paused = true)]
async fn all_pages_are_listed_before_the_first_is_told_and_changes_follow() {
    let (server, told) = (Server::default(), Told::default());
    server.will([
        list("7", "next", &[("a", "x"), ("b", "x")]),
        list("7", "", &[("c", "x")]),
    ]);
    let mut events = server.will_watch();
    beside(&server, &told, async {
        settle().await;
        assert_eq!(told.events(), ["3 namespaces", "working"]);
        for accepted in server.accepted() {
            assert!(
                accepted.contains("as=PartialObjectMetadata"),
                "whole objects are asked for: {accepted}"
            );
        }
        let asked = server.asked();
        assert_eq!(
            asked[..2],
            [
                "/api/v1/namespaces?&limit=500",
                "/api/v1/namespaces?&limit=500&continue=next"
            ]
        );
        assert!(
            asked[2].contains("watch=true") && asked[2].contains("resourceVersion=7"),
            "{asked:?}"
        );
        assert!(asked[2].contains("allowWatchBookmarks=true"), "{asked:?}");

        events.send([event("ADDED", namespace("d", "8", "y"))]).await;
        settle().await;
        assert_eq!(
            (told.events(), told.team("d")),
            (vec!["4 namespaces".to_owned()], Some("y".to_owned()))
        );
        events.send([event("MODIFIED", namespace("a", "9", "y"))]).await;
        settle().await;
        assert_eq!((told.events().len(), told.team("a")), (1, Some("y".to_owned())));
        events.send([event("DELETED", namespace("a", "10", "y"))]).await;
        settle().await;
        assert_eq!((told.events(), told.team("a")), (vec!["3 namespaces".to_owned()], None));
        // Neither is news.
        events
            .send([
                event("MODIFIED", namespace("d", "11", "y")),
                event("DELETED", namespace("a", "12", "y")),
            ])
            .await;
        settle().await;
        assert_eq!(told.events(), [""; 0]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_told_in_few_parts_and_nothing_of_it_is_lost() {
    let (server, told) = (Server::default(), Told::default());
    server.will([list("1", "", &[])]);
    let mut events = server.will_watch();
    beside(&server, &told, async {
        settle().await;
        told.events();
        events
            .send((0..10_000).map(|n| event("ADDED", namespace(&format!("n-{n}"), &n.to_string(), "x"))))
            .await;
        settle().await;
        assert_eq!(told.last.borrow().len(), 10_000);
        let parts = told.events().len();
        assert!((10..200).contains(&parts), "{parts}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_goes_on_from_the_last_version_and_nobody_is_told() {
    let (server, told) = (Server::default(), Told::default());
    server.will([list("7", "", &[("a", "x")])]);
    let mut events = server.will_watch();
    let _second = server.will_watch();
    beside(&server, &told, async {
        settle().await;
        let bookmark = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"resourceVersion": "21"}});
        events
            .send([event("ADDED", namespace("b", "20", "x")), event("BOOKMARK", bookmark)])
            .await;
        settle().await;
        server.asked();
        drop(events);
        settle().await;
        assert!(server.asked()[0].contains("resourceVersion=21"));
        assert_eq!(told.events(), ["1 namespaces", "working", "2 namespaces"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_too_old_is_no_trouble_and_what_the_new_list_has_not_is_gone() {
    for in_the_stream in [true, false] {
        let (server, told) = (Server::default(), Told::default());
        server.will([list("7", "", &[("a", "x"), ("b", "x")])]);
        let gone = status(410, "too old resource version: 7 (9)");
        let mut first = None;
        if in_the_stream {
            let mut events = server.will_watch();
            events.send([event("ERROR", gone)]).await;
            first = Some(events);
        } else {
            server.will([Answer::Json(410, gone)]);
        }
        server.will([list("30", "", &[("b", "y"), ("c", "y")])]);
        let _second = server.will_watch();
        beside(&server, &told, async {
            sleep(Duration::from_millis(200)).await;
            assert_eq!(
                ["a", "b", "c"].map(|name| told.team(name).unwrap_or_default()),
                ["", "y", "y"]
            );
            assert!(
                !told.events().iter().any(|event| event.starts_with("broken: the")),
                "{in_the_stream}"
            );
            assert!(server.asked().last().unwrap().contains("resourceVersion=30"));
        })
        .await;
        drop(first);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_cut_is_made_again_and_only_lasting_trouble_is_told_once() {
    let (server, told) = (Server::default(), Told::default());
    server.will([list("7", "", &[("a", "x")])]);
    let events = server.will_watch();
    let second = server.will_watch();
    beside(&server, &told, async {
        sleep(Duration::from_secs(60)).await;
        told.events();
        // Cut, and at once there again.
        events.0.abort(std::io::Error::other("reset by peer"));
        sleep(Duration::from_secs(60)).await;
        assert_eq!(told.events(), [""; 0]);

        // Cut, and down for a minute.
        server.asked();
        second.0.abort(std::io::Error::other("reset by peer"));
        sleep(Duration::from_secs(60)).await;
        assert_eq!(
            told.events(),
            ["broken: the API server cannot be reached: connection refused"]
        );
        let attempts = server.asked().len();
        assert!((8..20).contains(&attempts), "{attempts} attempts in a minute");

        server.will([list("40", "", &[("b", "x")])]);
        let _third = server.will_watch();
        sleep(Duration::from_secs(15)).await;
        assert_eq!(told.events(), ["1 namespaces", "working"]);
        assert_eq!((told.team("a"), told.team("b").is_some()), (None, true));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_answers_500_or_refuses_is_asked_until_it_does_not() {
    let (server, told) = (Server::default(), Told::default());
    server.will((0..4).map(|_| Answer::Json(500, status(500, "etcd is away"))));
    server.will([
        Answer::Json(403, status(403, "namespaces is forbidden")),
        Answer::Json(401, status(401, "Unauthorized")),
        Answer::Refused,
        list("7", "next", &[("a", "x")]),
        Answer::Json(410, status(410, "the continue token is too old")),
        list("8", "", &[("b", "x")]),
    ]);
    let _watch = server.will_watch();
    beside(&server, &told, async {
        sleep(Duration::from_secs(120)).await;
        assert_eq!(
            told.events(),
            [
                "broken: the API server answers 500: etcd is away",
                "broken: the API server refuses it (403): namespaces is forbidden; grant get, list and watch on namespaces to whoever \
                 that is",
                "broken: the API server does not accept the credentials (401): they may have expired",
                "broken: the API server cannot be reached: connection refused",
                "broken: what is known is too old to go on from",
                "1 namespaces",
                "working"
            ]
        );
        assert_eq!((told.team("a"), told.team("b").is_some()), (None, true));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_missing_is_named() {
    let (server, told) = (Server::default(), Told::default());
    server.will([Answer::Json(
        403,
        status(403, "namespaces is forbidden: User \"x\" cannot list"),
    )]);
    beside(&server, &told, async {
        settle().await;
        assert_eq!(
            told.events(),
            [
                "broken: the API server refuses it (403): namespaces is forbidden: User \"x\" cannot list; grant get, list and watch \
                 on namespaces to whoever that is"
            ]
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_goes_silent_is_left() {
    let (server, told) = (Server::default(), Told::default());
    server.will([list("7", "", &[])]);
    let _silent = server.will_watch();
    let _second = server.will_watch();
    beside(&server, &told, async {
        sleep(Duration::from_secs(u64::from(WATCH_SECONDS) * 5 / 4 + 60)).await;
        assert_eq!(
            server
                .asked()
                .iter()
                .filter(|asked| asked.contains("watch=true"))
                .count(),
            2
        );
        assert_eq!(told.events(), ["0 namespaces", "working"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_needs_a_namespace_ends_the_pause_and_makes_no_more_than_ten_attempts_a_second() {
    let (server, told) = (Server::default(), Told::default());
    beside(&server, &told, async {
        // Ten seconds between two attempts by now.
        sleep(Duration::from_secs(60)).await;
        server.asked();
        server.will([list("7", "", &[("a", "x")])]);
        let _watch = server.will_watch();
        server.wanted.notify_one();
        // There may have been an attempt just now, and between two of them is a tenth of a second.
        sleep(Duration::from_millis(100)).await;
        settle().await;
        assert_eq!(told.events().last().unwrap(), "working");
    })
    .await;

    let server = Server::default();
    beside(&server, &told, async {
        for _ in 0..1_000 {
            server.wanted.notify_one();
            settle().await;
        }
        let attempts = server.asked().len();
        assert!((5..=12).contains(&attempts), "{attempts}");
    })
    .await;
}
