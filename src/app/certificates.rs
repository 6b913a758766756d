//! The webhook's certificates, as the controller keeps them: looks, asks [`rotation`] for the next step, takes it.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use crate::{
    cluster::objects::{self, Endpoint, Home, ObjectError, Registration, Secret},
    http::health::Check,
    metrics::ControllerMetrics,
    rotation::{self, Certificate, Observed, ROTATE, Replica, Rotate, Served, Serving, Step, Waiting, Why},
    tls::{self, Dialled, authority},
};

/// What is kept, and where.
#[derive(Clone)]
pub(super) struct Kept {
    /// The Secret of the serving certificate.
    pub(super) secret: String,
    /// The Service that it is for.
    pub(super) service: String,
    /// The Service of the REST API, which it is for as well.
    pub(super) api_service: Option<String>,
    /// The configuration that must trust it.
    pub(super) webhook_configuration: String,
    /// How long a serving certificate is valid.
    pub(super) leaf_lifetime: Duration,
    /// How long an authority is valid.
    pub(super) ca_lifetime: Duration,
}

/// Keeps them, for as long as it is not dropped.
pub(super) async fn keep(home: &Home, kept: &Kept, check: &Check, metrics: &ControllerMetrics) -> Infallible {
    let changed = Arc::new(Notify::new());
    let watch = objects::changes(home.client.clone(), &kept.webhook_configuration, {
        let changed = changed.clone();
        move || changed.notify_one()
    });
    let mut keeper = Keeper {
        home,
        kept,
        check,
        metrics,
        bundles: None,
        waiting: None,
        failed: None,
        failures: 0,
        misspelt: None,
        busy: (Instant::now(), 0),
    };
    tokio::select! {
        never = watch => never,
        never = keeper.run(&changed) => never,
    }
}

/// One term's.
struct Keeper<'a> {
    home: &'a Home,
    kept: &'a Kept,
    check: &'a Check,
    metrics: &'a ControllerMetrics,
    /// What `caBundle` was seen to be, and since when.
    bundles: Option<(Vec<Vec<u8>>, Instant)>,
    /// What was said last, so that it is said once.
    waiting: Option<Waiting>,
    failed: Option<String>,
    failures: u32,
    /// What the annotation said that means nothing.
    misspelt: Option<String>,
    /// Since when steps are counted, and how many there were.
    busy: (Instant, u32),
}

/// What was read, for whoever writes.
struct Read {
    authority: Option<(authority::Authority, Vec<Certificate>)>,
    authority_secret: Option<Secret>,
    serving_secret: Option<Secret>,
    registration: Option<Registration>,
}

