//! Changes captured reviews at random.

use serde_json::{Map, Value, json};

use crate::support::random::Random;

/// A sequence of reviews.
pub(super) struct Mutator {
    random: Random,
    seeds: Vec<Value>,
}

impl Mutator {
    pub(super) fn new(seed: u64) -> Self {
        let mut seeds: Vec<Value> = SEEDS.iter().map(|seed| serde_json::from_str(seed).unwrap()).collect();
        // The same Pods once more, being changed: all of their images, or none.
        for seed in 0..seeds.len() {
            let mut update = seeds[seed].clone();
            if update["request"]["operation"] == "CREATE" {
                update["request"]["operation"] = json!("UPDATE");
                update["request"]["oldObject"] = update["request"]["object"].clone();
                seeds.push(update.clone());
                for container in update["request"]["oldObject"]["spec"]["containers"]
                    .as_array_mut()
                    .unwrap()
                {
                    container["image"] = json!("quay.io/org/app:old");
                }
                seeds.push(update);
            }
        }
        Self {
            // Far apart: neighbours of a sequence must not be each other's continuation.
            random: Random::new(seed.wrapping_mul(0x9e6c_63d0_876a_3f2b)),
            seeds,
        }
    }

    /// The bytes of the next review, or of what was one.
    pub(super) fn review(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        let mut review = self.seeds[random.below(self.seeds.len())].clone();
        for _ in 0..1 + random.below(5) {
            // What is outside of the request, and the request as a whole, is soon no review any more.
            match random.below(30) {
                0 => anywhere(random, &mut review),
                1..5 => anywhere(
                    random,
                    review.pointer_mut("/request/object").unwrap_or(&mut Value::Null),
                ),
                5..9 => in_the_request(random, &mut review),
                _ => in_the_pod(random, &mut review),
            }
        }
        let mut bytes = serde_json::to_vec(&review).unwrap();
        if random.one_in(4) {
            escape(random, &mut bytes);
        }
        if random.one_in(6) {
            for _ in 0..1 + random.below(3) {
                damage(random, &mut bytes);
            }
        }
        bytes
    }
}

/// Changes some value of the tree.
fn anywhere(random: &mut Random, value: &mut Value) {
    // Near the root most changes end the review, and there are few such places: go deep.
    let stop = random.one_in(8);
    match value {
        Value::Object(map) if !map.is_empty() && !stop => {
            let key = map.keys().nth(random.below(map.len())).unwrap().clone();
            if random.one_in(10) {
                change_entry(random, map, &key);
            } else {
                anywhere(random, &mut map[&key]);
            }
        }
        Value::Array(list) if !list.is_empty() && !stop => {
            let at = random.below(list.len());
            if random.one_in(6) {
                change_list(random, list, at);
            } else {
                anywhere(random, &mut list[at]);
            }
        }
        _ => *value = odd(random, Some(value)),
    }
}

fn change_entry(random: &mut Random, map: &mut Map<String, Value>, key: &str) {
    match random.below(4) {
        0 => {
            map.remove(key);
        }
        1 => {
            let copy = map[key].clone();
            map.insert(random.pick(&TEXTS).to_owned(), copy);
        }
        2 => {
            map[key] = odd(random, None);
        }
        _ => {
            let value = map.remove(key).unwrap_or_default();
            map.insert(key.to_uppercase(), value);
        }
    }
}

fn change_list(random: &mut Random, list: &mut Vec<Value>, at: usize) {
    match random.below(5) {
        0 => {
            list.remove(at);
        }
        1 => list.insert(at, list[at].clone()),
        2 => list.insert(at, odd(random, None)),
        3 => {
            let copy = list[at].clone();
            for number in 0..random.below(40) {
                let mut copy = copy.clone();
                if let Some(name) = copy.get_mut("name") {
                    *name = json!(format!("n{number}"));
                }
                list.push(copy);
            }
        }
        _ => {
            let last = list.len() - 1;
            list.swap(at, last);
        }
    }
}

/// Changes what a review is about.
fn in_the_request(random: &mut Random, review: &mut Value) {
    let Some(request) = review.get_mut("request").and_then(Value::as_object_mut) else {
        return;
    };
    let key = random.pick(&[
        "operation",
        "subResource",
        "namespace",
        "uid",
        "resource",
        "kind",
        "object",
        "oldObject",
        "dryRun",
        "name",
    ]);
    let value = match (key, random.below(3)) {
        ("operation", 0 | 1) => json!(random.pick(&["CREATE", "UPDATE", "DELETE", "CONNECT", "create", ""])),
        ("subResource", 0 | 1) => json!(random.pick(&["ephemeralcontainers", "", "status", "resize", "binding"])),
        ("namespace", 0 | 1) => json!(random.pick(&["default", "reana-jobs", "kube-system", "", "über"])),
        ("uid", 0 | 1) => json!(random.pick(&TEXTS)),
        ("object", 0) => request.get("oldObject").cloned().unwrap_or_default(),
        ("oldObject", 0) => request.get("object").cloned().unwrap_or_default(),
        ("object" | "oldObject", 1) => return,
        _ => {
            let present = request.get(key).cloned();
            odd(random, present.as_ref())
        }
    };
    request.insert(key.to_owned(), value);
}

