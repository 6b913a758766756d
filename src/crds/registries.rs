//! `registries.waypost.dev`. What the API server can check is checked by it, so that whoever writes an object is told at once; it is
//! never more than [`Registry::check`](crate::registry::Registry::check) asks for.

use serde_json::{Value, json};

use super::{Check, Definition, check, structural::structural};
use crate::{
    policy::spec,
    registry::{MOST_TOKEN_HOSTS, RegistrySpec},
};

pub(super) fn registries() -> Value {
    let mut spec = structural(&spec::schema::<RegistrySpec>());
    bound(&mut spec);
    check(&mut spec, SPEC_CHECKS);
    for (key, checks) in KEY_CHECKS {
        check(&mut spec["properties"][key], checks);
    }
    check(&mut spec["properties"]["tokenHosts"]["items"], TOKEN_HOST_CHECKS);
    check(
        &mut spec["properties"]["repositories"]["properties"]["tags"],
        TAG_CHECKS,
    );
    for key in ["pullCredential", "pushCredential", "notificationToken"] {
        check(
            &mut spec["properties"][key]["properties"]["secretName"],
            SECRET_NAME_CHECKS,
        );
    }
    let condition = |kind: &str, what: &str| format!(".status.conditions[?(@.type==\"{kind}\")].{what}");
    Definition {
        kind: "Registry",
        singular: "registry",
        plural: "registries",
        description: "A registry that images are pulled from and pushed to. Its name is what rules, pushes and commands call it.",
        spec,
        status: json!({"token": token()}),
        columns: json!([
            {"name": "URL", "type": "string", "jsonPath": ".spec.url",
                "description": "What references to its images begin with, where that is said; nothing is Docker Hub, unless the location says otherwise."},
            {"name": "Location", "type": "string", "jsonPath": ".spec.location",
                "description": "How credentials for it are come by; nothing is off-cluster."},
            {"name": "Reachable", "type": "string", "jsonPath": condition("Reachable", "status"),
                "description": "Whether it answers."},
            {"name": "Authenticated", "type": "string", "jsonPath": condition("Authenticated", "status"),
                "description": "Whether it takes the pull credential, or needs none."},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
            {"name": "Endpoint", "type": "string", "priority": 1, "jsonPath": ".spec.endpoint",
                "description": "Where Waypost reaches it, where that is another address."},
            {"name": "Region", "type": "string", "priority": 1, "jsonPath": ".spec.region",
                "description": "The region of an ECR registry."},
            {"name": "Account", "type": "string", "priority": 1, "jsonPath": ".status.token.account",
                "description": "The account of an ECR registry, where ECR was asked for it."},
            {"name": "Token", "type": "string", "priority": 1, "jsonPath": condition("TokenIssued", "status"),
                "description": "Whether there is a token that works, where tokens are issued."},
            // Of the type date kubectl would show how long ago it was, and this is to come.
            {"name": "Token-Expires", "type": "string", "priority": 1, "jsonPath": ".status.token.expiresAt",
                "description": "Until when the token works that was issued last."},
            {"name": "Long-Lived", "type": "string", "priority": 1, "jsonPath": condition("LongLived", "status"),
                "description": "Whether namespaces get a password that does not expire."},
            {"name": "Pull-Can-Push", "type": "string", "priority": 1,
                "jsonPath": condition("PullCredentialCanPush", "status"),
                "description": "Whether the credential that reaches namespaces can push."},
            {"name": "Reachable-Message", "type": "string", "priority": 1, "jsonPath": condition("Reachable", "message"),
                "description": "Why it answers or not."},
            {"name": "Authenticated-Message", "type": "string", "priority": 1,
                "jsonPath": condition("Authenticated", "message"),
                "description": "Why it takes the pull credential or not."},
            {"name": "Token-Message", "type": "string", "priority": 1, "jsonPath": condition("TokenIssued", "message"),
                "description": "Why a token was issued or not."},
        ]),
        checks: NAME_CHECKS,
    }
    .object()
}

