//! Registries that files declare, as a Helm release does: the controller makes them in the cluster and keeps them so.

use std::{
    convert::Infallible,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::sleep;

use crate::{
    cluster::objects::{self, Declared, Home, ObjectError},
    document::{Diagnostic, Source, render},
    http::health::Check,
    registry::document::{self, RegistryDocument},
    watch::{Watched, Watcher},
};

/// Makes registries as the files of a directory declare them, for as long as it is not dropped. `name` is the controller's: what is made
/// after its declarations is known by it, and goes with the ClusterRole of that name.
pub(super) async fn keep(home: &Home, name: &str, dir: &Path, check: &Check) -> Infallible {
    let mut watcher = Watcher::new(watched(dir));
    let mut told = None;
    loop {
        let files = dir.to_owned();
        // Whoever reads them has stopped where this does not.
        let found = tokio::task::spawn_blocking(move || read(&files)).await;
        let problem = match found.unwrap_or_else(|error| Err(error.to_string())) {
            Ok((documents, problem)) => match apply(home, name, &documents, problem.is_none()).await {
                Ok(refused) => problem.or(refused),
                Err(error) => Some(error.to_string()),
            },
            Err(problem) => Some(problem),
        };
        if problem != told {
            match &problem {
                Some(problem) => tracing::error!("registries cannot be made as they are declared: {problem}"),
                None => tracing::info!("all registries are as they are declared"),
            }
        }
        match &problem {
            Some(problem) => check.degraded(problem),
            None => check.fine(),
        }
        told = problem;
        // Whoever changes what is declared elsewhere has it undone with the next look.
        let mut waited = Duration::ZERO;
        while waited < LOOK_AGAIN && !watcher.changed() {
            sleep(LOOK_EVERY).await;
            waited += LOOK_EVERY;
        }
    }
}

/// Everything that is declared, and what is wrong with the rest, if anything is.
fn read(dir: &Path) -> Result<(Vec<RegistryDocument>, Option<String>), String> {
    let unreadable = |path: &Path, error: io::Error| format!("{} cannot be read: {error}", path.display());
    let mut files: Vec<PathBuf> = match fs::read_dir(dir) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<_>>()
            .map_err(|error| unreadable(dir, error))?,
        Err(error) => return Err(unreadable(dir, error)),
    };
    files.retain(|path| path.file_name().is_some_and(is_declaration));
    files.sort();
    let mut documents: Vec<RegistryDocument> = Vec::new();
    let mut diagnostics: Vec<Diagnostic> = Vec::new();
    let mut twice = None;
    for file in files {
        let bytes = fs::read(&file).map_err(|error| unreadable(&file, error))?;
        match Source::from_bytes(file.display().to_string(), &bytes) {
            Ok(source) => {
                let (read, problems) = document::read(&source);
                for document in read {
                    let name = &document.metadata.name;
                    if documents.iter().any(|other| other.metadata.name == *name) {
                        twice = Some(format!("the registry `{name}` is declared twice"));
                    } else {
                        documents.push(document);
                    }
                }
                diagnostics.extend(problems);
            }
            Err(diagnostic) => diagnostics.push(*diagnostic),
        }
    }
    let problem = (!diagnostics.is_empty())
        .then(|| render::text(&diagnostics, false))
        .or(twice);
    Ok((documents, problem))
}

/// Makes what is declared, and removes what no longer is: unless something could not be read, which may be just that.
async fn apply(
    home: &Home,
    name: &str,
    documents: &[RegistryDocument],
    complete: bool,
) -> Result<Option<String>, ObjectError> {
    let owner = objects::cluster_owner(home, name).await?;
    let mut refused = None;
    for document in documents {
        let id = &document.metadata.name;
        let declaration = serde_json::to_value(document).map_err(|error| ObjectError::Failed(error.to_string()))?;
        match objects::declare(home, name, owner.as_ref(), id, &declaration).await {
            Ok(Declared::Kept) => {}
            Ok(Declared::Anothers) => {
                refused = Some(format!(
                    "there is a registry `{id}` that somebody else registered: it is left as it is. Delete it (kubectl delete registry {id}), or \
                     give the declared one another name"
                ));
            }
            // The others have nothing to do with it.
            Err(error) => refused = Some(error.to_string()),
        }
    }
    if complete {
        for (id, preconditions) in objects::declared(home, name).await? {
            if !documents.iter().any(|document| document.metadata.name == id) {
                objects::undeclare(home, &id, preconditions).await?;
                tracing::info!(
                    registry = id,
                    "the registry {id} is no longer declared, and was removed"
                );
            }
        }
    }
    Ok(refused)
}

fn watched(dir: &Path) -> Watched {
    Watched::default().directory(dir, is_declaration)
}

fn is_declaration(name: &OsStr) -> bool {
    Path::new(name).extension() == Some(OsStr::new("yaml"))
}

const LOOK_EVERY: Duration = Duration::from_secs(1);

const LOOK_AGAIN: Duration = Duration::from_secs(60);