/// Changes what Waypost reads of a Pod.
fn in_the_pod(random: &mut Random, review: &mut Value) {
    let which = if random.one_in(5) { "oldObject" } else { "object" };
    let Some(pod) = review
        .pointer_mut("/request")
        .and_then(|request| request.get_mut(which))
    else {
        return;
    };
    if !pod.is_object() {
        return;
    }
    match random.below(10) {
        0 => set(random, pod, "metadata", "labels", &[LABELS, TEXTS]),
        1 => set(random, pod, "metadata", "annotations", &[ANNOTATIONS, TEXTS]),
        2 => {
            let secrets = (0..random.below(4)).map(|_| match random.below(4) {
                0 => odd(random, None),
                _ => json!({"name": random.pick(&["waypost-pull", "regcred", "mine", "x"])}),
            });
            let secrets = Value::Array(secrets.collect());
            if let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) {
                spec.insert("imagePullSecrets".to_owned(), secrets);
            }
        }
        3 => {
            let key = random.pick(&["metadata", "spec"]);
            let present = pod.get(key).cloned();
            pod[key] = odd(random, present.as_ref());
        }
        _ => image(random, pod),
    }
}

/// Puts an entry into a mapping of strings.
fn set(random: &mut Random, pod: &mut Value, part: &str, key: &str, words: &[[&str; 12]]) {
    let Some(part) = pod.get_mut(part).and_then(Value::as_object_mut) else {
        return;
    };
    let entry = random.pick(&random.clone().pick(words));
    let value = if random.one_in(5) {
        odd(random, None)
    } else {
        json!(random.pick(&TEXTS))
    };
    match part.entry(key).or_insert_with(|| json!({})) {
        Value::Object(map) => {
            map.insert(entry.to_owned(), value);
            if random.one_in(3) {
                map.insert("waypost.dev/rewrite".to_owned(), json!("disabled"));
            }
        }
        other => *other = json!({entry: value}),
    }
}

/// Changes an element of a list that names images, or adds one.
fn image(random: &mut Random, pod: &mut Value) {
    let list = random.pick(&[
        "containers",
        "containers",
        "initContainers",
        "ephemeralContainers",
        "volumes",
    ]);
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    let Value::Array(elements) = spec.entry(list).or_insert_with(|| json!([])) else {
        return;
    };
    let reference = match random.below(8) {
        0 | 1 => json!(random.pick(&IMAGES)),
        2 => odd(random, None),
        3 => json!(random.pick(&TEXTS)),
        _ => json!(random.mutated_reference()),
    };
    let policy = match random.below(6) {
        0 => odd(random, None),
        1 => json!("Never"),
        2 => json!("IfNotPresent"),
        _ => json!("Always"),
    };
    let name = match random.below(4) {
        0 => random.pick(&TEXTS).to_owned(),
        _ => format!("c{}", random.below(5)),
    };
    let element = if list == "volumes" {
        json!({"name": name, "image": {"reference": reference, "pullPolicy": policy}})
    } else {
        json!({"name": name, "image": reference, "imagePullPolicy": policy})
    };
    let at = random.below(elements.len() + 1);
    match elements.get_mut(at) {
        Some(present) if random.one_in(2) => {
            // What is not said stays as it is.
            if let (Value::Object(present), Value::Object(element)) = (present, element) {
                present.extend(element.into_iter().filter(|_| !random.one_in(3)));
            }
        }
        _ => elements.insert(at, element),
    }
}

