//! What `docs/policies.md` says is so.

use super::*;
use crate::{
    document::check::Shape,
    policy::{Pattern, Template, spec::RuleSpec},
};

const DOCS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/policies.md"));

/// The blocks of YAML.
fn blocks() -> Vec<&'static str> {
    let blocks = DOCS.split("```yaml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap()).collect()
}

/// The rows of the table under this heading, as lists of what stands between backquotes in each cell.
fn table(heading: &str) -> Vec<Vec<Vec<&'static str>>> {
    let rows = DOCS.lines().skip_while(|line| *line != heading).skip(2);
    let cells = |line: &'static str| {
        let quoted = |cell: &'static str| cell.split('`').skip(1).step_by(2).collect();
        line.trim_matches('|').split('|').map(quoted).collect()
    };
    rows.take_while(|line| line.starts_with('|')).map(cells).collect()
}

#[test]
fn whole_policies_compile_without_problems() {
    let policies: Vec<&str> = blocks()
        .into_iter()
        .filter(|block| block.contains("kind: Policy"))
        .collect();
    assert!(policies.len() >= 7);
    for policy in policies {
        let input = Input {
            sources: vec![Source::new("docs/policies.md", policy)],
            presets: Vec::new(),
            settings: Settings::default(),
        };
        let compiled = compile(&input);
        assert!(
            compiled.diagnostics.is_empty(),
            "{}",
            render::text(&compiled.diagnostics, false)
        );
    }
}

#[test]
fn whole_test_files_pass() {
    let tests: Vec<&str> = blocks()
        .into_iter()
        .filter(|block| block.contains("\ncases:"))
        .collect();
    assert!(!tests.is_empty());
    for test in tests {
        let report = run(&Source::new("docs/policies.md", test), |name| {
            let head = format!("# {name}\n");
            let policy = blocks().into_iter().find(|block| block.starts_with(&head)).unwrap();
            Ok(Source::new(name, policy))
        });
        assert!(
            report.diagnostics.is_empty(),
            "{}",
            render::text(&report.diagnostics, false)
        );
        assert!(report.cases > 0 && report.untested.is_empty(), "{:?}", report.untested);
    }
}

#[test]
fn patterns_match_what_the_table_says() {
    let rows = table("| pattern | matches | does not match |");
    assert!(rows.len() > 10);
    for row in rows {
        let pattern = Pattern::parse(row[0][0]).unwrap();
        for (images, expected) in [(&row[1], true), (&row[2], false)] {
            for image in images {
                assert_eq!(
                    pattern.matches(&Reference::parse(image).unwrap()),
                    expected,
                    "{pattern} on {image}"
                );
            }
        }
    }
}

#[test]
fn templates_give_what_the_table_says() {
    let rows = table("| template | image | becomes |");
    assert!(rows.len() > 5);
    for row in rows {
        let target = Template::parse(row[0][0], &[])
            .unwrap()
            .target(&Reference::parse(row[1][0]).unwrap(), &());
        assert_eq!(target.as_deref(), row[2].first().copied(), "{row:?}");
    }
}

#[test]
fn variables_stand_for_what_the_table_says() {
    for row in table("| variable | for `quay.io/team/sub/app:1` | for `alpine` |") {
        let template = Template::parse(&format!("r.io/{}", row[0][0]), &[]).unwrap();
        for (image, part) in [("quay.io/team/sub/app", row[1][0]), ("alpine", row[2][0])] {
            let target = template.target(&Reference::parse(image).unwrap(), &()).unwrap();
            assert_eq!(target, format!("r.io/{part}"));
        }
    }
}

#[test]
fn every_key_of_a_rule_and_every_outcome_of_a_case_is_told_about() {
    let shape = Shape::from_schema(&spec::schema::<RuleSpec>());
    for leaf in shape.leaves() {
        let key = leaf.last_key().unwrap();
        assert!(DOCS.contains(key), "{leaf}");
    }
    for outcome in [
        "rewritten",
        "kept",
        "unmatched",
        "already_target",
        "denied",
        "would_rewrite",
        "opted_out",
        "pull_never",
        "invalid_target",
        "target_unavailable",
        "no_push",
        "no_credential",
        "unparsable",
    ] {
        assert!(DOCS.contains(&format!("`{outcome}`")), "{outcome}");
    }
}

#[test]
fn every_preset_and_its_values_are_in_a_table() {
    for preset in preset::ALL {
        let (nodes, _) = document::parse(&Source::new(preset.name, preset.text));
        let own = DOCS
            .split(&format!("\n`{}`", preset.name))
            .nth(1)
            .unwrap_or_else(|| panic!("{}", preset.name));
        let own = own.split("\n## ").next().unwrap();
        let values = nodes[0].get("spec").and_then(|spec| spec.get("values"));
        let values = values.map_or(&[][..], Node::items);
        let table = own.split("| value | default | |").nth(1).unwrap_or_default();
        let rows: Vec<&str> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
        if !values.is_empty() {
            assert_eq!(rows.len(), values.len(), "{}", preset.name);
        }
        for (value, row) in values.iter().zip(rows) {
            let text = |key: &str| value.get(key).and_then(Node::as_str);
            let default = text("default").map_or("required".to_owned(), |default| format!("`{default}`"));
            let start = format!("| `{}` | {default} |", text("name").unwrap());
            assert!(row.starts_with(&start), "{}: {row}", preset.name);
        }
    }
}