impl Keeper<'_> {
    async fn run(&mut self, changed: &Notify) -> Infallible {
        loop {
            let pause = match self.step().await {
                Ok(pause) => {
                    self.failures = 0;
                    if self.failed.take().is_some() {
                        tracing::info!("the certificates can be looked after again");
                    }
                    pause.unwrap_or(SHORTEST_PAUSE)
                }
                Err(ObjectError::Conflict(what)) => {
                    tracing::debug!("{what} was changed by somebody else, and is looked at again");
                    SHORTEST_PAUSE
                }
                Err(ObjectError::Failed(why)) => {
                    self.check
                        .degraded(format!("the certificates cannot be looked after: {why}"));
                    if self.failed.as_ref() != Some(&why) {
                        tracing::warn!("the certificates cannot be looked after, which is tried again: {why}");
                        self.failed = Some(why);
                    }
                    self.failures = self.failures.saturating_add(1);
                    (SHORTEST_PAUSE * 2_u32.saturating_pow(self.failures.min(10))).min(LOOK_EVERY)
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = changed.notified() => {}
            }
        }
    }

    /// Takes the next step, or says how long there is none to take.
    async fn step(&mut self) -> Result<Option<Duration>, ObjectError> {
        let read = self.read().await?;
        let mut observed = self.observe(&read);
        let mut step = rotation::next(&observed, Timestamp::now());
        if step == Step::LookAtReplicas
            && let Some((authority, _)) = &read.authority
        {
            observed.replicas = Some(self.look_at_replicas(&authority.certificate).await?);
            step = rotation::next(&observed, Timestamp::now());
        }
        if !matches!(step, Step::Wait(..)) {
            self.waiting = None;
            self.do_not_hurry().await;
        }
        match step {
            Step::MakeAuthority { previous, why } => {
                tracing::info!("making an authority: {}", for_what(why));
                let made = authority::Authority::generate(self.kept.ca_lifetime, SystemTime::now()).map_err(failed)?;
                self.write_authority(&read, &made, &previous).await?;
                self.metrics.authority_made();
            }
            Step::Trust(bundle) => {
                if let Some(registration) = &read.registration {
                    let name = &self.kept.webhook_configuration;
                    objects::trust(self.home.client.clone(), name, registration, &bundle).await?;
                    let authorities = bundle.matches("BEGIN").count();
                    tracing::info!(authorities, "{name} trusts {authorities} authorities now");
                }
            }
            Step::MakeLeaf(why) => {
                if let Some((authority, _)) = &read.authority {
                    tracing::info!("making a certificate: {}", for_what(why));
                    self.write_leaf(&read, authority).await?;
                    self.metrics.leaf_made();
                }
            }
            Step::Retire => {
                if let Some((authority, _)) = &read.authority {
                    self.write_authority(&read, authority, &[]).await?;
                    tracing::info!("every replica serves the new certificate: the authorities before it are given up");
                }
            }
            Step::LookAtReplicas => {}
            Step::Wait(duration, waiting) => return Ok(Some(self.wait(duration, waiting))),
        }
        Ok(None)
    }

    /// Somebody who undoes everything at once would keep the API server busy with the two of us.
    async fn do_not_hurry(&mut self) {
        let (since, steps) = &mut self.busy;
        if since.elapsed() > BUSY {
            self.busy = (Instant::now(), 0);
            return;
        }
        *steps += 1;
        if *steps == MANY_STEPS {
            tracing::warn!(
                "somebody changes {} or the certificates' Secrets as fast as they are put right: managedFields says who",
                self.kept.webhook_configuration
            );
        }
        if *steps >= MANY_STEPS {
            sleep(LOOK_EVERY).await;
        }
    }

    fn wait(&mut self, duration: Duration, waiting: Waiting) -> Duration {
        if self.waiting.as_ref() != Some(&waiting) {
            match &waiting {
                Waiting::Renewal => tracing::info!(
                    seconds = duration.as_secs(),
                    "the certificates are in order, for another {} s",
                    duration.as_secs()
                ),
                Waiting::ApiServers => tracing::info!("waiting until every API server trusts the new authority"),
                Waiting::Replicas(late) => {
                    tracing::info!("waiting for {} to serve the new certificate", late.join(", "))
                }
            }
        }
        match &waiting {
            Waiting::Renewal | Waiting::ApiServers => self.check.fine(),
            Waiting::Replicas(late) => self.check.degraded(format!(
                "a new authority is trusted, and the old one kept until the new certificate is served by {}",
                late.join(", ")
            )),
        }
        self.waiting = Some(waiting);
        duration.clamp(SHORTEST_PAUSE, LOOK_EVERY)
    }

    async fn read(&self) -> Result<Read, ObjectError> {
        let authority_name = self.authority_name();
        let (authority_secret, serving_secret, registration) = tokio::try_join!(
            objects::secret(self.home, &authority_name),
            objects::secret(self.home, &self.kept.secret),
            objects::registration(self.home.client.clone(), &self.kept.webhook_configuration),
        )?;
        let authority = authority_secret.as_ref().and_then(|secret| {
            let (certificate, key) = (secret.text(CA_CERTIFICATE)?, secret.text(CA_KEY)?);
            let authority = authority::Authority::parse(certificate, key, SystemTime::now())?;
            let previous = secret.data.get(CA_PREVIOUS).map_or(&[][..], |previous| previous);
            Some((authority, certificates(previous)))
        });
        Ok(Read {
            authority,
            authority_secret,
            serving_secret,
            registration,
        })
    }

    fn observe(&mut self, read: &Read) -> Observed {
        let authority = read.authority.as_ref().and_then(|(authority, previous)| {
            Some(rotation::Authority {
                certificate: first(authority.certificate.as_bytes())?,
                previous: previous.clone(),
            })
        });
        let serving = read.serving_secret.as_ref().and_then(|secret| {
            let chain = secret.data.get(CERTIFICATE)?;
            let key = secret.data.get(KEY).map_or(&[][..], |key| key);
            let authority = read.authority.as_ref();
            let authority = authority.map_or("", |(authority, _)| &authority.certificate);
            let names = self.names();
            Some(Serving {
                leaf: first(chain)?,
                issuer: secret.data.get(CA_CERTIFICATE).and_then(|issuer| first(issuer)),
                fits: authority::is_accepted(chain, authority.as_bytes(), &names, SystemTime::now())
                    && authority::is_pair(chain, key),
            })
        });
        let trust = read.registration.as_ref().map(|registration| {
            let webhooks = registration.webhooks.iter();
            let bundles: Vec<_> = webhooks.map(|webhook| webhook.bundle.clone()).collect();
            let authorities = bundles.iter().flat_map(|bundle| certificates(bundle)).collect();
            let since = match self.bundles.take() {
                Some((seen, since)) if seen == bundles => since,
                _ => Instant::now(),
            };
            self.bundles = Some((bundles.clone(), since));
            rotation::Trust {
                bundles,
                authorities,
                stood: since.elapsed(),
            }
        });
        let rotate = read.serving_secret.as_ref().and_then(|secret| {
            let asked = secret.annotations.get(ROTATE)?;
            let rotate = Rotate::parse(asked);
            if rotate.is_none() && self.misspelt.as_ref() != Some(asked) {
                self.misspelt = Some(asked.clone());
                tracing::warn!(
                    "the annotation {ROTATE} of {} says `{asked}`: it is `ca` or `leaf`",
                    self.kept.secret
                );
            }
            rotate
        });
        Observed {
            authority,
            serving,
            trust,
            rotate,
            replicas: None,
        }
    }

    async fn look_at_replicas(&self, authority: &str) -> Result<Vec<Replica>, ObjectError> {
        let endpoints = objects::endpoints(self.home, &self.kept.service).await?;
        let names = self.names();
        let dialled = stream::iter(endpoints).map(|endpoint| {
            let name = names[0].clone();
            async move {
                let Endpoint {
                    name: pod,
                    address,
                    serving,
                } = endpoint;
                let served = match tls::dial(address, &name, authority.as_bytes()).await {
                    Dialled::Leaf(der) => Served::Leaf(der),
                    Dialled::Another => Served::Another,
                    Dialled::Unreachable(why) => Served::Unreachable(why),
                };
                tracing::debug!(%address, serving, ?served, "looked at {pod}");
                Replica {
                    name: pod,
                    serving,
                    served,
                }
            }
        });
        Ok(dialled.buffered(AT_ONCE).collect().await)
    }

    async fn write_authority(
        &self,
        read: &Read,
        authority: &authority::Authority,
        previous: &[Certificate],
    ) -> Result<(), ObjectError> {
        let previous: String = previous.iter().map(Certificate::pem).collect();
        let mut data = vec![(CA_CERTIFICATE, &*authority.certificate), (CA_KEY, &*authority.key)];
        if !previous.is_empty() {
            data.push((CA_PREVIOUS, &previous));
        }
        let name = self.authority_name();
        match &read.authority_secret {
            Some(secret) => objects::replace(self.home, &name, secret, &data, &[]).await,
            None => objects::create(self.home, &name, "Opaque", &data).await,
        }
    }

    async fn write_leaf(&self, read: &Read, authority: &authority::Authority) -> Result<(), ObjectError> {
        let issued = authority
            .issue(&self.names(), self.kept.leaf_lifetime, SystemTime::now())
            .map_err(failed)?;
        let data = [
            (CA_CERTIFICATE, &*authority.certificate),
            (CERTIFICATE, &*issued.certificate),
            (KEY, &*issued.key),
        ];
        let name = &self.kept.secret;
        match &read.serving_secret {
            Some(secret) => objects::replace(self.home, name, secret, &data, &[ROTATE]).await,
            None => objects::create(self.home, name, "kubernetes.io/tls", &data).await,
        }
    }

    /// Beside the Secret that replicas have mounted, which must not hold the key.
    fn authority_name(&self) -> String {
        format!("{}-ca", self.kept.secret)
    }

    /// What the API server calls the Service, first.
    fn names(&self) -> Vec<String> {
        let Kept {
            service, api_service, ..
        } = self.kept;
        let services = std::iter::once(service).chain(api_service);
        services
            .flat_map(|service| {
                let host = format!("{service}.{}.svc", self.home.namespace);
                let long = format!("{host}.cluster.local");
                [host, long]
            })
            .collect()
    }
}

