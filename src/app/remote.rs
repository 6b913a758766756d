//! A Waypost that runs, asked through its REST API by whoever is at the command line.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, anyhow, bail, ensure};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, StatusCode, Uri,
    body::Bytes,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use crate::{
    config::Config,
    oci::Roots,
    pushes::{Image, PushId, State},
    reference::Reference,
    registry::{Login, NamesSpec, Registry, RegistrySpec},
};

/// Where it is, and what it is asked with. What is not said follows from the configuration where it runs on this machine.
#[derive(Clone, Debug, Default)]
pub struct ServerFlags {
    /// `https://HOST:PORT`.
    pub url: Option<String>,
    /// The file that has the token.
    pub token_file: Option<PathBuf>,
    /// The file with the authorities that its certificate may be of.
    pub ca_file: Option<PathBuf>,
}

/// A Waypost that runs.
pub struct Server {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Scheme, host and port.
    base: String,
    authorization: HeaderValue,
}

/// What is wanted of it.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The registry, by its id.
    pub registry: String,
    /// Whether signatures and the like come along.
    pub referrers: bool,
    /// What is pushed with, in place of what the registry has.
    pub login: Option<Login>,
}

/// A push, as far as commands look at it.
#[derive(Clone, Debug, Deserialize)]
pub struct Push {
    /// Its id.
    pub id: String,
    /// The image.
    pub image: String,
    /// How the last push went, or how it goes.
    pub last_attempt: Option<Attempt>,
    /// What is there.
    pub last_success: Option<Success>,
}

/// One push, how it went or how it goes.
#[derive(Clone, Debug, Deserialize)]
pub struct Attempt {
    pub state: State,
    pub attempt: u32,
    pub error: Option<String>,
    pub bytes_total: Option<u64>,
    pub bytes_done: Option<u64>,
}

/// A push that went well.
#[derive(Clone, Debug, Deserialize)]
pub struct Success {
    pub target: String,
    pub digest: String,
}

/// Why there is no answer, or not the one that was wanted.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Nobody answers.
    #[error("{0}")]
    Unreachable(String),
    /// It answers that it cannot be done.
    #[error("{said}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// When it may be asked again.
        after: Option<Duration>,
        /// What it says.
        said: String,
    },
}

impl Server {
    /// The one that the flags mean, or, without a URL, the one that the configuration is of. Reads files. Its token is that of `--token-file`, else of the variable
    /// `WAYPOST_TOKEN`, else, on this machine, `push.token` beside the store.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or nothing says what the token is.
    pub fn of(flags: &ServerFlags, config: &Config) -> anyhow::Result<Self> {
        let listen = config.server.api.listen;
        let url = flags.url.clone().unwrap_or_else(|| {
            if listen.ip().is_unspecified() {
                format!("https://localhost:{}", listen.port())
            } else {
                format!("https://{listen}")
            }
        });
        let uri: Uri = url.parse().with_context(|| format!("`{url}` is no URL"))?;
        let (Some("https"), Some(authority), "/") = (uri.scheme_str(), uri.authority(), uri.path()) else {
            bail!("`{url}` is no address of Waypost's REST API: write https://HOST:PORT, as https://127.0.0.1:8444");
        };
        ensure!(
            !authority.as_str().contains('@'),
            "leave out of the URL what is before `@`: the token is for --token-file"
        );
        let host = authority.host().trim_matches(['[', ']']);
        let here = host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        let authority = match &flags.ca_file {
            Some(path) => Some(path.clone()),
            None => Some(config.tls.dir.join("ca.crt")).filter(|path| here && path.exists()),
        };
        let bundle = authority
            .map(|path| std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display())))
            .transpose()?;
        let tls = Roots::load().0.config(bundle.as_deref())?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .wrap_connector(tcp);
        let token = token(flags, config, here)?;
        let mut authorization = HeaderValue::from_str(&Zeroizing::new(format!("Bearer {}", token.trim())))
            .map_err(|_| anyhow!("the token has a character in it that no header can have"))?;
        authorization.set_sensitive(true);
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            base: url.trim_end_matches('/').to_owned(),
            authorization,
        })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Has an image copied, or, by its record, copied again. The name of an image that is none is said by the answer.
    ///
    /// # Errors
    ///
    /// When it does not answer, or refuses.
    pub async fn push(&self, image: &str, wanted: &Wanted, retry: bool) -> Result<Push, Fault> {
        let mut body = json!({});
        if wanted.referrers {
            body["referrers"] = true.into();
        }
        if let Some(login) = &wanted.login {
            body["registry_push_credentials"] = json!({
                "registry_id": wanted.registry, "registry_username": login.username,
                "registry_password": login.password.expose(),
            });
        }
        let id = Image::parse(image).map(|image| PushId::new(&wanted.registry, image.key()));
        let path = match id {
            Ok(id) if retry => format!("/v1/pushes/{id}/retry"),
            _ => {
                body["image"] = image.into();
                body["registry_id"] = wanted.registry.clone().into();
                "/v1/pushes".to_owned()
            }
        };
        self.ask(Method::POST, &path, Some(body)).await
    }

    /// How a push stands.
    ///
    /// # Errors
    ///
    /// When it does not answer, or refuses.
    pub async fn look(&self, id: &str) -> Result<Push, Fault> {
        self.ask(Method::GET, &format!("/v1/pushes/{id}"), None).await
    }

    /// All registries, as far as their names are concerned.
    ///
    /// # Errors
    ///
    /// When it does not answer, or refuses.
    pub async fn registries(&self) -> Result<Vec<Registry>, Fault> {
        let mut all = Vec::new();
        let mut after = String::new();
        loop {
            let path = format!("/v1/registries?limit=500{after}");
            let page: Page = self.ask(Method::GET, &path, None).await?;
            all.extend(page.items.into_iter().filter_map(Named::registry));
            match page.next {
                Some(next) => after = format!("&after={next}"),
                None => return Ok(all),
            }
        }
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<Value>) -> Result<T, Fault> {
        let unreachable = |why: &str| Fault::Unreachable(format!("{} does not answer: {why}", self.base));
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body))
            .map_err(|error| unreachable(&error.to_string()))?;
        let exchange = async {
            let answer = self
                .client
                .request(request)
                .await
                .map_err(|error| unreachable(&causes(&error)))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MOST_BYTES).collect().await;
            let body = body.map_err(|error| unreachable(&error.to_string()))?.to_bytes();
            Ok((head, body))
        };
        let (head, body) = timeout(DEADLINE, exchange)
            .await
            .map_err(|_| unreachable(&format!("nothing within {} s", DEADLINE.as_secs())))??;
        if head.status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|_| unreachable("what answers there is no REST API of Waypost's, or of another version"));
        }
        let after = head
            .headers
            .get(RETRY_AFTER)
            .and_then(|after| after.to_str().ok()?.parse().ok());
        let problem: Option<Problem> = serde_json::from_slice(&body).ok();
        Err(Fault::Refused {
            said: match problem {
                Some(problem) => problem.said(),
                None => format!("{} answers {}, which is no answer of Waypost's", self.base, head.status),
            },
            status: head.status,
            after: after.map(Duration::from_secs),
        })
    }
}

