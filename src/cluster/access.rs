//! How an API server is reached, and in plain words why it is not.

use std::{
    error::Error,
    fmt::Write,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{
    Client, Config,
    client::{ClientBuilder, ConfigExt},
    config::{Kubeconfig, KubeconfigError},
};
use tower::{BoxError, ServiceBuilder};

/// Where the address of the API server and the credentials for it come from.
///
/// They are read each time that [`connect`](Self::connect) is called: certificates, tokens and addresses are renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// A kubeconfig file: its current context.
    Kubeconfig(PathBuf),
    /// The Pod's own ServiceAccount.
    InCluster,
}

/// An API server that can be asked. No request was made yet.
#[derive(Clone)]
pub struct ApiServer {
    /// Makes the requests.
    pub client: Client,
    /// The server's address, as logs name it.
    pub url: String,
    /// The Pod's own namespace, or that of the kubeconfig's context.
    pub namespace: String,
}

/// Why no API server can be asked: what is wrong, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// There is no such file.
    #[error("there is no kubeconfig `{0}`: check the path given with --kubeconfig")]
    Missing(PathBuf),
    /// The file cannot be read.
    #[error("the kubeconfig `{0}` cannot be read: {1}")]
    Unreadable(PathBuf, #[source] io::Error),
    /// The file is something else.
    #[error("`{0}` is no kubeconfig: {1}")]
    NoKubeconfig(PathBuf, String),
    /// The file names no context to use, or one that it has not.
    #[error("the kubeconfig `{path}` {what}: {hint}")]
    Context {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: String,
        /// What to do.
        hint: String,
    },
    /// Something in the file cannot be used.
    #[error("the kubeconfig `{0}` cannot be used: {1}")]
    Unusable(PathBuf, String),
    /// This is no Pod, or one without a token.
    #[error(
        "no ServiceAccount of a Pod is found here: {0}; outside of a cluster, say which one is meant with --kubeconfig"
    )]
    NotInCluster(String),
}

