//! What holds for every manifest.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{super::read::Content, *};
use crate::{
    admission::{ImageEvent, Observer, ReviewOutcome, respond},
    review::Operation,
};

/// Makes a manifest out of choices: each number decides on one thing that people write in several ways.
struct Author<'c> {
    choices: &'c [u8],
    /// Whether all is in the flow style of JSON.
    json: bool,
}

impl Author<'_> {
    fn choose(&mut self, among: usize) -> usize {
        let Some((first, rest)) = self.choices.split_first() else {
            return 0;
        };
        self.choices = rest;
        usize::from(*first) % among
    }

    fn one_of<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.choose(texts.len())]
    }

    fn scalar(&mut self, text: &str, indentation: usize) -> String {
        if self.json {
            return format!("\"{text}\"");
        }
        match self.choose(6) {
            0 => format!("'{text}'"),
            1 => format!("\"{text}\""),
            2 if indentation > 0 => format!(">-\n{}{text}", " ".repeat(indentation + 2)),
            3 if indentation > 0 => format!("|-  # {text}\n{}{text}\n", " ".repeat(indentation + 1)),
            4 if indentation > 0 => format!("{text} # {text}"),
            _ => text.to_owned(),
        }
    }

    /// A mapping, in block or flow style. `values` are made when their indentation is known; 0 is inside brackets.
    fn mapping(&mut self, indentation: usize, entries: Vec<(&str, Make<'_>)>) -> String {
        if self.json || indentation == 0 || self.choose(4) == 0 {
            let json = self.json;
            let lead = if json {
                self.one_of(&["", " ", "\n\t"])
            } else {
                self.one_of(&["", " ", "\n        "])
            };
            let inner: Vec<String> = entries
                .into_iter()
                .map(|(key, make)| {
                    let value = make(self, 0);
                    if json {
                        format!("{lead}\"{key}\": {value}")
                    } else {
                        format!("{lead}{key}: {value}")
                    }
                })
                .collect();
            return format!("{{{}}}", inner.join(","));
        }
        let mut text = String::new();
        for (key, make) in entries {
            let value = make(self, indentation);
            let comment = self.one_of(&["", "", "# image: nginx\n"]);
            if !comment.is_empty() {
                text.push_str(&format!("\n{}{}", " ".repeat(indentation), comment.trim_end()));
            }
            text.push_str(&format!("\n{}{key}: {value}", " ".repeat(indentation)));
        }
        text
    }

    fn list(&mut self, indentation: usize, items: Vec<Make<'_>>) -> String {
        if self.json || indentation == 0 || items.is_empty() || self.choose(4) == 0 {
            let space = self.one_of(&["", " "]);
            let items: Vec<String> = items.into_iter().map(|make| make(self, 0)).collect();
            return format!("[{space}{}{space}]", items.join(&format!(",{space}")));
        }
        let dash = indentation + self.choose(3);
        let mut text = String::new();
        for make in items {
            let item = make(self, dash + 2);
            let begin = format!("\n{}", " ".repeat(dash + 2));
            // Mostly the first key is on the line of the dash.
            let item = match item.strip_prefix(&begin) {
                Some(rest) if self.choose(4) > 0 && !rest.starts_with('#') => format!(" {rest}"),
                _ if item.starts_with('\n') => item,
                _ => format!(" {item}"),
            };
            text.push_str(&format!("\n{}-{item}", " ".repeat(dash)));
        }
        text
    }

    fn element(&mut self, image_key: &'static str, policy_key: &'static str) -> Vec<(&'static str, Make<'static>)> {
        let image = self.one_of(IMAGES_USED);
        let mut entries: Vec<(&str, Make<'_>)> = vec![(image_key, Box::new(move |a, i| a.scalar(image, i)))];
        let policy = self.one_of(&["", "", "Always", "IfNotPresent", "Never", "null"]);
        match policy {
            "" => {}
            "null" => entries.push((policy_key, Box::new(|_, _| "null".to_owned()))),
            policy => entries.push((policy_key, Box::new(move |a, i| a.scalar(policy, i)))),
        }
        let at = self.choose(entries.len() + 1);
        entries.insert(at, ("extra", Box::new(|a, i| a.scalar("x", i))));
        entries
    }

    fn spec(&mut self) -> Vec<(&'static str, Make<'static>)> {
        let mut spec: Vec<(&str, Make<'_>)> = Vec::new();
        for key in ["containers", "initContainers", "volumes"] {
            if key != "containers" && self.choose(3) > 0 {
                continue;
            }
            let count = 1 + self.choose(3);
            let items: Vec<Make<'_>> = (0..count)
                .map(|number| {
                    let make: Make<'_> = if key == "volumes" {
                        let entries = self.element("reference", "pullPolicy");
                        Box::new(move |a, i| {
                            let name: Make<'_> = Box::new(move |a, i| a.scalar(&format!("v{number}"), i));
                            let image: Make<'_> = Box::new(move |a, i| {
                                let inner = if i == 0 { 0 } else { i + 2 };
                                a.mapping(inner, entries)
                            });
                            a.mapping(i, vec![("name", name), ("image", image)])
                        })
                    } else {
                        let mut entries = self.element("image", "imagePullPolicy");
                        let name = format!("{}{number}", &key[..1]);
                        entries.push(("name", Box::new(move |a, i| a.scalar(&name, i))));
                        Box::new(move |a, i| a.mapping(i, entries))
                    };
                    make
                })
                .collect();
            spec.push((key, Box::new(move |a, i| a.list(i, items))));
        }
        if self.choose(2) == 0 {
            let names: &[&str] = [&["mine"][..], &["regcred"], &["a", "b"], &[]][self.choose(4)];
            let items = names.iter().map(|name| {
                let make: Make<'_> =
                    Box::new(move |a, i| a.mapping(i, vec![("name", Box::new(move |a, i| a.scalar(name, i)))]));
                make
            });
            let items: Vec<_> = items.collect();
            let at = self.choose(spec.len() + 1);
            spec.insert(at, ("imagePullSecrets", Box::new(move |a, i| a.list(i, items))));
        }
        spec
    }

    fn document(&mut self) -> String {
        let spec = self.spec();
        let labels = self.one_of(&["colour: red", "colour: blue", "waypost.dev/rewrite: disabled"]);
        let namespace = self.one_of(&["default", "prod"]);
        let word = |text: &'static str| -> Make<'static> {
            Box::new(move |a: &mut Author<'_>, _| if a.json { format!("\"{text}\"") } else { text.to_owned() })
        };
        let (key, value) = labels.split_once(": ").unwrap();
        // Below the root, an indentation of 0 is inside brackets; at the root it is the root's.
        let metadata = move |indentation: Option<usize>| -> Make<'static> {
            Box::new(move |a, i| {
                let inside = indentation.unwrap_or(if i == 0 { 0 } else { i + 2 });
                let inside = if a.json { 0 } else { inside };
                let labels: Make<'_> =
                    Box::new(move |a, i| a.mapping(if i == 0 { 0 } else { i + 2 }, vec![(key, word(value))]));
                a.mapping(inside, vec![("namespace", word(namespace)), ("labels", labels)])
            })
        };
        let at = |a: &Author<'_>, indentation: usize| if a.json { 0 } else { indentation };
        let (version, kind, body): (_, _, Make<'_>) = if self.choose(2) == 0 {
            ("v1", "Pod", Box::new(move |a, _| a.mapping(at(a, 2), spec)))
        } else {
            (
                "apps/v1",
                "Deployment",
                Box::new(move |a, _| {
                    let template: Make<'_> = Box::new(move |a, i| {
                        let inner: Make<'_> = Box::new(move |a, i| a.mapping(if i == 0 { 0 } else { 6 }, spec));
                        let entries = vec![("metadata", metadata(None)), ("spec", inner)];
                        a.mapping(if i == 0 { 0 } else { 4 }, entries)
                    });
                    a.mapping(at(a, 2), vec![("replicas", word("one")), ("template", template)])
                }),
            )
        };
        let entries = vec![
            ("apiVersion", word(version)),
            ("kind", word(kind)),
            ("metadata", metadata(Some(2))),
            ("spec", body),
        ];
        if self.json {
            return self.mapping(0, entries) + "\n";
        }
        let mut text = String::new();
        for (key, make) in entries {
            text.push_str(&format!("{key}: {}\n", make(self, 0)));
        }
        text
    }

    fn manifest(&mut self) -> String {
        let mut text = String::new();
        for number in 0..=self.choose(3) {
            self.json = self.choose(5) == 0;
            if number > 0 || self.choose(2) == 0 {
                text.push_str("---\n");
            }
            if self.choose(3) == 0 {
                text.push_str("# Source: chart/templates/x.yaml\n");
            }
            text.push_str(&self.document());
        }
        if self.choose(4) == 0 {
            text.truncate(text.trim_end().len());
        }
        if self.choose(4) == 0 {
            text = text.replace('\n', "\r\n");
        }
        text
    }
}