impl Fault {
    /// After how long it may work: there is too much to do there, or nobody answers at the moment. None where asking again is of no use.
    pub fn later(&self) -> Option<Duration> {
        match self {
            Self::Unreachable(_) => Some(AGAIN),
            Self::Refused { status, after, .. } => {
                let passes = matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
                passes.then(|| after.unwrap_or(AGAIN).min(MOST_PATIENCE))
            }
        }
    }

    /// Whether it is busy, and says so.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::TOO_MANY_REQUESTS)
    }
}

impl Push {
    /// Whether nothing more becomes of it.
    pub fn has_ended(&self) -> bool {
        self.last_attempt.as_ref().is_some_and(|last| last.state.is_final())
    }
}

/// What a Pod's image is called everywhere: by the names of the registry that it lies under, if any. None where it lies under the registry
/// that it would be pushed to, or is no reference. With a tag and a digest it is the digest that the Pod has.
pub fn original(image: &str, registries: &[Registry], to: &str) -> Option<String> {
    let reference = Reference::parse(image).ok()?;
    let over = |registry: &&Registry| registry.is_over(&reference);
    if registries.iter().filter(over).any(|registry| *registry.id == *to) {
        return None;
    }
    let named = match (reference.tag(), reference.digest()) {
        (Some(_), Some(digest)) => Image::parse(&format!("{}@{digest}", reference.canonical_name())).ok()?,
        _ => Image::of(&reference),
    };
    let source = registries
        .iter()
        .filter(over)
        .find_map(|registry| named.source_in(registry));
    Some(source.unwrap_or(named).as_str().to_owned())
}

fn token(flags: &ServerFlags, config: &Config, here: bool) -> anyhow::Result<Zeroizing<String>> {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).map(Zeroizing::new);
        text.with_context(|| format!("the token {} cannot be read", path.display()))
    };
    if let Some(path) = &flags.token_file {
        return read(path);
    }
    if let Ok(token) = std::env::var(TOKEN) {
        return Ok(Zeroizing::new(token));
    }
    ensure!(
        here,
        "a Waypost on another machine wants a token: give the file that has it with --token-file, or the token itself in the variable {TOKEN}"
    );
    let beside = config.store.path.with_file_name("push.token");
    read(&beside).context(
        "`waypost serve` makes a token beside its store at its first start: run this where it was started, with its --config, or say --token-file",
    )
}