/// What is known of a token, but for the token.
fn token() -> Value {
    let time = |description: &str| json!({"type": "string", "format": "date-time", "description": description});
    let text = |description: &str| json!({"type": "string", "description": description});
    json!({
        "type": "object",
        "description": "Where tokens are issued: the one to pull with that was issued last. It is in the Secret of Waypost's namespace that \
                        is called as this, with `-token` behind it.",
        "required": ["issuedAt", "expiresAt", "place", "origin"],
        "properties": {
            "issuedAt": time("When it was issued."),
            "expiresAt": time("From then on it is refused."),
            "account": text("Whose registry it is for, where ECR was asked for that."),
            "place": text("Says which registry it is for. A token for another is as good as none."),
            "origin": text("Says by what it was asked for. One that was asked for otherwise is renewed at once."),
        },
    })
}

/// So much at most of each, or the API server would not take checks on them.
fn bound(spec: &mut Value) {
    let properties = &mut spec["properties"];
    for (path, bounds) in [
        (&["displayName"] as &[&str], json!({"maxLength": 128})),
        (&["url"], json!({"maxLength": 512})),
        (&["region"], json!({"maxLength": 32})),
        (&["registryId"], json!({"maxLength": 64})),
        (&["hostname"], json!({"maxLength": 255})),
        (&["pullRoleArn"], json!({"maxLength": 2048})),
        (&["pullRoleExternalId"], json!({"maxLength": 1224})),
        (&["pullServiceAccount"], json!({"maxLength": 254})),
        (&["repositories", "tags"], json!({"maxProperties": 50})),
        (&["endpoint"], json!({"maxLength": 512})),
        (&["caBundle"], json!({"maxLength": 262_144})),
        (&["tokenHosts"], json!({"maxItems": MOST_TOKEN_HOSTS})),
        (&["names", "to"], json!({"maxLength": 512})),
        (&["names", "from"], json!({"maxLength": 255})),
        (&["namespaces", "names"], json!({"minItems": 1, "maxItems": 500})),
        (&["pullCredential", "secretName"], json!({"maxLength": 253})),
        (&["pushCredential", "secretName"], json!({"maxLength": 253})),
        (&["notificationToken", "secretName"], json!({"maxLength": 253})),
    ] {
        let place = path.iter().enumerate().fold(&mut *properties, |place, (depth, key)| {
            if depth == 0 {
                &mut place[*key]
            } else {
                &mut place["properties"][*key]
            }
        });
        for (key, bound) in bounds.as_object().into_iter().flatten() {
            place[key] = bound.clone();
        }
    }
    properties["tokenHosts"]["items"]["maxLength"] = 261.into();
    properties["repositories"]["properties"]["tags"]["additionalProperties"]["maxLength"] = 256.into();
    let name = &mut properties["namespaces"]["properties"]["names"]["items"];
    name["maxLength"] = 63.into();
    name["pattern"] = "^[a-z0-9*-]+$".into();
}

/// Of the whole object.
const NAME_CHECKS: &[Check] = &[Check {
    rule: "size(self.metadata.name) <= 63 && !self.metadata.name.contains('.')",
    message: "the name of a registry has at most 63 characters, and no dots",
    at: "",
}];