/// A value that is not what is expected.
fn odd(random: &mut Random, present: Option<&Value>) -> Value {
    match random.below(12) {
        0 | 1 => Value::Null,
        2 => json!(random.one_in(2)),
        3 => json!(random.pick(&[0, -1, i64::MAX, i64::MIN])),
        4 => json!(random.pick(&[0.1, 1e300, -1e-300])),
        5 => json!({}),
        6 => json!([]),
        7 => json!([null, {}, "x", [[]], 7]),
        8 => json!({"name": null, "image": {"reference": ["x"]}, "": {"~/": "\u{0}"}}),
        9 => present.map_or(Value::Null, |present| json!([present])),
        10 => match present {
            Some(Value::String(text)) => {
                let mut text: Vec<char> = text.chars().collect();
                let at = random.below(text.len() + 1);
                text.splice(at..at, random.pick(&TEXTS).chars());
                json!(text.into_iter().collect::<String>())
            }
            _ => json!(random.pick(&TEXTS)),
        },
        _ => json!(random.pick(&TEXTS)),
    }
}

/// Writes some letters as JSON escapes, which means the same.
fn escape(random: &mut Random, json: &mut Vec<u8>) {
    let mut escaped = Vec::with_capacity(json.len() * 2);
    let mut within = false;
    let mut slash = false;
    for &byte in &*json {
        match byte {
            b'"' if !slash => within = !within,
            b'a'..=b'z' if within && !slash && random.one_in(20) => {
                escaped.extend(format!("\\u{:04x}", u32::from(byte)).bytes());
                continue;
            }
            _ => {}
        }
        slash = byte == b'\\' && !slash;
        // The letters of `\u0041` are left alone: they follow a slash, or are none that is escaped here on purpose.
        escaped.push(byte);
    }
    if serde_json::from_slice::<serde::de::IgnoredAny>(&escaped).is_ok() {
        *json = escaped;
    }
}

/// Changes bytes, whatever they mean.
fn damage(random: &mut Random, bytes: &mut Vec<u8>) {
    let at = random.below(bytes.len() + 1);
    let end = (at + random.below(20)).min(bytes.len());
    match random.below(6) {
        0 => bytes.truncate(at),
        1 if at < bytes.len() => bytes[at] = random.below(256) as u8,
        2 => bytes.insert(at, random.pick(b"\"\\{}[],:0\x00\xff\xc3 ")),
        3 => {
            bytes.drain(at..end);
        }
        4 => {
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
        _ => {
            let text = random.pick(&[
                r#""image":"alpine","#,
                r#""uid":"x","#,
                r#""\ud800","#,
                "1e999,",
                r#"{"a":"#,
                "\u{feff}",
                r#""name":null,"#,
            ]);
            bytes.splice(at..at, text.bytes());
        }
    }
}

const SEEDS: [&str; 5] = [
    include_str!("../../fixtures/reviews/pod-create.json"),
    include_str!("../../fixtures/reviews/job-pod-create.json"),
    include_str!("../../fixtures/reviews/ephemeral-container-update.json"),
    include_str!("../../fixtures/reviews/pod-create-all-images.json"),
    include_str!("../../fixtures/reviews/jupyterhub-pod-create.json"),
];

/// Images that the oracle's policies have something to say about.
const IMAGES: [&str; 19] = [
    "alpine",
    "docker.io/library/alpine:3.20",
    "index.docker.io/org/app",
    "registry.cern.ch/docker.io/library/alpine",
    "registry.cern.ch/quay.io/org/app:1",
    "registry.cern.ch/other/app",
    "quay.io/org/app:latest",
    "ghcr.io/org/team-app:v1",
    "ghcr.io/org/other",
    "forbidden.io/x",
    "mirror.io/a/b",
    "fallen.io/a/b",
    "down.io/a/b",
    "secrets.io/app",
    "lowered.io/app",
    "audited.io/app",
    "warned.io/app",
    "[::1]:5000/x",
    "Foo/bar",
];

const TEXTS: [&str; 12] = [
    "",
    "x",
    "name",
    "image",
    "a~b/c~1d",
    "\u{0}",
    "é\u{301}タ\u{1f980}",
    "\"\\\n\r\t",
    "\u{2028}\u{202e}",
    "disabled",
    "x=y,z=w/v,,=",
    "kubernetes.io/config.mirror",
];

const LABELS: [&str; 12] = [
    "waypost.dev/rewrite",
    "cnpg.io/cluster",
    "aerospike.com/cr",
    "app",
    "team",
    "tier",
    "batch.kubernetes.io/job-name",
    "run",
    "a/b/c",
    "Waypost.dev/rewrite",
    "waypost.dev/rewrite ",
    "é",
];

const ANNOTATIONS: [&str; 12] = [
    "kubernetes.io/config.mirror",
    "kubernetes.io/config.source",
    "waypost.dev/rules",
    "waypost.dev/rules/",
    "image.waypost.dev/bb",
    "image.waypost.dev/c1",
    "volume.waypost.dev/c1",
    "image.waypost.dev/",
    "waypost.dev",
    "a~b/c",
    "é",
    "x/y",
];