impl Access {
    /// A client alone, for whoever makes one again and again, or in a sentence why there is none.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn client(&self) -> Result<Client, String> {
        match self.connect().await {
            Ok(server) => Ok(server.client),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Reads the credentials and makes a client. Does not ask the server anything, so one that is down is no error.
    ///
    /// # Errors
    /// When files are missing or cannot be used.
    pub async fn connect(&self) -> Result<ApiServer, AccessError> {
        let access = self.clone();
        // Files are read, and a kubeconfig may say to run a program for the credentials. The client starts tasks, and needs the runtime.
        let runtime = tokio::runtime::Handle::current();
        let connecting = tokio::task::spawn_blocking(move || {
            let _entered = runtime.enter();
            access.connect_blocking()
        });
        match connecting.await {
            Ok(connected) => connected,
            Err(error) => Err(self.unusable(error.to_string())),
        }
    }

    fn connect_blocking(&self) -> Result<ApiServer, AccessError> {
        let config = match self {
            Self::Kubeconfig(path) => from_kubeconfig(path)?,
            Self::InCluster => Config::incluster().map_err(|error| AccessError::NotInCluster(chain(&error)))?,
        };
        let url = config.cluster_url.to_string();
        if !matches!(config.cluster_url.scheme_str(), Some("http" | "https")) {
            return Err(self.unusable(format!(
                "its server is `{url}`, which is no URL: write it like https://192.0.2.1:6443"
            )));
        }
        let client = client(&config).map_err(|error| self.unusable(chain(&error)))?;
        let namespace = config.default_namespace;
        Ok(ApiServer { client, url, namespace })
    }

    fn unusable(&self, why: String) -> AccessError {
        match self {
            Self::Kubeconfig(path) => AccessError::Unusable(path.clone(), why),
            Self::InCluster => AccessError::NotInCluster(why),
        }
    }
}

fn from_kubeconfig(path: &Path) -> Result<Config, AccessError> {
    let unusable = |why: String| AccessError::Unusable(path.to_owned(), why);
    let kubeconfig = Kubeconfig::read_from(path).map_err(|error| match error {
        KubeconfigError::ReadConfig(error, _) if error.kind() == io::ErrorKind::NotFound => {
            AccessError::Missing(path.to_owned())
        }
        KubeconfigError::ReadConfig(error, _) => AccessError::Unreadable(path.to_owned(), error),
        KubeconfigError::Parse(error) => AccessError::NoKubeconfig(path.to_owned(), first_line(&error.to_string())),
        other => unusable(chain(&other)),
    })?;
    if kubeconfig.clusters.is_empty() && kubeconfig.contexts.is_empty() {
        return Err(AccessError::NoKubeconfig(
            path.to_owned(),
            "it has neither clusters nor contexts".to_owned(),
        ));
    }
    let contexts: Vec<_> = kubeconfig.contexts.iter().map(|context| &*context.name).collect();
    let choose = format!(
        "choose one of its contexts ({}) with `kubectl config use-context NAME --kubeconfig {}`",
        contexts.join(", "),
        path.display()
    );
    let context = |what: String| AccessError::Context {
        path: path.to_owned(),
        what,
        hint: choose.clone(),
    };
    let proxied = is_proxied(&kubeconfig);
    let config = Config::try_from(kubeconfig).map_err(|error| match error {
        KubeconfigError::CurrentContextNotSet => context("has no current-context".to_owned()),
        KubeconfigError::LoadContext(name) => {
            context(format!("has no context `{name}`, which its current-context names"))
        }
        KubeconfigError::LoadClusterOfContext(name) => {
            unusable(format!("it has no cluster `{name}`, which its current context names"))
        }
        KubeconfigError::MissingClusterUrl => unusable("the cluster of its current context has no server".to_owned()),
        other => unusable(chain(&other)),
    })?;
    if proxied {
        return Err(unusable(
            "its cluster has a proxy-url, and API servers are only reached directly".to_owned(),
        ));
    }
    Ok(config)
}

/// By what the file says. The environment's HTTPS_PROXY is not looked at: an API server that is asked for its webhooks is near.
fn is_proxied(kubeconfig: &Kubeconfig) -> bool {
    let current = kubeconfig.current_context.as_ref();
    let context = kubeconfig
        .contexts
        .iter()
        .find(|context| Some(&context.name) == current)
        .and_then(|named| named.context.as_ref());
    let cluster = context.and_then(|context| kubeconfig.clusters.iter().find(|named| named.name == context.cluster));
    cluster
        .and_then(|named| named.cluster.as_ref()?.proxy_url.as_ref())
        .is_some_and(|proxy| !proxy.is_empty())
}

/// kube's own stack, without its retries (whoever asks has back-off of their own, and must know that it is trouble), without its log
/// of every failure, and with probes that notice a peer which has gone without a word.
fn client(config: &Config) -> kube::Result<Client> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_DEADLINE));
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE));
    tcp.set_keepalive_retries(Some(3));
    let https = config.rustls_https_connector_with_connector(tcp)?;
    let http = HttpClient::builder(TokioExecutor::new()).build(https);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace.clone()).build())
}

/// Why a request failed, in plain words and on one line.
pub fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 401 => {
            "the API server does not accept the credentials (401): they may have expired".to_owned()
        }
        kube::Error::Api(status) if status.code == 403 => {
            format!("the API server refuses it (403): {}", first_line(&status.message))
        }
        kube::Error::Api(status) => format!(
            "the API server answers {}: {}",
            status.code,
            first_line(if status.message.is_empty() {
                &status.reason
            } else {
                &status.message
            })
        ),
        kube::Error::Service(error) => format!("the API server cannot be reached: {}", chain(&**error)),
        kube::Error::HyperError(error) => format!("the API server cannot be reached: {}", chain(error)),
        kube::Error::ReadEvents(error) => format!("the connection to the API server broke: {}", chain(error)),
        other => chain(other),
    }
}

