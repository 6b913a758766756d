//! Each way in which YAML writes things, before and after.

use super::*;

/// What is written, what becomes of it with images only, and with pull policies and Secrets; as the list of containers of a Pod.
const CONTAINERS: &[(&str, &str, &str)] = &[
    (
        "  - image: nginx:1 # the web\n    name: c\n",
        "  - image: r.io/docker.io/library/nginx:1 # the web\n    name: c\n",
        "  - image: r.io/docker.io/library/nginx:1 # the web\n    imagePullPolicy: Always\n    name: c\n",
    ),
    (
        "    - name: c\n      image: 'nginx:1'\n",
        "    - name: c\n      image: 'r.io/docker.io/library/nginx:1'\n",
        "    - name: c\n      image: 'r.io/docker.io/library/nginx:1'\n      imagePullPolicy: Always\n",
    ),
    (
        "  - image: \"ngi\\x6ex:1\"\n",
        "  - image: \"r.io/docker.io/library/nginx:1\"\n",
        "  - image: \"r.io/docker.io/library/nginx:1\"\n    imagePullPolicy: Always\n",
    ),
    (
        "  - image: \"docker.io/\\\n      nginx:1\"\n    tty: true",
        "  - image: \"r.io/docker.io/library/nginx:1\"\n    tty: true",
        "  - image: \"r.io/docker.io/library/nginx:1\"\n    imagePullPolicy: Always\n    tty: true",
    ),
    (
        "  - image: >- # nginx:1\n        nginx:1\n\n    tty: true\n",
        "  - image: >- # nginx:1\n        r.io/docker.io/library/nginx:1\n\n    tty: true\n",
        "  - image: >- # nginx:1\n        r.io/docker.io/library/nginx:1\n    imagePullPolicy: Always\n\n    tty: true\n",
    ),
    (
        "  - image: |-\n      nginx:1",
        "  - image: |-\n      r.io/docker.io/library/nginx:1",
        "  - image: |-\n      r.io/docker.io/library/nginx:1\n    imagePullPolicy: Always",
    ),
    (
        "  - image:\n      nginx:1\n    name: c\n",
        "  - image:\n      r.io/docker.io/library/nginx:1\n    name: c\n",
        "  - image:\n      r.io/docker.io/library/nginx:1\n    imagePullPolicy: Always\n    name: c\n",
    ),
    (
        "  -\n    \"image\" : nginx:1\n",
        "  -\n    \"image\" : r.io/docker.io/library/nginx:1\n",
        "  -\n    \"image\" : r.io/docker.io/library/nginx:1\n    imagePullPolicy: Always\n",
    ),
    (
        "  - {image: nginx:1,\n     name: c}\n",
        "  - {image: r.io/docker.io/library/nginx:1,\n     name: c}\n",
        "  - {image: r.io/docker.io/library/nginx:1, imagePullPolicy: Always,\n     name: c}\n",
    ),
    (
        "  - {\"name\":\"c\",\"image\":\"nginx:1\"}\n",
        "  - {\"name\":\"c\",\"image\":\"r.io/docker.io/library/nginx:1\"}\n",
        "  - {\"name\":\"c\",\"image\":\"r.io/docker.io/library/nginx:1\",\"imagePullPolicy\":\"Always\"}\n",
    ),
    (
        "    [ { name: c,\n        image: nginx:1 # web\n      } ]\n",
        "    [ { name: c,\n        image: r.io/docker.io/library/nginx:1 # web\n      } ]\n",
        "    [ { name: c,\n        image: r.io/docker.io/library/nginx:1,\n        imagePullPolicy: Always # web\n      } ]\n",
    ),
    (
        "  - image: !!str nginx:1\n    imagePullPolicy: \"IfNotPresent\"\n",
        "  - image: !!str r.io/docker.io/library/nginx:1\n    imagePullPolicy: \"IfNotPresent\"\n",
        "  - image: !!str r.io/docker.io/library/nginx:1\n    imagePullPolicy: \"Always\"\n",
    ),
    (
        "  - image: nginx:1\n    imagePullPolicy: # as you like\n",
        "  - image: r.io/docker.io/library/nginx:1\n    imagePullPolicy: # as you like\n",
        "  - image: r.io/docker.io/library/nginx:1\n    imagePullPolicy: Always # as you like\n",
    ),
    (
        "  - ? image\n    : nginx:1\n    ? name\n    : c\n    tty: true\n",
        "  - ? image\n    : r.io/docker.io/library/nginx:1\n    ? name\n    : c\n    tty: true\n",
        "  - ? image\n    : r.io/docker.io/library/nginx:1\n    imagePullPolicy: Always\n    ? name\n    : c\n    tty: true\n",
    ),
    (
        "  - image: &web nginx:1\n  - image: *web\n",
        "  - image: &web r.io/docker.io/library/nginx:1\n  - image: *web\n",
        "  - image: &web r.io/docker.io/library/nginx:1\n    imagePullPolicy: Always\n  - image: *web\n    imagePullPolicy: Always\n",
    ),
    (
        "  - &base\n    image: nginx:1\n  - *base\n  - <<: *base\n    name: c\n",
        "  - &base\n    image: r.io/docker.io/library/nginx:1\n  - *base\n  - <<: *base\n    name: c\n",
        "  - &base\n    image: r.io/docker.io/library/nginx:1\n    imagePullPolicy: Always\n  - *base\n  - <<: *base\n    imagePullPolicy: Always\n    name: c\n",
    ),
];