/// An error with what led to it: the outer ones say little.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Named>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
    registry_url: Option<String>,
    names: NamesSpec,
}

impl Named {
    /// None where it is not known, or not yet, where it is.
    fn registry(self) -> Option<Registry> {
        let Self {
            id,
            registry_url,
            names,
        } = self;
        let spec = RegistrySpec {
            url: Some(registry_url?),
            names: Some(names),
            ..RegistrySpec::default()
        };
        Registry::parse(&id, &spec).ok()
    }
}

#[derive(Deserialize)]
struct Problem {
    detail: String,
    #[serde(default)]
    errors: Vec<FieldError>,
}

#[derive(Deserialize)]
struct FieldError {
    field: Option<String>,
    message: String,
    hint: Option<String>,
}

impl Problem {
    fn said(self) -> String {
        if self.errors.len() < 2 {
            return self.detail;
        }
        let each = self.errors.into_iter().map(|error| {
            let parts = [error.field, Some(error.message), error.hint];
            parts.into_iter().flatten().collect::<Vec<_>>().join(": ")
        });
        each.collect::<Vec<_>>().join("; ")
    }
}

/// Waits for as long as a fault says.
pub async fn patience(fault: &Fault) {
    sleep(fault.later().unwrap_or(AGAIN)).await;
}

/// The variable that may have the token.
const TOKEN: &str = "WAYPOST_TOKEN";

const CONNECT: Duration = Duration::from_secs(5);
/// Longer than the API takes for any answer.
const DEADLINE: Duration = Duration::from_secs(35);
const AGAIN: Duration = Duration::from_secs(2);
const MOST_PATIENCE: Duration = Duration::from_secs(60);
const MOST_BYTES: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(id: &str, url: &str, to: &str, from: Option<&str>) -> Registry {
        let named = Named {
            id: id.to_owned(),
            registry_url: Some(url.to_owned()),
            names: NamesSpec {
                to: to.to_owned(),
                from: from.map(str::to_owned),
            },
        };
        named.registry().unwrap()
    }

    #[test]
    fn an_image_of_a_pod_is_pushed_as_it_is_called_everywhere() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let registries = [
            registry("corp", "r.io/team", "{registry}/{repository}", None),
            registry("cache", "127.0.0.1:30500", "{repository}", Some("docker.io")),
        ];
        for (image, expected) in [
            ("alpine", Some("docker.io/library/alpine:latest".to_owned())),
            (
                "127.0.0.1:30500/library/alpine:3",
                Some("docker.io/library/alpine:3".to_owned()),
            ),
            ("r.io/team/quay.io/a/b:1", None),
            ("r.io/team/own:1", None),
            ("r.io/teams/own:1", Some("r.io/teams/own:1".to_owned())),
            (&format!("a/b:1@{digest}"), Some(format!("docker.io/a/b@{digest}"))),
            (
                &format!("127.0.0.1:30500/a/b:1@{digest}"),
                Some(format!("docker.io/a/b@{digest}")),
            ),
            ("Not an image", None),
        ] {
            assert_eq!(original(image, &registries, "corp"), expected, "{image}");
        }
    }

    #[test]
    fn what_is_busy_or_away_is_asked_again_and_what_refuses_is_not() {
        let refused = |status: u16, after: Option<u64>| Fault::Refused {
            status: StatusCode::from_u16(status).unwrap(),
            after: after.map(Duration::from_secs),
            said: String::new(),
        };
        assert_eq!(refused(429, Some(7)).later(), Some(Duration::from_secs(7)));
        assert_eq!(refused(503, Some(7_000)).later(), Some(MOST_PATIENCE));
        assert_eq!(refused(422, Some(7)).later(), None);
        assert_eq!(refused(507, None).later(), None);
        assert_eq!(Fault::Unreachable(String::new()).later(), Some(AGAIN));
    }

    #[test]
    fn a_token_goes_to_no_address_that_is_not_one_of_the_api() {
        let config = Config::from_layers(None, [], &Default::default()).unwrap();
        for (url, expected) in [
            ("http://127.0.0.1:8444", "is no address of Waypost's REST API"),
            ("https://127.0.0.1:8444/v1", "is no address of Waypost's REST API"),
            ("127.0.0.1:8444", "is no address of Waypost's REST API"),
            ("https://u:p@127.0.0.1:8444", "what is before `@`"),
            ("https://waypost.example.com", "--token-file"),
        ] {
            let flags = ServerFlags {
                url: Some(url.to_owned()),
                ..ServerFlags::default()
            };
            let error = Server::of(&flags, &config).err().unwrap().to_string();
            assert!(error.contains(expected), "{url}: {error}");
        }
    }
}
