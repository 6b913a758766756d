//! Events. It takes the right to create them, in every namespace.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event as Object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::{Api, Client, api::PostParams};
use tokio::time::timeout;

use super::explain;

/// Something that people should know about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Where the Event is: in the object's namespace, and in `default` where it has none.
    pub namespace: String,
    /// `apps/v1`
    pub api_version: String,
    /// `ReplicaSet`
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// One word, for machines.
    pub reason: &'static str,
    /// What happened; more than 1,024 bytes are cut.
    pub note: String,
    /// Whether somebody has to do something.
    pub warning: bool,
    /// Who says so.
    pub reporter: Reporter,
}

/// Which part of Waypost tells something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporter {
    /// The webhook, of an admission.
    Webhook,
    /// The controller, of a pull secret.
    PullSecrets,
    /// The controller, of a registry, which is in no namespace.
    Registries,
}

/// Tells it.
///
/// # Errors
///
/// When the API server does not take it, in a sentence.
pub async fn create(client: Client, event: &Event, instance: &str) -> Result<(), String> {
    let api: Api<Object> = Api::namespaced(client, &event.namespace);
    let (controller, action) = match event.reporter {
        Reporter::Webhook => ("waypost.dev/webhook", "Admission"),
        Reporter::PullSecrets => ("waypost.dev/controller", "PullSecret"),
        Reporter::Registries => ("waypost.dev/controller", "Token"),
    };
    let is_namespaced = event.reporter != Reporter::Registries;
    let mut object = Object {
        action: Some(action.to_owned()),
        event_time: Some(MicroTime::from(jiff::Timestamp::now())),
        note: Some(cut(&event.note, LONGEST_NOTE)),
        reason: Some(event.reason.to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some(event.api_version.clone()),
            kind: Some(event.kind.clone()),
            name: Some(event.name.clone()),
            namespace: is_namespaced.then(|| event.namespace.clone()),
            uid: Some(event.uid.clone()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(controller.to_owned()),
        reporting_instance: Some(cut(instance, 128)),
        type_: Some(if event.warning { "Warning" } else { "Normal" }.to_owned()),
        ..Object::default()
    };
    object.metadata.generate_name = Some("waypost-".to_owned());
    match timeout(DEADLINE, api.create(&PostParams::default(), &object)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(explain(&error)),
        Err(_) => Err(format!(
            "the API server has not answered within {} s",
            DEADLINE.as_secs()
        )),
    }
}

fn cut(text: &str, bytes: usize) -> String {
    text[..text.floor_char_boundary(bytes)].to_owned()
}

/// Bytes, as the API server has it.
const LONGEST_NOTE: usize = 1_024;

const DEADLINE: Duration = Duration::from_secs(10);
