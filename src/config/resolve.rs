//! What was written into what is meant: addresses, times, paths, names.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;

use super::layers::{Flags, Layers};
use super::raw::{self, Raw};
use super::{
    Certificates, Cluster, Config, Controller, Google, Issuers, Listener, Log, OptOut, Policies, Preset, Pull, Pushes,
    Registries, RestApi, Server, Store, Tls, Webhook,
};
use crate::document::{Diagnostic, Path, Problem};
use crate::reference;

pub(super) fn resolve(mut layers: Layers, flags: &Flags) -> Result<Config, Vec<Diagnostic>> {
    let Some(raw) = layers.raw() else {
        return Err(layers.problems);
    };
    let file = layers.file_name().map(PathBuf::from);
    let mut resolver = Resolver { layers };
    let config = resolver.config(raw, file, flags);
    match config {
        Some(config) if resolver.layers.problems.is_empty() => Ok(config),
        _ => Err(resolver.layers.problems),
    }
}

struct Resolver {
    layers: Layers,
}

impl Resolver {
    /// Looks at every value before it gives up on one.
    fn config(&mut self, raw: Raw, file: Option<PathBuf>, flags: &Flags) -> Option<Config> {
        let Raw {
            server: raw::Server { webhook, admin, api },
            tls,
            policies,
            pushes,
            store,
            registries,
            issuers,
            pull,
            opt_out,
            cluster,
            controller,
            certificates,
            log,
        } = raw;
        let listeners = [
            (
                key("server.webhook.listen"),
                self.address("server.webhook.listen", &webhook.listen),
            ),
            (
                key("server.admin.listen"),
                self.address("server.admin.listen", &admin.listen),
            ),
            (key("server.api.listen"), self.address("server.api.listen", &api.listen)),
        ];
        self.apart(&listeners);
        let [(_, webhook_listen), (_, admin_listen), (_, api_listen)] = listeners;
        let client_ca = webhook
            .client_ca
            .map(|path| self.path("server.webhook.client_ca", path));
        let drain = self.duration("server.webhook.drain", &webhook.drain);
        let tls_dir = self.path("tls.dir", tls.dir);
        let policies_dir = self.path("policies.dir", policies.dir);
        let presets = self.presets(policies.presets, flags);
        let verify = self.duration("pushes.verify", &pushes.verify);
        let verify = match verify {
            Some(verify) if verify.is_zero() => Some(verify),
            Some(_) => self.at_least("pushes.verify", &pushes.verify, SHORTEST_PAUSE),
            None => None,
        };
        let store_path = self.path("store.path", store.path);
        let registries_dir = registries.dir.map(|path| self.path("registries.dir", path));
        let probe = self.duration("registries.probe", &registries.probe);
        let probe = match probe {
            Some(probe) if probe.is_zero() => Some(probe),
            Some(_) => self.at_least("registries.probe", &registries.probe, SHORTEST_PAUSE),
            None => None,
        };
        let issuers = self.issuers(issuers);
        if let Some(name) = &api.secret {
            self.object_name(key("server.api.secret"), "a Secret", name);
        }
        let kubeconfig = cluster.kubeconfig.map(|path| self.path("cluster.kubeconfig", path));
        self.object_name(key("pull.secret"), "a Secret", &pull.secret);
        for (index, name) in pull.secrets.iter().enumerate() {
            self.object_name(key("pull.secrets").index(index), "a Secret", name);
        }
        if let Some(namespace) = &cluster.namespace {
            self.label(key("cluster.namespace"), "a namespace", namespace);
        }
        if let Some(name) = &cluster.webhook_configuration {
            self.object_name(
                key("cluster.webhook_configuration"),
                "a MutatingWebhookConfiguration",
                name,
            );
        }
        self.object_name(key("controller.name"), "a Lease", &controller.name);
        let lease = self.at_least("controller.lease", &controller.lease, SHORTEST_LEASE);
        let certificates = self.certificates(certificates);
        Some(Config {
            file,
            server: Server {
                webhook: Webhook {
                    listen: webhook_listen?,
                    client_ca: client_ca.flatten(),
                    drain: drain?,
                },
                admin: Listener { listen: admin_listen? },
                api: RestApi {
                    listen: api_listen?,
                    secret: api.secret,
                },
            },
            tls: Tls { dir: tls_dir? },
            policies: Policies {
                dir: policies_dir?,
                presets,
            },
            pushes: Pushes {
                route: pushes.route,
                pin: pushes.pin,
                verify: verify?,
                copies: pushes.copies.into(),
            },
            store: Store {
                kind: store.kind,
                path: store_path?,
            },
            registries: Registries {
                dir: registries_dir.flatten(),
                probe: probe?,
            },
            issuers,
            pull: Pull {
                policy: pull.policy,
                secret: pull.secret,
                secrets: pull.secrets,
                inject: pull.inject,
            },
            opt_out: OptOut {
                allowed: opt_out.allowed,
            },
            cluster: Cluster {
                kubeconfig: kubeconfig.flatten(),
                namespace: cluster.namespace,
                webhook_configuration: cluster.webhook_configuration,
            },
            controller: Controller {
                name: controller.name,
                lease: lease?,
            },
            certificates: certificates?,
            log: Log {
                level: log.level,
                format: log.format,
            },
        })
    }

