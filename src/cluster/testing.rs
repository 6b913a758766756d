//! An API server that answers by a script, for tests.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    body::Body,
    http::{Request, Response},
};
use http_body_util::channel::{Channel, Sender};
use hyper::body::{Bytes, Frame};
use kube::Client;
use serde_json::{Value, json};
use tokio::{sync::Notify, time::sleep};

/// One answer of the server.
pub(super) enum Answer {
    Json(u16, Value),
    /// A watch, which goes on until its sender is dropped.
    Watch(Channel<Bytes, std::io::Error>),
    /// No connection.
    Refused,
}

#[derive(Clone, Default)]
pub(super) struct Server {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    /// Path and query of each request.
    asked: Arc<Mutex<Vec<String>>>,
    /// What was accepted as the answer to each request.
    accepted: Arc<Mutex<Vec<String>>>,
    /// Whether somebody waits for an object.
    pub(super) wanted: Arc<Notify>,
}

impl Server {
    pub(super) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let server = server.clone();
            async move {
                server.asked.lock().unwrap().push(request.uri().to_string());
                let accept = request
                    .headers()
                    .get("accept")
                    .map_or("", |accept| accept.to_str().unwrap());
                server.accepted.lock().unwrap().push(accept.to_owned());
                let answer = server.answers.lock().unwrap().pop_front();
                let (status, body) = match answer {
                    Some(Answer::Json(status, value)) => (status, Body::from(value.to_string())),
                    Some(Answer::Watch(channel)) => (200, Body::new(channel)),
                    Some(Answer::Refused) | None => return Err(std::io::Error::other("connection refused")),
                };
                Ok(Response::builder().status(status).body(body).unwrap())
            }
        });
        Client::new(service, "default")
    }

    pub(super) fn will(&self, answers: impl IntoIterator<Item = Answer>) {
        self.answers.lock().unwrap().extend(answers);
    }

    /// Answers that were not given are not going to be.
    pub(super) fn forget(&self) {
        self.answers.lock().unwrap().clear();
    }

    /// A watch, and what writes to it.
    pub(super) fn will_watch(&self) -> Events {
        let (sender, channel) = Channel::new(16);
        self.will([Answer::Watch(channel)]);
        Events(sender)
    }

    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    pub(super) fn accepted(&self) -> Vec<String> {
        std::mem::take(&mut self.accepted.lock().unwrap())
    }
}

pub(super) struct Events(pub(super) Sender<Bytes, std::io::Error>);

impl Events {
    pub(super) async fn send(&mut self, events: impl IntoIterator<Item = Value>) {
        let lines: String = events.into_iter().map(|event| format!("{event}\n")).collect();
        self.0.send(Frame::data(lines.into())).await.unwrap();
    }
}

pub(super) fn event(kind: &str, object: Value) -> Value {
    json!({"type": kind, "object": object})
}

pub(super) fn status(code: u16, message: &str) -> Value {
    // The client goes by it, and not by the code, where it may be that there is none.
    let reason = if code == 404 { "NotFound" } else { "R" };
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": code})
}

/// With the clock paused, time passes only while nothing else is left to do.
pub(super) async fn settle() {
    sleep(Duration::from_millis(1)).await;
}
