//! The MutatingWebhookConfiguration by which the API server asks: whom it trusts.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::StreamExt;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration as Object;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, WatchParams},
    core::PartialObjectMeta,
};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::{MANAGER, ObjectError, within};
use crate::policy::LabelSelector;

/// The webhooks of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Each one's name, its `caBundle`, and the name that its certificate has to be for.
    pub webhooks: Vec<Webhook>,
}

/// One webhook of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its name.
    pub name: String,
    /// Whom the API server trusts, PEM; empty where that is nobody of its own.
    pub bundle: Vec<u8>,
    /// The name that the API server expects in the certificate.
    pub host: Option<String>,
}

/// The configuration of this name, if there is one. It takes the right to get it.
///
/// # Errors
///
/// When the API server does not say.
pub async fn registration(client: Client, name: &str) -> Result<Option<Registration>, ObjectError> {
    let api: Api<Object> = Api::all(client);
    let found = within(&what(name), "get", api.get_opt(name)).await?;
    Ok(found.map(|object| Registration {
        webhooks: object.webhooks.unwrap_or_default().into_iter().map(webhook).collect(),
    }))
}

/// The namespaces that it is asked about, as the selectors of the configuration's webhooks say it, if there is one. It takes the right to
/// get it.
///
/// # Errors
///
/// When the API server does not say, or says what is no selector.
pub async fn served(client: Client, name: &str) -> Result<Option<Vec<LabelSelector>>, ObjectError> {
    let api: Api<Object> = Api::all(client);
    let Some(object) = within(&what(name), "get", api.get_opt(name)).await? else {
        return Ok(None);
    };
    let webhooks = object.webhooks.unwrap_or_default();
    let selectors = webhooks.into_iter().map(|webhook| match webhook.namespace_selector {
        None => Ok(LabelSelector::default()),
        // The same, as JSON has it.
        Some(selector) => serde_json::to_value(selector)
            .and_then(serde_json::from_value)
            .map_err(|error| ObjectError::Failed(format!("{}: its namespaceSelector: {error}", what(name)))),
    });
    selectors.collect::<Result<Vec<_>, _>>().map(Some)
}

/// Makes the API server trust this bundle, PEM, for each of its webhooks. It takes the right to patch it.
///
/// Server-side apply of this one field, forced: it is nobody else's, and survives whoever applies the rest.
///
/// # Errors
///
/// When it was not changed.
pub async fn trust(client: Client, name: &str, registration: &Registration, bundle: &str) -> Result<(), ObjectError> {
    let api: Api<Object> = Api::all(client);
    let bundle = STANDARD.encode(bundle);
    let webhooks = registration.webhooks.iter();
    let webhooks: Vec<_> = webhooks
        .map(|webhook| json!({"name": webhook.name, "clientConfig": {"caBundle": bundle}}))
        .collect();
    let object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": webhooks,
    });
    let params = PatchParams::apply(MANAGER).force();
    let patch = Patch::Apply(object);
    within(&what(name), "patch", api.patch(name, &params, &patch)).await?;
    Ok(())
}

/// Calls `tell` whenever the configuration may have changed, and once at the beginning of each watch, until it is dropped.
/// It takes the right to watch it, by its name.
pub async fn changes(client: Client, name: &str, mut tell: impl FnMut()) -> std::convert::Infallible {
    let api: Api<PartialObjectMeta<Object>> = Api::all(client);
    let params = WatchParams::default()
        .fields(&format!("metadata.name={name}"))
        .timeout(WATCH_SECONDS);
    loop {
        let started = Instant::now();
        // From whatever the server has: everything is looked at afterwards anyway.
        match timeout(ANSWER, api.watch_metadata(&params, "0")).await {
            Ok(Ok(events)) => {
                let mut events = std::pin::pin!(events);
                let deadline = started + Duration::from_secs(WATCH_SECONDS.into()) + ANSWER;
                while let Ok(Some(Ok(_))) = tokio::time::timeout_at(deadline, events.next()).await {
                    tell();
                }
            }
            Ok(Err(error)) => tracing::debug!("{} is not watched: {}", what(name), super::explain(&error)),
            Err(_) => tracing::debug!("{} is not watched: the API server does not answer", what(name)),
        }
        if started.elapsed() < PAUSE {
            sleep(PAUSE).await;
        }
    }
}

fn webhook(webhook: k8s_openapi::api::admissionregistration::v1::MutatingWebhook) -> Webhook {
    let client = webhook.client_config;
    let of_service = client
        .service
        .map(|service| format!("{}.{}.svc", service.name, service.namespace));
    let of_url = || {
        let url: hyper::Uri = client.url.as_ref()?.parse().ok()?;
        Some(url.host()?.trim_matches(['[', ']']).to_owned())
    };
    Webhook {
        name: webhook.name,
        bundle: client.ca_bundle.map(|bundle| bundle.0).unwrap_or_default(),
        host: of_service.or_else(of_url),
    }
}

fn what(name: &str) -> String {
    format!("the MutatingWebhookConfiguration {name}")
}

/// Between two watches that come to nothing. Everything is looked at every few seconds as well.
const PAUSE: Duration = Duration::from_secs(5);

/// How long a watch takes to begin.
const ANSWER: Duration = Duration::from_secs(30);

const WATCH_SECONDS: u32 = 240;