#[test]
fn images_are_spliced_in_the_style_that_is_there() {
    for (before, after, _) in CONTAINERS {
        assert_eq!(quiet(&IMAGES, &pod(before)), pod(after));
        // And with the other line ends.
        let crlf = |text: &str| pod(text).replace('\n', "\r\n");
        assert_eq!(quiet(&IMAGES, &crlf(before)), crlf(after));
        let cr = |text: &str| pod(text).replace('\n', "\r");
        assert_eq!(quiet(&IMAGES, &cr(before)), cr(after));
    }
}

#[test]
fn pull_policies_and_secrets_are_added_in_the_style_that_is_there() {
    for (before, _, after) in CONTAINERS {
        let dashes = if before.starts_with("    ") && !before.contains('[') {
            "  "
        } else {
            ""
        };
        let dashes = if before.contains('[') { "  " } else { dashes };
        let secrets = format!("spec:\n  imagePullSecrets:\n  {dashes}- name: regcred\n");
        let expected = pod(after).replace("spec:\n", &secrets);
        assert_eq!(quiet(&PULL, &pod(before)), expected);
        for line_break in ["\r\n", "\r"] {
            let other = quiet(&PULL, &pod(before).replace('\n', line_break));
            assert_eq!(other, expected.replace('\n', line_break));
        }
    }
}

#[test]
fn secrets_are_appended_in_the_style_that_is_there() {
    let rows = [
        (
            "{containers: [{image: a/b}]}",
            "{imagePullSecrets: [{name: regcred}], containers: [{image: r.io/docker.io/a/b}]}",
        ),
        (
            "{\"restartPolicy\":\"Never\",\"containers\":[{\"image\":\"a/b\"}]}",
            "{\"restartPolicy\":\"Never\",\"imagePullSecrets\":[{\"name\":\"regcred\"}],\"containers\":[{\"image\":\"r.io/docker.io/a/b\"}]}",
        ),
        (
            "\n  containers: [{image: a/b}]\n  imagePullSecrets: []",
            "\n  containers: [{image: r.io/docker.io/a/b}]\n  imagePullSecrets: [{name: regcred}]",
        ),
        (
            "\n  containers: [{image: a/b}]\n  imagePullSecrets:",
            "\n  containers: [{image: r.io/docker.io/a/b}]\n  imagePullSecrets: [{name: regcred}]",
        ),
        (
            "\n  imagePullSecrets: ~ # none\n  containers: [{image: a/b}]",
            "\n  imagePullSecrets: [{name: regcred}] # none\n  containers: [{image: r.io/docker.io/a/b}]",
        ),
        (
            "\n  imagePullSecrets:\n    - name: mine # yes\n\n  containers: [{image: a/b}]",
            "\n  imagePullSecrets:\n    - name: mine # yes\n    - name: regcred\n\n  containers: [{image: r.io/docker.io/a/b}]",
        ),
        (
            "\n  containers: [{image: a/b}]\n  imagePullSecrets:\n  -   name: mine",
            "\n  containers: [{image: r.io/docker.io/a/b}]\n  imagePullSecrets:\n  -   name: mine\n  - name: regcred",
        ),
        (
            "\n  containers: [{image: a/b}]\n  imagePullSecrets: [ {\"name\": \"mine\"} ]",
            "\n  containers: [{image: r.io/docker.io/a/b}]\n  imagePullSecrets: [ {\"name\": \"mine\"}, {\"name\": \"regcred\"} ]",
        ),
        (
            "\n  containers: [{image: a/b}]\n  imagePullSecrets: [{name: regcred}]",
            "\n  containers: [{image: r.io/docker.io/a/b}]\n  imagePullSecrets: [{name: regcred}]",
        ),
        (
            "\n  initContainers:\n  - image: c/d:1\n  # the main one\n  # of them\n  containers: # all\n  - image: a/b",
            "\n  initContainers:\n  - image: r.io/docker.io/c/d:1\n    imagePullPolicy: Always\n  imagePullSecrets:\n  - name: regcred\n  # the main one\n  # of them\n  containers: # all\n  - image: r.io/docker.io/a/b",
        ),
    ];
    for (before, after) in rows {
        let text = |spec: &str| format!("apiVersion: v1\nkind: Pod\nspec: {spec}");
        assert_eq!(quiet(&PULL, &text(before)), text(after));
        for text in [
            text(before) + "\n",
            text(before) + "\n---\n",
            text(before) + "\n...\n# end\n",
        ] {
            quiet(&PULL, &text);
        }
    }
}