/// Of `spec`. What is wrong with a key alone is said here where its value may be a secret: it is repeated there, and not here.
const SPEC_CHECKS: &[Check] = &[
    Check {
        rule: "!has(self.url) || !self.url.contains('@') && !self.url.contains('?') && !self.url.contains('#')",
        message: "an address has no username, password, digest or query in it: a password belongs into a Secret, which pullCredential \
                  names",
        at: ".url",
    },
    Check {
        rule: "!has(self.endpoint) || !self.endpoint.contains('@')",
        message: "an address has no username and no password in it: a password belongs into a Secret, which pullCredential names",
        at: ".endpoint",
    },
    Check {
        rule: "!has(self.caBundle) || self.caBundle.contains('-----BEGIN CERTIFICATE-----')",
        message: "a CA bundle is the text of a PEM file, with a line BEGIN CERTIFICATE in it",
        at: ".caBundle",
    },
    Check {
        rule: "!has(self.caBundle) || !self.caBundle.contains('PRIVATE KEY-----')",
        message: "there is a private key in the CA bundle: give the certificates alone, and keep the key",
        at: ".caBundle",
    },
    Check {
        rule: "!has(self.plainHttp) || !self.plainHttp || !(has(self.endpoint) && self.endpoint.contains('://') ? \
               self.endpoint.lowerAscii().startsWith('https://') : \
               has(self.url) && self.url.lowerAscii().startsWith('https://'))",
        message: "plain HTTP is asked for, and the address begins with https://: take one of the two out",
        at: ".plainHttp",
    },
    Check {
        rule: "!has(self.caBundle) || !(has(self.plainHttp) && self.plainHttp)",
        message: "a CA bundle is given for a registry that is reached without TLS: take one of the two out",
        at: ".caBundle",
    },
    Check {
        rule: "!has(self.tokenHosts) || self.tokenHosts.all(host, !host.contains('@'))",
        message: "a host has no username and no password before it: a password belongs into a Secret, which pullCredential names",
        at: ".tokenHosts",
    },
    Check {
        rule: "!has(self.hostname) || !self.hostname.contains('@')",
        message: "a host has no username and no password before it: a key belongs into a Secret, which pullCredential names",
        at: ".hostname",
    },
    Check {
        rule: "!has(self.region) || has(self.location) && self.location == 'ecr'",
        message: "the region is for the location ecr: say so in `location`, or take it out",
        at: ".region",
    },
    Check {
        rule: "!has(self.registryId) || has(self.location) && self.location == 'ecr'",
        message: "the id of an ECR registry is for the location ecr: say so in `location`, or take it out",
        at: ".registryId",
    },
    Check {
        rule: "!has(self.hostname) || has(self.location) && self.location in ['ecr', 'gcr']",
        message: "the hostname is for the locations ecr and gcr; where nobody issues tokens it is `url` that says the host",
        at: ".hostname",
    },
    Check {
        rule: "!has(self.pullRoleArn) || has(self.location) && self.location == 'ecr'",
        message: "a role is for the location ecr: say so in `location`, or take it out",
        at: ".pullRoleArn",
    },
    Check {
        rule: "!has(self.pullRoleExternalId) || has(self.pullRoleArn)",
        message: "there is no role that this external id could be of: say which one in `pullRoleArn`",
        at: ".pullRoleExternalId",
    },
    Check {
        rule: "!has(self.pullRoleExternalId) || self.pullRoleExternalId.matches('^[A-Za-z0-9_+=,.@:/-][A-Za-z0-9_+=,.@:/-]+$')",
        message: "an external id has 2 to 1224 letters, digits and any of _+=,.@:/-",
        at: ".pullRoleExternalId",
    },
    Check {
        rule: "!has(self.pullServiceAccount) || has(self.location) && self.location == 'gcr'",
        message: "a service account is for the location gcr: say so in `location`, or take it out",
        at: ".pullServiceAccount",
    },
    Check {
        rule: "!has(self.repositories) || has(self.location) && self.location == 'ecr'",
        message: "only ECR has repositories made before they are pushed to: take it out, or say ecr in `location`",
        at: ".repositories",
    },
    Check {
        rule: "!(has(self.location) && self.location == 'ecr') || has(self.region) || has(self.url) || has(self.hostname)",
        message: "ECR is one in each region: say which, as AWS writes it: eu-central-1",
        at: ".region",
    },
    Check {
        rule: "!(has(self.location) && self.location == 'ecr' && has(self.url)) || has(self.hostname) || \
               self.url.contains('@') || \
               self.url.lowerAscii().matches('^(https?://)?[0-9]{12}[.]dkr[.-]ecr(-fips)?[.][a-z0-9-]+[.][a-z0-9.-]+(/.*)?$')",
        message: "this is no host of ECR's: they look like 123456789012.dkr.ecr.eu-central-1.amazonaws.com; where a name of your own or a \
                  proxy stands for one, say so by `hostname`",
        at: ".url",
    },
    Check {
        rule: "!(has(self.location) && self.location == 'ecr' && has(self.url) && has(self.region)) || has(self.hostname) || \
               self.url.lowerAscii().contains('.' + self.region + '.')",
        message: "`url` is of another region: take one of the two out",
        at: ".region",
    },
    Check {
        rule: "!(has(self.location) && self.location == 'ecr' && has(self.url) && has(self.registryId)) || has(self.hostname) || \
               self.url.contains(self.registryId + '.')",
        message: "`url` is of another account: take one of the two out",
        at: ".registryId",
    },
    Check {
        rule: "!(has(self.location) && self.location == 'gcr' && has(self.url)) || has(self.hostname) || \
               self.url.contains('@') || \
               self.url.lowerAscii().matches('^(https?://)?(([a-z0-9-]+[.])?gcr[.]io|([a-z0-9-]+-)?docker[.]pkg[.]dev)(/.*)?$')",
        message: "this is no registry of Google's: those are gcr.io, us.gcr.io, eu.gcr.io, asia.gcr.io and LOCATION-docker.pkg.dev; where a \
                  name of your own or a proxy stands for one, say so by `hostname`",
        at: ".url",
    },
];