    fn address(&mut self, name: &str, text: &str) -> Option<SocketAddr> {
        if let Ok(address) = text.parse() {
            return Some(address);
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let is_port = port.parse::<u16>().is_ok();
        let hint = match host {
            "" | "*" if is_port => {
                format!("write `0.0.0.0:{port}` for all addresses, or `127.0.0.1:{port}` for this machine only")
            }
            "localhost" if is_port => format!("write `127.0.0.1:{port}`"),
            _ if text.parse::<IpAddr>().is_ok() => "add the port, such as `127.0.0.1:8443` or `[::1]:8443`".to_owned(),
            _ if host.parse::<IpAddr>().is_ok() => "a port is a number from 0 to 65535".to_owned(),
            _ => "write an IP address and a port, such as `127.0.0.1:8443`; names are not looked up".to_owned(),
        };
        self.bad(key(name), &format!("`{text}` is no address to listen on"), &hint);
        None
    }

    /// Two servers cannot have one address. Port 0 is any free port.
    fn apart(&mut self, listeners: &[(Path, Option<SocketAddr>)]) {
        for (at, (path, address)) in listeners.iter().enumerate() {
            let Some(address) = address.filter(|address| address.port() != 0) else {
                continue;
            };
            let taken = |other: &SocketAddr| {
                other.port() == address.port()
                    && (other.ip() == address.ip() || other.ip().is_unspecified() || address.ip().is_unspecified())
            };
            let other = listeners[..at]
                .iter()
                .find(|(_, other)| other.as_ref().is_some_and(taken));
            if let Some((other, _)) = other {
                let message = format!("`{address}` is taken by `{other}`");
                self.bad(path.clone(), &message, "give each server a port of its own");
            }
        }
    }

    fn duration(&mut self, name: &str, text: &str) -> Option<Duration> {
        let bare = text.parse::<f64>().is_ok();
        let parsed = text.parse::<jiff::SignedDuration>();
        match parsed.map(Duration::try_from) {
            Ok(Ok(duration)) if !bare => return Some(duration),
            Ok(Err(_)) => {
                self.bad(
                    key(name),
                    &format!("`{text}` is less than nothing"),
                    "write it like `15s`",
                );
            }
            _ if bare => {
                let hint = format!("add the unit: `{text}s` for seconds, `{text}m` for minutes");
                self.bad(key(name), &format!("`{text}` has no unit"), &hint);
            }
            _ => {
                let hint = "write numbers with units, such as `15s`, `10m` or `1h 30m`";
                self.bad(key(name), &format!("`{text}` is no length of time"), hint);
            }
        }
        None
    }

    /// A length of time that is long enough to do something in.
    fn at_least(&mut self, name: &str, text: &str, least: Duration) -> Option<Duration> {
        let duration = self.duration(name, text)?;
        if duration < least {
            let hint = format!("write `{}s` or more", least.as_secs());
            self.bad(key(name), &format!("`{text}` is too short"), &hint);
            return None;
        }
        Some(duration)
    }

    fn certificates(&mut self, written: raw::Certificates) -> Option<Certificates> {
        let raw::Certificates {
            secret,
            service,
            api_service,
            webhook_configuration,
            leaf_lifetime,
            ca_lifetime,
        } = written;
        let leaf = self.at_least("certificates.leaf_lifetime", &leaf_lifetime, SHORTEST_LEAF);
        let ca = self.at_least("certificates.ca_lifetime", &ca_lifetime, SHORTEST_LEAF);
        if let (Some(leaf), Some(ca)) = (leaf, ca)
            && ca < leaf
        {
            self.bad(
                key("certificates.ca_lifetime"),
                "an authority that ends before the certificates that it issues",
                "give it several times the length of `certificates.leaf_lifetime`",
            );
        }
        if let Some(name) = &secret {
            self.object_name(key("certificates.secret"), "a Secret", name);
        }
        for (path, name) in [
            ("certificates.service", &service),
            ("certificates.api_service", &api_service),
        ] {
            if let Some(name) = name {
                self.label(key(path), "a Service", name);
            }
        }
        if let Some(name) = &webhook_configuration {
            self.object_name(
                key("certificates.webhook_configuration"),
                "a MutatingWebhookConfiguration",
                name,
            );
        }
        Some(Certificates {
            secret,
            service,
            api_service,
            webhook_configuration,
            leaf_lifetime: leaf?,
            ca_lifetime: ca?,
        })
    }

    fn issuers(&mut self, written: raw::Issuers) -> Issuers {
        let raw::Issuers {
            ambient_hosts,
            google: raw::Google {
                iam_credentials,
                trusted,
            },
        } = written;
        let mut hosts = Vec::new();
        for (index, host) in ambient_hosts.into_iter().enumerate() {
            let host = host.to_ascii_lowercase();
            if reference::valid_registry(&host).is_err() {
                let message = format!("`{}` is no host", host.escape_debug());
                let hint = "write a host, with a port if only that one is meant: registry.example.com";
                self.bad(key("issuers.ambient_hosts").index(index), &message, hint);
            }
            hosts.push(host);
        }
        if let Some(origin) = &iam_credentials {
            self.origin(key("issuers.google.iam_credentials"), origin);
        }
        for (index, origin) in trusted.iter().enumerate() {
            self.origin(key("issuers.google.trusted").index(index), origin);
        }
        Issuers {
            ambient_hosts: hosts,
            google: Google {
                iam_credentials,
                trusted,
            },
        }
    }

    /// Scheme, host and port of a URL.
    fn origin(&mut self, path: Path, text: &str) {
        let is_one = text.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
                && uri
                    .authority()
                    .is_some_and(|authority| !authority.as_str().contains('@'))
                && uri.path_and_query().is_none_or(|rest| rest.as_str() == "/")
        });
        if !is_one {
            let message = format!("`{}` says not where somebody is", text.escape_debug());
            let hint = "write scheme and host, and the port if need be: https://oauth2.example.com";
            self.bad(path, &message, hint);
        }
    }

    fn path(&mut self, name: &str, text: String) -> Option<PathBuf> {
        if text.is_empty() {
            self.bad(key(name), "an empty path", "leave the key out for its default");
            return None;
        }
        Some(PathBuf::from(text))
    }

    fn presets(&mut self, written: Vec<raw::Preset>, flags: &Flags) -> Vec<Preset> {
        let mut presets: Vec<Preset> = Vec::new();
        for (index, preset) in written.into_iter().enumerate() {
            let preset = match preset {
                raw::Preset::Name(name) => Preset {
                    name,
                    values: BTreeMap::new(),
                },
                raw::Preset::With(raw::PresetValues { name, values }) => Preset { name, values },
            };
            let path = key("policies.presets").index(index);
            if preset.name.is_empty() {
                self.bad(
                    path,
                    "a preset without a name",
                    "remove it, or write the name of a preset",
                );
            } else if presets.iter().any(|other| other.name == preset.name) {
                let message = format!("the preset `{}` is in the list twice", preset.name);
                self.bad(path, &message, "keep one of the two");
            } else {
                presets.push(preset);
            }
        }
        for added in &flags.presets {
            match presets.iter_mut().find(|preset| preset.name == added.name) {
                Some(preset) => preset.values.extend(added.values.clone()),
                None => presets.push(added.clone()),
            }
        }
        presets
    }

    /// The name of a Secret is a DNS subdomain (RFC 1123), as for most objects of Kubernetes.
    fn object_name(&mut self, path: Path, kind: &str, name: &str) {
        if name.len() > 253 || !name.split('.').all(is_label) {
            let hint = format!("the name of {kind} has lower-case letters, digits, `-` and `.`, at most 253 of them");
            self.bad(path, &format!("`{name}` cannot be the name of {kind}"), &hint);
        }
    }

    /// That of a namespace or a Service is a part of names in the DNS.
    fn label(&mut self, path: Path, kind: &str, name: &str) {
        if name.len() > 63 || !is_label(name) {
            let hint = format!("the name of {kind} has lower-case letters, digits and `-`, at most 63 of them");
            self.bad(path, &format!("`{name}` cannot be the name of {kind}"), &hint);
        }
    }

    fn bad(&mut self, path: Path, message: &str, hint: &str) {
        self.layers
            .report(Problem::error("invalid-value", path, message).hint(hint));
    }
}

fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.bytes().all(inner)
}

fn key(name: &str) -> Path {
    name.split('.').fold(Path::root(), |path, key| path.key(key))
}

/// Within less, an API server that is slow for a moment would cost a controller its Lease. Leases count in whole seconds.
const SHORTEST_LEASE: Duration = Duration::from_secs(3);

/// Between two questions: a registry is somebody else's machine.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// The kubelet takes up to a minute and a half to bring a renewed certificate to the replicas; less is for tests.
const SHORTEST_LEAF: Duration = Duration::from_secs(10);