fn certificates(pem: &[u8]) -> Vec<Certificate> {
    let read = authority::read(pem).into_iter();
    read.map(|read| Certificate {
        der: read.der.to_vec(),
        not_before: read.not_before,
        not_after: read.not_after,
    })
    .collect()
}

fn first(pem: &[u8]) -> Option<Certificate> {
    certificates(pem).into_iter().next()
}

fn for_what(why: Why) -> &'static str {
    match why {
        Why::Missing => "there is none that can be used",
        Why::Due => "two thirds of the last one's life are over",
        Why::Asked => "somebody asks for it",
        Why::Authority => "there is another authority",
        Why::Unfit => "the last one is not for these names, or not of its key",
    }
}

fn failed(error: tls::TlsError) -> ObjectError {
    ObjectError::Failed(error.to_string())
}

const CA_CERTIFICATE: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
/// The authorities before it, until no replica serves a certificate of theirs.
const CA_PREVIOUS: &str = "previous.crt";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// How often everything is looked at, however long there is nothing to do: Secrets are not watched.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// More steps than any renewal has, and the time within which they are too many.
const MANY_STEPS: u32 = 20;
const BUSY: Duration = Duration::from_secs(60);

/// Also between two looks at what somebody changes again and again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);

/// So many replicas are dialled at once.
const AT_ONCE: usize = 16;
