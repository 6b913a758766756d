//! Requests: each with a deadline, and what it means that one failed.

use std::{fmt::Debug, time::Duration};

use kube::{Api, Resource, api::ListParams, core::PartialObjectMeta};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::super::explain;
use crate::store::StoreError;

/// Why a request came to nothing.
#[derive(Debug)]
pub(super) struct Failed {
    /// What the API server answered; none where it did not answer.
    pub(super) code: Option<u16>,
    /// For whoever asked.
    pub(super) error: StoreError,
}

impl Failed {
    /// Whether it is certain that nothing was changed. Where no answer has come, it may have been.
    pub(super) fn is_certain(&self) -> bool {
        self.code.is_some_and(|code| (400..500).contains(&code) && code != 408)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self { code: None, error }
    }
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

/// The answer to a request for `what`, which takes the right to `verb` it.
pub(super) async fn ask<T>(what: &str, verb: &str, answer: impl Future<Output = kube::Result<T>>) -> Result<T, Failed> {
    match timeout(DEADLINE, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(failed(what, verb, &error)),
        Err(_) => Err(Failed {
            code: None,
            error: StoreError::Unavailable(format!(
                "{what}: the API server has not answered within {} s",
                DEADLINE.as_secs()
            )),
        }),
    }
}

fn failed(what: &str, verb: &str, error: &kube::Error) -> Failed {
    let why = format!("{what}: {}", explain(error));
    let kube::Error::Api(status) = error else {
        return Failed {
            code: None,
            error: StoreError::Unavailable(why),
        };
    };
    let full = |text: &str| text.contains("exceeded quota") || text.contains("database space exceeded");
    let error = match status.code {
        413 => StoreError::Full(why),
        _ if full(&status.message) => StoreError::Full(why),
        // What is written has been understood here: the cluster's definition is of another mind.
        422 => StoreError::Unsupported(why),
        403 => StoreError::Unavailable(format!("{why}; grant the right to {verb} it")),
        404 if verb == "create" => StoreError::Unavailable(format!(
            "{why}; `waypost crds | kubectl apply -f -` makes Waypost's objects known, where they are not"
        )),
        _ => StoreError::Unavailable(why),
    };
    Failed {
        code: Some(status.code),
        error,
    }
}

/// All objects, page by page; those with these labels where they are given.
pub(super) async fn all<K>(what: &str, api: &Api<K>, labels: Option<&str>) -> Result<Vec<K>, Failed>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut objects = Vec::new();
    let mut page = page(labels);
    loop {
        let mut list = ask(what, "list", api.list(&page)).await?;
        objects.append(&mut list.items);
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page.continue_token = Some(token),
            None => return Ok(objects),
        }
    }
}

/// The same without what is in them.
pub(super) async fn all_metadata<K>(
    what: &str,
    api: &Api<K>,
    labels: Option<&str>,
) -> Result<Vec<PartialObjectMeta<K>>, Failed>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let mut objects = Vec::new();
    let mut page = page(labels);
    loop {
        let mut list = ask(what, "list", api.list_metadata(&page)).await?;
        objects.append(&mut list.items);
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page.continue_token = Some(token),
            None => return Ok(objects),
        }
    }
}

fn page(labels: Option<&str>) -> ListParams {
    ListParams {
        label_selector: labels.map(str::to_owned),
        ..ListParams::default().limit(PAGE)
    }
}

const PAGE: u32 = 500;

const DEADLINE: Duration = Duration::from_secs(10);