#[test]
fn json_stays_json() {
    let before = r#"{
	"apiVersion": "v1",
	"kind": "Pod",
	"spec": {
		"containers": [
			{
				"name": "c",
				"image": "a/b:1"
			}
		],
		"imagePullSecrets": [
			{
				"name": "mine"
			}
		]
	}
}
"#;
    let after = r#"{
	"apiVersion": "v1",
	"kind": "Pod",
	"spec": {
		"containers": [
			{
				"name": "c",
				"image": "r.io/docker.io/a/b:1",
				"imagePullPolicy": "Always"
			}
		],
		"imagePullSecrets": [
			{
				"name": "mine"
			}, {
				"name": "regcred"
			}
		]
	}
}
"#;
    let rewritten = quiet(&PULL, before);
    serde_json::from_str::<serde_json::Value>(&rewritten).unwrap();
    assert_eq!(rewritten.replace("},\n\t\t\t{", "}, {"), after);
    // A key or a text longer than YAML allows for keys without quotes.
    let long = "x".repeat(5000);
    let text = format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","data":{{"{long}":"{long}"}}}}"#);
    assert_eq!(quiet(&PULL, &text), text);
}

#[test]
fn whatever_is_around_stays() {
    let pod = pod("  - image: a/b\n");
    let after = pod.replace("a/b", "r.io/docker.io/a/b");
    let around = [
        ("\u{feff}", ""),
        ("---\n# Source: chart/templates/pod.yaml\n", "---\n"),
        ("%YAML 1.2\n---\n", "...\n"),
        ("# only a comment\n---\n---\n\n---\n", "---\n# end"),
        ("not: kubernetes\nat: [all]\n---\n", "\n---\n- a\n- list\n---\nscalar\n"),
        (
            "apiVersion: v1\nkind: ConfigMap\ndata:\n  pod: |\n    image: nginx\n    \n---\n",
            "",
        ),
    ];
    for (before, behind) in around {
        assert_eq!(
            quiet(&IMAGES, &format!("{before}{pod}{behind}")),
            format!("{before}{after}{behind}")
        );
    }
}

#[test]
fn of_keys_that_come_twice_the_last_counts() {
    let (text, findings) = with(&IMAGES, &pod("  - {image: a/b, image: c/d}\n"));
    assert!(text.ends_with("{image: a/b, image: r.io/docker.io/c/d}\n"), "{text}");
    assert_eq!(
        findings,
        ["duplicate-key 6:6 this key is written again below, and the last one counts"]
    );
}

#[test]
fn what_an_anchor_shares_is_changed_where_all_agree_and_left_otherwise() {
    let pod = |name: &str, labels: &str, image: &str| {
        format!(
            "- apiVersion: v1\n  kind: Pod\n  metadata: {{name: {name}, labels: {{{labels}}}}}\n  spec: {{containers: [{{image: {image}}}]}}\n"
        )
    };
    let list = |items: &[String]| format!("apiVersion: v1\nkind: List\nitems:\n{}", items.concat());
    let agreed = list(&[pod("a", "", "&i a/b"), pod("b", "", "*i")]);
    assert_eq!(quiet(&IMAGES, &agreed), agreed.replace("a/b", "r.io/docker.io/a/b"));
    let rows = [
        // Two rules want two things.
        list(&[pod("a", "", "&i a/b"), pod("b", "colour: blue", "*i")]),
        // One of them should stay.
        list(&[pod("a", "waypost.dev/rewrite: disabled", "&i a/b"), pod("b", "", "*i")]),
        list(&[pod("a", "", "&i a/b"), pod("b", "waypost.dev/rewrite: disabled", "*i")]),
        // It is something else than an image, too.
        list(&[pod("a", "", "&i a/b")]) + "x: *i\n",
        list(&[pod("a", "&l app: x", "a/b").replace("kind: Pod", "kind: &i Pod")]) + "x: {image: *i}\n",
    ];
    for text in &rows[..4] {
        let (rewritten, findings) = with(&IMAGES, text);
        assert_eq!(rewritten, *text);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].starts_with("shared "), "{findings:?}");
    }
    assert_ne!(quiet(&IMAGES, &rows[4]), rows[4]);
}