/// An error and what it comes from, each said once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = first_line(&error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = first_line(&error.to_string());
        if !text.contains(&said) {
            // Writing to a String cannot fail.
            let _ = write!(text, ": {said}");
        }
        cause = error.source();
    }
    text
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// A server that is there answers within milliseconds.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// A peer that is silent for so long is probed, and given up after three probes.
const KEEPALIVE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    async fn connect(kubeconfig: &str) -> Result<ApiServer, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        std::fs::write(&path, kubeconfig).unwrap();
        let connected = Access::Kubeconfig(path.clone()).connect().await;
        connected.map_err(|error| error.to_string().replace(path.to_str().unwrap(), "FILE"))
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_kubeconfig_is_said_with_what_to_do() {
        for (kubeconfig, expected) in [
            ("", "`FILE` is no kubeconfig: it has neither clusters nor contexts"),
            (
                "kind: Config\nclusters: [{name: c, cluster: {server: 'https://h'}}]\ncontexts: [{name: a, context: {cluster: c}}, {name: b}]\n",
                "the kubeconfig `FILE` has no current-context: choose one of its contexts (a, b) with `kubectl config use-context \
                 NAME --kubeconfig FILE`",
            ),
            (
                "current-context: x\ncontexts: [{name: a, context: {cluster: c}}]\n",
                "the kubeconfig `FILE` has no context `x`, which its current-context names: choose one of its contexts (a) with \
                 `kubectl config use-context NAME --kubeconfig FILE`",
            ),
            (
                "current-context: a\ncontexts: [{name: a, context: {cluster: c}}]\n",
                "the kubeconfig `FILE` cannot be used: it has no cluster `c`, which its current context names",
            ),
            (
                "current-context: a\ncontexts: [{name: a, context: {cluster: c}}]\nclusters: [{name: c, cluster: {}}]\n",
                "the kubeconfig `FILE` cannot be used: the cluster of its current context has no server",
            ),
            (
                "current-context: a\ncontexts: [{name: a, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: 'h:6443'}}]\n",
                "the kubeconfig `FILE` cannot be used: its server is `h:6443`, which is no URL: write it like https://192.0.2.1:6443",
            ),
        ] {
            assert_eq!(
                connect(kubeconfig).await.err().as_deref(),
                Some(expected),
                "{kubeconfig}"
            );
        }
        let error = connect("- a list\n").await.err().unwrap();
        assert!(error.starts_with("`FILE` is no kubeconfig: "), "{error}");
        assert!(!error.contains('\n'), "{error}");
        let error = Access::Kubeconfig("/nowhere/kubeconfig".into())
            .connect()
            .await
            .err()
            .unwrap();
        assert_eq!(
            error.to_string(),
            "there is no kubeconfig `/nowhere/kubeconfig`: check the path given with --kubeconfig"
        );
    }

    #[tokio::test]
    async fn a_server_that_is_down_is_no_error_until_it_is_asked() {
        // Bound and never accepted on, so that nobody else has the port; then closed.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let kubeconfig = format!(
            "current-context: a\ncontexts: [{{name: a, context: {{cluster: c}}}}]\nclusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n"
        );
        let server = connect(&kubeconfig).await.unwrap();
        assert_eq!(server.url, format!("http://127.0.0.1:{port}/"));
        let error = explain(&server.client.apiserver_version().await.unwrap_err());
        assert!(error.starts_with("the API server cannot be reached: "), "{error}");
        assert!(error.contains("refused"), "{error}");
    }

    #[test]
    fn what_the_api_server_refuses_is_told_in_a_line() {
        let status = |code: u16, message: &str| {
            let mut status = kube::core::Status::failure(message, "Reason");
            status.code = code;
            explain(&kube::Error::Api(status.boxed()))
        };
        assert_eq!(
            status(401, "Unauthorized"),
            "the API server does not accept the credentials (401): they may have expired"
        );
        assert_eq!(
            status(403, "namespaces is forbidden"),
            "the API server refuses it (403): namespaces is forbidden"
        );
        assert_eq!(status(500, ""), "the API server answers 500: Reason");
    }
}