type Make<'m> = Box<dyn FnOnce(&mut Author<'_>, usize) -> String + 'm>;

const IMAGES_USED: &[&str] = &[
    "nginx",
    "nginx:1",
    "a/b@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "quay.io/a/b",
    "quay.io/a/b:2",
    "ghcr.io/a/b",
    "evil.io/a",
    "gcr.io/a",
    "r.io/docker.io/library/nginx:1",
    "127.0.0.1:30500/a/b:latest",
];

/// A document as `kubectl` sends it.
fn to_json(document: &Document<'_>, id: Id) -> Value {
    let id = document.resolve(id);
    match &document.node(id).content {
        Content::Scalar(..) => document.text(id).map_or(Value::Null, Value::from),
        Content::Sequence(items, _) => items.iter().map(|item| to_json(document, *item)).collect(),
        Content::Mapping(entries, _) => entries
            .iter()
            .map(|(key, value)| {
                (
                    document.text(*key).unwrap_or_default().to_owned(),
                    to_json(document, *value),
                )
            })
            .collect(),
        Content::Alias(_) | Content::Tagged => Value::Null,
    }
}

/// The Pods of a manifest, as the API server asks about them.
fn pods_of(text: &str) -> Vec<Value> {
    let mut found = Vec::new();
    read::read(text, |document| {
        let object = to_json(&document, document.root());
        let mut pod = match object["kind"].as_str() {
            Some("Pod") => object.clone(),
            _ => object["spec"]["template"].clone(),
        };
        let namespace = object["metadata"]["namespace"].clone();
        pod["metadata"]["namespace"] = namespace.clone();
        for list in ["initContainers", "containers"] {
            let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
            containers
                .into_iter()
                .flatten()
                .for_each(|container| set_default(container, "image", "imagePullPolicy"));
        }
        let volumes = pod["spec"].get_mut("volumes").and_then(Value::as_array_mut);
        volumes
            .into_iter()
            .flatten()
            .for_each(|volume| set_default(&mut volume["image"], "reference", "pullPolicy"));
        found.push(json!({
            "kind": "AdmissionReview",
            "apiVersion": "admission.k8s.io/v1",
            "request": {
                "uid": "u",
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "operation": "CREATE",
                "namespace": namespace,
                "object": pod,
            }
        }));
    })
    .unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
    found
}

