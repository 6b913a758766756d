use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn image(text: &str) -> Image {
    Image::parse(text).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn digest(number: u8) -> Box<str> {
    match number {
        9 => format!("sha512:{}", "ab".repeat(64)).into(),
        _ => sha256_text(&[number; 32]).into(),
    }
}

fn success(target: &str, number: u8, second: i64, sequence: u64) -> Success {
    Success {
        target: target.into(),
        digest: digest(number),
        platforms: Vec::new(),
        children: Vec::new(),
        finished_at: at(second),
        sequence,
    }
}

fn told(found: &[Found<'_>], image: &Reference<'_>) -> Vec<String> {
    let tell = |found: &Found<'_>| format!("{} {}", found.registry, found.target(image));
    found.iter().map(tell).collect()
}

fn find(index: &Index, image: &str) -> Vec<String> {
    let image = Reference::parse(image).unwrap();
    told(&index.find(&image), &image)
}

fn sources(index: &Index, target: &str) -> Vec<String> {
    let target = Reference::parse(target).unwrap();
    let sources = index.sources(&target);
    sources
        .iter()
        .map(|source| format!("{} {}", source.push.registry, source.image))
        .collect()
}

#[test]
fn nothing_is_in_an_empty_index() {
    let index = Index::default();
    assert_eq!((index.is_empty(), index.len(), index.count("a")), (true, 0, 0));
    assert_eq!(find(&index, "alpine"), Vec::<String>::new());
    assert_eq!(sources(&index, "a.io/x"), Vec::<String>::new());
    assert_eq!(index.latest_of("a").count(), 0);
    assert!(!index.is_latest(image("alpine").key(), "a"));
    let index = index.with([(&image("alpine"), "a", Some(&success("a.io/x:latest", 1, 1, 1)))]);
    assert_eq!(index.len(), 1);
    assert!(index.with([(&image("alpine"), "a", None)]).is_empty());
    assert!(index.with([(&image("alpine"), "b", None)]).len() == 1);
}

#[test]
fn a_target_is_made_of_the_image_as_it_is_asked_for() {
    let alpine = image("alpine");
    for (target, asked, expected) in [
        (
            "a.io/docker.io/library/alpine:latest",
            "alpine",
            "a.io/docker.io/library/alpine",
        ),
        (
            "a.io/docker.io/library/alpine:latest",
            "Docker.IO/library/alpine:latest",
            "a.io/docker.io/library/alpine:latest",
        ),
        (
            "A.io/team/library/alpine:latest",
            "index.docker.io/alpine",
            "a.io/team/library/alpine",
        ),
        (
            "a.io/mirror-docker.io/library/alpine:latest",
            "alpine",
            "a.io/mirror-docker.io/library/alpine",
        ),
        (
            "mirror-docker.io/library/alpine:latest",
            "alpine",
            "mirror-docker.io/library/alpine",
        ),
        (
            "a.io/library/x/alpine:latest",
            "alpine:latest",
            "a.io/library/x/alpine:latest",
        ),
        ("docker.io/library/alpine:latest", "alpine", "docker.io/library/alpine"),
        ("alpine:latest", "alpine", "docker.io/library/alpine"),
    ] {
        let index = Index::default().with([(&alpine, "a", Some(&success(target, 1, 1, 1)))]);
        assert_eq!(find(&index, asked), [format!("a {expected}")], "{target}");
        let own = expected.starts_with("docker.io/library/alpine");
        assert_eq!(index.find(&Reference::parse(asked).unwrap())[0].is_own(), own);
        let source = if own {
            vec![]
        } else {
            vec!["a docker.io/library/alpine:latest".to_owned()]
        };
        assert_eq!(sources(&index, target), source, "{target}");
        assert_eq!(
            sources(&index, &target.replace("latest", "other")),
            Vec::<String>::new()
        );
    }
    for target in [
        "a.io/library/alpine:1",
        "a.io/library/alpine",
        "No/x:latest",
        "a_b.io/x:latest",
        "",
    ] {
        let index = Index::default().with([(&alpine, "a", Some(&success(target, 1, 1, 1)))]);
        assert_eq!(index.len(), usize::from(target == "a.io/library/alpine"), "{target}");
    }
}

#[test]
fn a_digest_leads_to_all_that_hold_it_whatever_their_tags() {
    let index_of_two = Success {
        children: vec![digest(2), digest(3)],
        ..success("a.io/docker.io/x/y:1", 1, 1, 1)
    };
    let index = Index::default().with([
        (&image("x/y:1"), "a", Some(&index_of_two)),
        (&image("x/y:2"), "b", Some(&success("b.io/x/y:2", 3, 2, 2))),
        (&image("x/z:1"), "b", Some(&success("b.io/x/z:1", 3, 3, 3))),
        (&image("x/y:3"), "c", Some(&success("c.io/n-x/y:3", 9, 4, 4))),
    ]);
    for (asked, number, expected) in [
        ("x/y", 1, vec!["a a.io/docker.io/x/y@D"]),
        ("x/y", 2, vec!["a a.io/docker.io/x/y@D"]),
        ("x/y", 3, vec!["b b.io/x/y@D", "a a.io/docker.io/x/y@D"]),
        (
            "x/y:other",
            3,
            vec!["b b.io/x/y:other@D", "a a.io/docker.io/x/y:other@D"],
        ),
        ("x/y", 4, vec![]),
        ("x/z", 1, vec![]),
        ("x/y", 9, vec!["c c.io/n-x/y@D"]),
    ] {
        let digest = digest(number);
        let expected: Vec<String> = expected.iter().map(|text| text.replace('D', &digest)).collect();
        assert_eq!(find(&index, &format!("{asked}@{digest}")), expected, "{asked} {number}");
        for target in expected {
            let (registry, target) = target.split_once(' ').unwrap();
            let found = sources(&index, target);
            assert!(
                found.contains(&format!("{registry} docker.io/{asked}@{digest}")),
                "{target}: {found:?}"
            );
        }
    }
    assert_eq!(index.find(&Reference::parse("x/y:3").unwrap())[0].digest(), &*digest(9));
    assert_eq!(index.find(&Reference::parse("x/y:2").unwrap())[0].digest(), &*digest(3));
}

#[test]
fn an_image_without_a_tag_is_found_by_its_digest() {
    let text = format!("x/y@{}", digest(1));
    let target = format!("a.io/x/y@{}", digest(1));
    let index = Index::default().with([(&image(&text), "a", Some(&success(&target, 1, 1, 1)))]);
    assert_eq!(find(&index, &text), [format!("a {target}")]);
    assert_eq!(
        find(&index, &text.replace('@', ":1@")),
        [format!("a {}", target.replace('@', ":1@"))]
    );
    assert_eq!(find(&index, "x/y"), Vec::<String>::new());
}

#[test]
fn of_very_many_tags_with_one_digest_the_latest_are_found() {
    let many: Vec<_> = (0..500)
        .map(|n| {
            (
                image(&format!("x/y:{n}")),
                success(&format!("a.io/x/y:{n}"), 1, 1, (n * 7 % 500) as u64),
            )
        })
        .collect();
    let at_once = Index::default().with(many.iter().map(|(image, success)| (image, "a", Some(success))));
    let one_by_one = many.iter().fold(Index::default(), |index, (image, success)| {
        index.with([(image, "a", Some(success))])
    });
    for index in [at_once, one_by_one] {
        let asked = format!("x/y@{}", digest(1));
        let found = index.find(&Reference::parse(&asked).unwrap());
        let sequences: Vec<u64> = found.iter().map(|found| found.order().1).collect();
        let latest: Vec<u64> = (0..500).rev().take(MOST_OF_A_DIGEST).collect();
        assert_eq!(sequences, latest);
    }
}

#[test]
fn more_forms_than_are_kept_are_texts() {
    let index = (0..1_100).fold(Index::default(), |index, n| {
        index.with([(
            &image(&format!("x/y:{n}")),
            "a",
            Some(&success(&format!("a.io/{n}/x/y:{n}"), 1, 1, 1)),
        )])
    });
    for n in [0, 1_023, 1_024, 1_099] {
        assert_eq!(find(&index, &format!("x/y:{n}")), [format!("a a.io/{n}/x/y:{n}")]);
        assert_eq!(
            sources(&index, &format!("a.io/{n}/x/y:{n}")),
            [format!("a docker.io/x/y:{n}")]
        );
    }
    // Those that nobody uses any more make room.
    let emptied = (0..1_100).map(|n| image(&format!("x/y:{n}"))).collect::<Vec<_>>();
    let index = index.with(emptied[1..].iter().map(|image| (image, "a", None)));
    let index = index.with([(&emptied[1], "a", Some(&success("a.io/new/x/y:1", 1, 1, 1)))]);
    assert!(index.find(&Reference::parse("x/y:1").unwrap())[0].entry.form < APART);
    assert_eq!(sources(&index, "a.io/new/x/y:1"), ["a docker.io/x/y:1"]);
    assert_eq!(sources(&index, "a.io/1/x/y:1"), Vec::<String>::new());
}

/// What an index is to do, in few words.
#[derive(Default)]
struct Model(BTreeMap<(Image, &'static str), Success>);

impl Model {
    fn find(&self, asked: &Reference<'_>) -> Vec<(&'static str, (Timestamp, u64), String)> {
        let name = |text: &str| Reference::parse(text).unwrap().canonical_name().to_string();
        let own = Image::of(asked);
        let mut found: Vec<_> = self
            .0
            .iter()
            .filter(|((image, _), success)| match asked.digest() {
                Some(digest) => name(image.as_str()) == name(own.as_str()) && success.holds(digest),
                None => *image == own,
            })
            .map(|((image, registry), success)| {
                let target = name(&success.target) + asked.suffix();
                (
                    (Reverse(success.order()), *registry, image.key()),
                    (*registry, success.order(), target),
                )
            })
            .collect();
        found.sort();
        found.into_iter().map(|(_, found)| found).collect()
    }

    fn sources(&self, target: &Reference<'_>) -> Vec<(String, &'static str)> {
        let mut found: Vec<(String, &'static str)> = Vec::new();
        for (image, registry) in self.0.keys() {
            let name = Reference::parse(image.as_str()).unwrap().canonical_name().to_string();
            let source = format!("{name}{}", target.suffix());
            let asked = Reference::parse(&source).unwrap();
            let leads_there =
                |found: &(&str, _, String)| found.0 == *registry && found.2 == target.canonical().to_string();
            if source != target.canonical().to_string() && self.find(&asked).iter().any(leads_there) {
                found.push((source, registry));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

const NAMES: [&str; 4] = [
    "docker.io/x/y",
    "docker.io/library/alpine",
    "q.io/x/y",
    "a.io/docker.io/x/y",
];
const REGISTRIES: [&str; 3] = ["a", "b", "c"];

fn suffix() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(vec![":1", ":2", ":latest"]).prop_map(str::to_owned),
        1 => (1u8..4).prop_map(|number| format!("@{}", digest(number))),
    ]
}

type Change = (String, &'static str, Option<Success>);

fn change() -> impl Strategy<Value = Change> {
    let digest_number = prop_oneof![4 => 1u8..5, 1 => Just(9)];
    (
        prop::sample::select(NAMES.to_vec()),
        suffix(),
        prop::sample::select(REGISTRIES.to_vec()),
        0..5u8,
        digest_number,
        prop::collection::vec(1u8..6, 0..3),
        (0..3i64, 0..6u64),
    )
        .prop_map(|(name, suffix, registry, form, number, children, (second, sequence))| {
            let short = name.split_once('/').unwrap().1;
            let target = match form {
                0 => None,
                1 => Some(format!("{registry}.io/{name}{suffix}")),
                2 => Some(format!("{registry}.io/team/{short}{suffix}")),
                3 => Some(format!("{registry}.io/{}{suffix}", short.replace('/', "/in/"))),
                _ => Some(format!("{name}{suffix}")),
            };
            let success = target.map(|target| Success {
                children: children.into_iter().map(digest).collect(),
                ..success(&target, number, second, sequence)
            });
            (format!("{name}{suffix}"), registry, success)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_index_does_what_the_model_does(batches in prop::collection::vec(prop::collection::vec(change(), 1..12), 1..6)) {
        let mut model = Model::default();
        let mut index = Index::default();
        for batch in &batches {
            let batch: Vec<_> = batch.iter().map(|(text, registry, success)| (image(text), *registry, success)).collect();
            let before = (index.clone(), index.len());
            index = index.with(batch.iter().map(|(image, registry, success)| (image, *registry, success.as_ref())));
            prop_assert_eq!(before.0.len(), before.1);
            for (image, registry, success) in batch {
                match success {
                    Some(success) => model.0.insert((image, registry), success.clone()),
                    None => model.0.remove(&(image, registry)),
                };
            }
            prop_assert_eq!(index.len(), model.0.len());
            prop_assert_eq!(index.is_empty(), model.0.is_empty());
            let mut asked: Vec<String> = Vec::new();
            for name in NAMES {
                asked.extend(["", ":1", ":2", ":latest"].map(|suffix| format!("{name}{suffix}")));
                for number in (1..6).chain([9]) {
                    asked.extend(["", ":2"].map(|tag| format!("{name}{tag}@{}", digest(number))));
                }
            }
            for text in &asked {
                let reference = Reference::parse(text).unwrap();
                let found = index.find(&reference);
                let told: Vec<_> = found.iter().map(|found| (found.registry, found.order(), found.target(&reference))).collect();
                let expected = model.find(&reference);
                prop_assert_eq!(&told, &expected, "{}", text);
                for (found, (registry, ..)) in found.iter().zip(&expected) {
                    prop_assert_eq!(found.is_own(), found.target(&reference) == *text);
                    if reference.digest().is_none() {
                        let success = &model.0[&(image(text), *registry)];
                        prop_assert_eq!(&*found.digest(), &*success.digest);
                        prop_assert_eq!(index.is_latest(image(text).key(), registry), expected[0].0 == *registry);
                    }
                }
                for (_, _, target) in &expected {
                    let target = Reference::parse(target).unwrap();
                    let sources = index.sources(&target);
                    let mut sources: Vec<_> = sources.iter().map(|source| (source.image.clone(), source.push.registry)).collect();
                    sources.sort_unstable();
                    sources.dedup();
                    prop_assert_eq!(sources, model.sources(&target), "{}", target);
                }
            }
            for registry in REGISTRIES {
                prop_assert_eq!(index.count(registry), model.0.keys().filter(|(_, other)| *other == registry).count());
                let mut latest: Vec<Key> = index.latest_of(registry).collect();
                latest.sort_unstable();
                let is_latest = |(image, other): &&(Image, &'static str)| {
                    let of_image = model.0.iter().filter(|((other, _), _)| other == image);
                    let best = of_image.min_by_key(|((_, registry), success)| (Reverse(success.order()), *registry));
                    *other == registry && best.unwrap().0.1 == registry
                };
                let mut expected: Vec<Key> = model.0.keys().filter(is_latest).map(|(image, _)| image.key()).collect();
                expected.sort_unstable();
                prop_assert_eq!(latest, expected);
            }
        }
        // Whatever was shared by many is gone with the last of them.
        let gone: Vec<_> = model.0.keys().cloned().collect();
        prop_assert!(index.with(gone.iter().map(|(image, registry)| (image, *registry, None))).is_empty());
    }
}
