//! Policies from files: a directory's `*.yaml`, by file name.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    document::{Diagnostic, Severity, Source},
    policy::{Compiled, PresetChoice, Settings, objects::Base},
    watch::Watched,
};

/// Where policies come from.
#[derive(Clone, Debug)]
pub struct PolicySource {
    /// A directory of policy files, which may be absent; or one file.
    pub path: PathBuf,
    /// Whether the directory may be absent. Policies that were there and are gone are not to be forgotten quietly.
    pub may_be_absent: bool,
    /// Presets, in the order in which they decide.
    pub presets: Vec<PresetChoice>,
    /// What the configuration says about all rules.
    pub settings: Settings,
}

impl PolicySource {
    /// Reads and compiles everything. Blocks.
    pub fn compile(&self) -> Compiled {
        let (base, mut diagnostics) = self.read();
        let mut compiled = base.compile();
        if diagnostics.iter().any(Diagnostic::is_error) {
            compiled.set = None;
        }
        diagnostics.append(&mut compiled.diagnostics);
        Compiled {
            set: compiled.set,
            diagnostics,
        }
    }

    /// Reads everything, and says what is wrong with reading it. Blocks.
    pub fn read(&self) -> (Base, Vec<Diagnostic>) {
        let (files, diagnostics) = read(&self.path, self.may_be_absent);
        let base = Base {
            files,
            presets: self.presets.clone(),
            settings: self.settings.clone(),
        };
        (base, diagnostics)
    }

    /// What to watch for changes.
    pub fn watched(&self) -> Watched {
        Watched::default().directory(&self.path, is_policy_file)
    }
}

/// All policy files, and what is wrong with reading them.
fn read(path: &Path, may_be_absent: bool) -> (Vec<Source>, Vec<Diagnostic>) {
    let mut sources = Vec::new();
    let mut diagnostics = Vec::new();
    let files = match list(path) {
        Ok(files) => files,
        Err(error) if may_be_absent && error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            diagnostics.push(unreadable(path, &error));
            return (sources, diagnostics);
        }
    };
    for file in files {
        let name = file.display().to_string();
        if file.extension() == Some(OsStr::new("yml")) {
            let mut warning =
                Diagnostic::without_place(name, Severity::Warning, "ignored-file", "this file is not read");
            warning.hint = Some("policies are in files whose names end in .yaml: rename it".to_owned());
            diagnostics.push(warning);
            continue;
        }
        match fs::read(&file) {
            Ok(bytes) => match Source::from_bytes(name, &bytes) {
                Ok(source) => sources.push(source),
                Err(diagnostic) => diagnostics.push(*diagnostic),
            },
            // It went away since the directory was read: the watch will see that, too. A link to nowhere is a mistake.
            Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(&file).is_err() => {}
            Err(error) => diagnostics.push(unreadable(&file, &error)),
        }
    }
    (sources, diagnostics)
}

fn list(path: &Path) -> io::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let old_ending = Path::new(&name).extension() == Some(OsStr::new("yml")) && !is_hidden(&name);
        if is_policy_file(&name) || old_ending {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// `*.yaml`, but not `*.test.yaml` and not what is hidden, as the `..data` of a mounted ConfigMap is.
fn is_policy_file(name: &OsStr) -> bool {
    let text = name.to_string_lossy();
    text.ends_with(".yaml") && !text.ends_with(".test.yaml") && !is_hidden(name)
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    let mut diagnostic = Diagnostic::without_place(
        path.display().to_string(),
        Severity::Error,
        "unreadable",
        format!("it cannot be read: {error}"),
    );
    diagnostic.hint = Some("check that it exists and that this user may read it".to_owned());
    diagnostic
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "apiVersion: waypost.dev/v1alpha1\nkind: Policy\nmetadata: {name: NAME}\nspec: {rules: [{name: a, match: {images: [NAME.io/**]}, keep: {}}]}\n";

    fn compiled(dir: &Path) -> (Option<Vec<String>>, Vec<String>) {
        let settings = Settings {
            route_pushes: false,
            ..Settings::default()
        };
        let compiled = PolicySource {
            path: dir.to_owned(),
            may_be_absent: true,
            presets: Vec::new(),
            settings,
        }
        .compile();
        let ids = compiled
            .set
            .map(|set| set.rules().iter().map(|rule| rule.policy().to_owned()).collect());
        (
            ids,
            compiled
                .diagnostics
                .iter()
                .map(|diagnostic| diagnostic.code.to_owned())
                .collect(),
        )
    }

    #[test]
    fn files_decide_in_the_order_of_their_names() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["20-b", "10-c", "30-a"] {
            fs::write(
                dir.path().join(format!("{name}.yaml")),
                POLICY.replace("NAME", &name[3..]),
            )
            .unwrap();
        }
        assert_eq!(
            compiled(dir.path()),
            (Some(vec!["c".into(), "b".into(), "a".into()]), vec![])
        );
    }

    #[test]
    fn tests_hidden_files_and_other_endings_are_no_policies() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.test.yaml", ".a.yaml", "notes.txt", "a.yaml.swp"] {
            fs::write(dir.path().join(name), "not: [a policy").unwrap();
        }
        assert_eq!(compiled(dir.path()), (Some(vec![]), vec![]));
        fs::write(dir.path().join("a.yml"), "x").unwrap();
        assert_eq!(compiled(dir.path()), (Some(vec![]), vec!["ignored-file".into()]));
    }

    #[test]
    fn an_absent_directory_has_no_policies_and_an_unreadable_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(compiled(&dir.path().join("absent")), (Some(vec![]), vec![]));
        fs::write(dir.path().join("bad.yaml"), b"\xff\xfe\xfd").unwrap();
        assert_eq!(compiled(dir.path()).0, None);
        fs::remove_file(dir.path().join("bad.yaml")).unwrap();
        std::os::unix::fs::symlink("/nonexistent/policy.yaml", dir.path().join("link.yaml")).unwrap();
        assert_eq!(compiled(dir.path()), (None, vec!["unreadable".into()]));
        fs::remove_file(dir.path().join("link.yaml")).unwrap();
        fs::create_dir(dir.path().join("dir.yaml")).unwrap();
        assert_eq!(compiled(dir.path()), (None, vec!["unreadable".into()]));
    }
}
