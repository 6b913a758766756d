//! The certificate of the REST API in a cluster: read from its Secret, and again whenever that has changed.
//!
//! Not from a mounted directory, as the webhook's is: the controller is there before it has made the Secret, and whoever has just
//! installed Waypost would wait for the kubelet to look again.

use std::{
    convert::Infallible,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::sleep;

use crate::{
    cluster::objects::{self, Home},
    http::health::Check,
    tls::{Reload, Tls},
};

/// Waits until there is one that can be served. Until then the process is not ready: its Service would lead to a port that is closed.
pub(super) async fn first(home: &Home, name: &str, check: &Check) -> Arc<Tls> {
    let mut told = None;
    loop {
        let why = match read(home, name).await {
            Ok((certificate, key)) => match Tls::of(&origin(name), &certificate, &key, SystemTime::now()) {
                Ok(tls) => return Arc::new(tls),
                Err(error) => error.to_string(),
            },
            Err(why) => why,
        };
        check.failing(format!(
            "the REST API has no certificate that it could be served with: {why}"
        ));
        if told.as_ref() != Some(&why) {
            tracing::info!("the REST API waits for its certificate: {why}");
            told = Some(why);
        }
        sleep(SOON).await;
    }
}

/// Serves each new one, for as long as it is not dropped.
pub(super) async fn keep(home: &Home, name: &str, tls: &Tls, check: &Check) -> Infallible {
    let mut told = None;
    loop {
        sleep(LOOK_EVERY).await;
        let replaced = match read(home, name).await {
            Ok((certificate, key)) => {
                let replaced = tls.replace(&certificate, &key, SystemTime::now());
                replaced.map_err(|error| error.to_string())
            }
            Err(why) => Err(why),
        };
        match replaced {
            Ok(reload) => {
                if reload == Reload::Replaced {
                    tracing::info!(not_after = %tls.not_after(), "the REST API has a new certificate, valid until {:.0}", tls.not_after());
                }
                told = None;
                check.fine();
            }
            Err(why) => {
                check.degraded(format!("the REST API goes on with its last certificate: {why}"));
                if told.as_ref() != Some(&why) {
                    tracing::warn!("the REST API goes on with its last certificate: {why}");
                    told = Some(why);
                }
            }
        }
    }
}

async fn read(home: &Home, name: &str) -> Result<(Vec<u8>, Vec<u8>), String> {
    let secret = objects::secret(home, name).await.map_err(|error| error.to_string())?;
    let mut secret = secret.ok_or_else(|| format!("there is no Secret {name} yet"))?;
    let mut take = |key: &str| {
        secret
            .data
            .remove(key)
            .ok_or_else(|| format!("the Secret {name} has no {key}"))
    };
    Ok((take("tls.crt")?, take("tls.key")?))
}

/// As errors name it.
fn origin(name: &str) -> PathBuf {
    PathBuf::from(format!("Secret {name}"))
}

const SOON: Duration = Duration::from_secs(1);

const LOOK_EVERY: Duration = Duration::from_secs(30);
