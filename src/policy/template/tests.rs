use super::*;

fn template(text: &str) -> Template {
    Template::parse(text, &[]).unwrap()
}

#[test]
fn variables_are_the_parts_of_the_source() {
    for (text, image, expected) in [
        (
            "r.io/{registry}/{repository}",
            "alpine",
            Some("r.io/docker.io/library/alpine"),
        ),
        (
            "r.io/{registry}/{repository}",
            "quay.io/a/b/c:1",
            Some("r.io/quay.io/a/b/c:1"),
        ),
        ("r.io/x/{namespace}/{name}", "quay.io/a/b/c", Some("r.io/x/a/b/c")),
        ("r.io/x/{namespace}/{name}", "quay.io/c", Some("r.io/x/c")),
        ("r.io/{name}", "quay.io/a/b/c", Some("r.io/c")),
        (
            "r.io/hub-{repository}",
            "busybox:1.36",
            Some("r.io/hub-library/busybox:1.36"),
        ),
        (
            "r.io:5000/{repository}",
            "alpine@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            Some("r.io:5000/library/alpine@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ),
        ("docker.io/{name}", "quay.io/a/alpine", Some("docker.io/library/alpine")),
        // A port, or an upper-case host, cannot stand inside a path.
        ("r.io/{registry}/{repository}", "localhost:5000/x", None),
        ("r.io/{registry}/{repository}", "Foo/x", None),
        ("r.io/p-{namespace}/{name}", "quay.io/c", None),
    ] {
        let image = Reference::parse(image).unwrap();
        assert_eq!(
            template(text).target(&image, &()).as_deref(),
            expected,
            "{text} of {image}"
        );
    }
}

#[test]
fn a_repository_of_256_bytes_is_no_target() {
    // What counts is the repository, to which the source's registry is added.
    let longest = format!("q.io/{}", "a".repeat(255 - "q.io/".len()));
    let target = |image: &str| template("r.io/{registry}/{repository}").target(&Reference::parse(image).unwrap(), &());
    assert!(target(&longest).is_some());
    assert!(target(&format!("{longest}a")).is_none());
}

#[test]
fn the_inverse_gives_the_source_back() {
    for (text, registry, image) in [
        ("r.io/{registry}/{repository}", None, "alpine"),
        ("r.io/{registry}/{repository}", None, "quay.io/a/b/c"),
        ("r.io/mirror-{registry}/{repository}", None, "quay.io/a/b"),
        ("r.io/{repository}/{registry}", None, "quay.io/a/b"),
        ("r.io/x/{namespace}/{name}", Some("quay.io"), "quay.io/a/b/c"),
        ("r.io/x/{namespace}/{name}", Some("quay.io"), "quay.io/c"),
        ("r.io/hub/{repository}", Some("docker.io"), "alpine"),
    ] {
        let reference = Reference::parse(image).unwrap();
        let target = template(text).render(&reference, &());
        let sources = template(text).sources(&target, registry, None);
        assert_eq!(
            sources.first().map(String::as_str),
            Some(reference.canonical_name().to_string().as_str()),
            "{text}"
        );
    }
}

#[test]
fn what_cannot_be_a_registry_has_no_inverse() {
    assert!(
        template("r.io/{registry}/{repository}")
            .sources("r.io/team/app", None, None)
            .is_empty()
    );
    assert!(
        template("r.io/{registry}/{repository}")
            .sources("r.io/quay.io", None, None)
            .is_empty()
    );
    assert!(
        template("r.io/hub/{repository}")
            .sources("r.io/hub/a", None, None)
            .is_empty()
    );
}

#[test]
fn mistakes_are_named() {
    for (text, message) in [
        ("", "empty"),
        ("{registry}/x", "not literal"),
        ("r.{name}.io/x", "not literal"),
        ("mirror/{repository}", "do not take for a registry"),
        ("https://r.io/{repository}", "registry that is not valid"),
        ("r.io", "no repository"),
        ("r.io/{repo}", "unknown variable"),
        ("r.io/{tag}", "unknown variable"),
        ("r.io/{repository", "never closed"),
        ("r.io/repository}", "without a"),
        ("r.io/{repository}:latest", "tag or digest"),
        ("r.io//{repository}", "not valid"),
        ("r.io/UPPER/{repository}", "not valid"),
        ("r.io/{repository}/", "not valid"),
    ] {
        let error = Template::parse(text, &[]).unwrap_err();
        assert!(error.message.contains(message), "{text}: {error}");
        assert!(
            error.within.end <= text.len() && !error.hint.is_empty(),
            "{text}: {error:?}"
        );
    }
    assert!(Template::from_prefix("r.io/").unwrap_err().hint.contains("`r.io`"));
    assert!(Template::from_prefix("r.io/{registry}").is_err());
    assert!(Template::from_prefix("r.io/team").is_ok());
}

#[test]
fn a_template_keeps_what_can_be_read_off_its_names() {
    for (text, registry, repository) in [
        ("r.io/{registry}/{repository}", true, true),
        ("r.io/{repository}", false, true),
        ("r.io/{namespace}/{name}", false, true),
        ("r.io/{registry}/{name}", true, false),
        ("r.io/x", false, false),
        ("r.io/{registry}-{repository}", false, false),
        ("r.io/{namespace}-{name}", false, false),
    ] {
        let template = template(text);
        assert_eq!(
            (template.keeps_registry(), template.keeps_repository()),
            (registry, repository),
            "{text}"
        );
    }
}

#[test]
fn a_name_with_very_many_sources_is_given_up() {
    let name = format!("r.io/{}", "a/".repeat(120) + "b");
    let start = std::time::Instant::now();
    template("r.io/{namespace}{name}{registry}{repository}").sources(&name, None, None);
    assert!(start.elapsed() < std::time::Duration::from_millis(200));
}
