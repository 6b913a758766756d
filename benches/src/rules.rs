//! Policies to measure with: as many rules as wanted, of which the same eight decide on the reviews' images.

use std::{fmt::Write as _, fs, io, path::Path};

/// Writes a directory of policy files that have `count` rules together.
///
/// The eight that decide come last, so that whatever else matches an image is looked at before them. The others differ in
/// registry, organization or namespace; a fifth of them match Docker Hub's images in a namespace of their own.
///
/// # Errors
///
/// When a file cannot be written.
pub fn write(dir: &Path, count: usize) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for (number, file) in files(count).into_iter().enumerate() {
        fs::write(dir.join(format!("{number:03}.yaml")), file)?;
    }
    Ok(())
}

/// The text of each file.
pub fn files(count: usize) -> Vec<String> {
    let fillers: Vec<String> = (0..count.saturating_sub(DECIDING.len())).map(filler).collect();
    let deciding: Vec<String> = DECIDING.iter().map(|registry| deciding(registry)).collect();
    fillers
        .chunks(RULES_A_FILE)
        .chain([&*deciding])
        .enumerate()
        .map(|(number, rules)| {
            format!(
                "apiVersion: waypost.dev/v1alpha1\nkind: Policy\nmetadata: {{name: policy-{number}}}\nspec:\n  rules:\n{}",
                rules.concat()
            )
        })
        .collect()
}

fn deciding(registry: &str) -> String {
    let name = registry.replace('.', "-");
    format!(
        "    - name: {name}\n      match: {{images: [\"{registry}/**\"]}}\n      rewrite: {{prefix: mirror.example.org/cache}}\n"
    )
}

fn filler(number: usize) -> String {
    let mut rule = format!("    - name: rule-{number}\n");
    let matching = match number % 5 {
        0 => format!("images: [\"registry-{number}.example.com/**\"]"),
        1 => format!("images: [\"docker.io/org-{number}/**\"]"),
        2 => format!("images: [\"quay.io/org-{number}/app-*\"], exceptImages: [\"quay.io/org-{number}/app-base\"]"),
        3 => format!("images: [\"docker.io/**\"], namespaces: [team-{number}]"),
        _ => format!("images: [\"ghcr.io/org-{number}/tools/**\"]"),
    };
    let action = match number % 5 {
        4 => "keep: {}".to_owned(),
        _ => format!("rewrite: {{prefix: cache-{}.example.org}}", number % 50),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(rule, "      match: {{{matching}}}\n      {action}");
    rule
}

/// Kept small enough for a ConfigMap, which holds 1 MiB.
const RULES_A_FILE: usize = 2_500;

/// The registries whose images are rewritten.
const DECIDING: [&str; 8] = [
    "docker.io",
    "quay.io",
    "ghcr.io",
    "registry.k8s.io",
    "gcr.io",
    "mcr.microsoft.com",
    "public.ecr.aws",
    "nvcr.io",
];