/// Of what is below `spec`.
const KEY_CHECKS: [(&str, &[Check]); 8] = [
    (
        "region",
        &[Check {
            rule: "self.matches('^[a-z]+(-[a-z]+)+-[0-9]+$')",
            message: "no region of AWS is called so: they look like eu-central-1",
            at: "",
        }],
    ),
    (
        "registryId",
        &[Check {
            rule: "self.matches('^[0-9]{12}$')",
            message: "the id of an ECR registry is an account's twelve digits; left out it is the account's own",
            at: "",
        }],
    ),
    (
        "hostname",
        &[Check {
            rule: "self.contains('@') || self.matches('^[][A-Za-z0-9._:-]+$') && \
                       (self.contains('.') || self.contains(':') || self.lowerAscii() == 'localhost')",
            message: "it is the host that references begin with: registry.example.com; what is below it goes into `url`",
            at: "",
        }],
    ),
    (
        "pullRoleArn",
        &[Check {
            rule: "self.matches('^arn:aws[^:]*:iam::[0-9]{12}:role/[A-Za-z0-9/_+=,.@-]+$')",
            message: "this is no ARN of a role: they look like arn:aws:iam::123456789012:role/waypost-pull",
            at: "",
        }],
    ),
    (
        "pullServiceAccount",
        &[Check {
            rule: "self.matches('^[A-Za-z0-9._-]+@[A-Za-z0-9._-]+$')",
            message: "a service account is an e-mail address: NAME@PROJECT.iam.gserviceaccount.com",
            at: "",
        }],
    ),
    (
        "url",
        &[Check {
            rule: "self.contains('@') || self.matches('^((?i:https?)://)?([!-.0-~]*[.:][!-.0-~]*|localhost)(/[!-~]*)?$') && \
                       (!self.contains('://') || self.matches('^(?i:https?)://'))",
            message: "a registry's address is a host with a dot or a port, and maybe the organization behind it: \
                          registry.example.com/team; without `url` it is Docker Hub",
            at: "",
        }],
    ),
    (
        "endpoint",
        &[Check {
            rule: "self.contains('@') || !self.contains('#') && self.matches('^((?i:https?)://)?[!-.0->A-~]+/*$')",
            message: "an endpoint is a scheme, a host and a port, without a path: http://registry.default.svc:5000",
            at: "",
        }],
    ),
    (
        "names",
        &[
            Check {
                rule: "self.to.contains('{repository}') || self.to.contains('{namespace}') && self.to.contains('{name}')",
                message: "without {repository}, or {namespace} and {name}, two images could have one name",
                at: ".to",
            },
            Check {
                rule: "self.to.contains('{registry}') || has(self.from)",
                message: "without {registry} in `to`, two images could have one name: have it in there, or say in `from` which one it \
                          is: docker.io",
                at: ".to",
            },
            Check {
                rule: "!self.to.contains('{registry}') || !has(self.from)",
                message: "{registry} in `to` says which registry an image is of, and so does `from`: take one of the two out",
                at: ".from",
            },
        ],
    ),
];

/// Of each host that issues tokens.
const TOKEN_HOST_CHECKS: &[Check] = &[Check {
    rule: "self.contains('@') || self.matches('^([A-Za-z0-9.-]+|[[][0-9A-Fa-f:]+[]])(:[0-9]+)?$')",
    message: "a host is meant, with its port if only that one is, without https:// and a path: gitlab.example.com",
    at: "",
}];

/// Of the tags of repositories.
const TAG_CHECKS: &[Check] = &[Check {
    rule: "self.all(key, key != '' && size(key) <= 128 && !key.startsWith('aws:'))",
    message: "the key of a tag has 1 to 128 characters, and AWS keeps those that begin with aws: for itself",
    at: "",
}];

/// As the API server names Secrets.
const SECRET_NAME_CHECKS: &[Check] = &[Check {
    rule: "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
    message: "no Secret can have this name: it has lower-case letters, digits, - and .",
    at: "",
}];