fn set_default(holder: &mut Value, image: &str, policy: &str) {
    if holder[policy].is_null() {
        holder[policy] = super::pods::default_pull_policy(holder[image].as_str().unwrap()).into();
    }
}

struct Nobody;

impl Observer for Nobody {
    fn image(&self, _: &Snapshot, _: ImageEvent) {}
    fn review(&self, _: Operation, _: ReviewOutcome, _: Duration) {}
}

/// What the webhook says to a Pod: its patch, empty for none.
fn answer(snapshot: &Snapshot, review: &Value) -> Value {
    let body = serde_json::to_vec(review).unwrap();
    let answer: Value = serde_json::from_slice(&respond(snapshot, &body, &Nobody).unwrap()).unwrap();
    answer["response"].clone()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_webhook_has_nothing_to_do_after_a_rewrite(choices in proptest::collection::vec(any::<u8>(), 20..300)) {
        let snapshot = snapshot();
        let text = Author { choices: &choices, json: false }.manifest();
        let (rewritten, findings) = with(&PULL, &text);
        for finding in &findings {
            prop_assert!(!finding.starts_with("shared") && !finding.starts_with("not-written"), "{finding}\n{text}");
        }
        prop_assert_eq!(&with(&PULL, &rewritten).0, &rewritten, "once more, {}", text);
        let (before, after) = (pods_of(&text), pods_of(&rewritten));
        prop_assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().zip(&after) {
            let (first, second) = (answer(&snapshot, before), answer(&snapshot, after));
            prop_assert_eq!(first["allowed"].as_bool(), second["allowed"].as_bool());
            prop_assert!(second.get("patch").is_none(), "{}\n{}\n{}", text, rewritten, second);
            // And it did nothing that the webhook would not have done.
            if first["allowed"] == true && first.get("patch").is_none() {
                prop_assert_eq!(before, after);
            }
        }
    }

    #[test]
    fn without_pull_only_images_change(choices in proptest::collection::vec(any::<u8>(), 20..300)) {
        let text = Author { choices: &choices, json: false }.manifest();
        let (rewritten, _) = with(&IMAGES, &text);
        prop_assert_eq!(&with(&IMAGES, &rewritten).0, &rewritten, "once more, {}", text);
        prop_assert_eq!(text.lines().count(), rewritten.lines().count());
        for (before, after) in text.lines().zip(rewritten.lines()) {
            // Whatever differs is the name of an image, in the middle of the same line.
            let undone = after
                .replace("blue.io/docker.io/library/", "")
                .replace("prod.io/docker.io/library/", "")
                .replace("r.io/docker.io/library/", "");
            let undone = ["blue.io/docker.io/", "prod.io/docker.io/", "r.io/docker.io/", "r.io/quay.io/"]
                .iter()
                .fold(undone, |line, prefix| line.replace(prefix, prefix.split_once('/').unwrap().1));
            let plain = before.replace("r.io/docker.io/library/", "");
            prop_assert_eq!(undone.replace("docker.io/", ""), plain);
        }
        for (mut before, mut after) in pods_of(&text).into_iter().zip(pods_of(&rewritten)) {
            for pod in [&mut before, &mut after] {
                without_images(pod);
            }
            prop_assert_eq!(before, after);
        }
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "[ \\-\\n\\r\t:#&*!|>'\"{}\\[\\],?a-z.0/@~<%]{0,80}") {
        for text in [text.clone(), pod(&format!("  - image: {text}")), pod(&text)] {
            let source = Source::new("m", &*text);
            if let Ok(rewritten) = rewrite(&snapshot(), &source, &PULL) {
                let again = Source::new("m", &*rewritten.text);
                let again = rewrite(&snapshot(), &again, &PULL);
                prop_assert_eq!(&*again.unwrap().text, &*rewritten.text);
            }
        }
    }
}

fn without_images(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for key in ["image", "reference"] {
                if map.get(key).is_some_and(Value::is_string) {
                    map.remove(key);
                }
            }
            map.values_mut().for_each(without_images);
        }
        Value::Array(items) => items.iter_mut().for_each(without_images),
        _ => {}
    }
}
