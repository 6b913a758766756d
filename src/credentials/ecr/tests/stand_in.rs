//! What AWS does, as far as it is asked here: ECR, STS, a machine's and a container's metadata, on one port. It knows keys, checks
//! signatures and rights, and remembers what a token was issued with.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::BodyExt;
use jiff::{Timestamp, ToSpan, fmt::strtime, tz::TimeZone};
use serde_json::{Value, json};
use waypost_issuers::signature::Signed;

use crate::oci::testing::Served;

pub(super) const REGION: &str = "eu-central-1";
pub(super) const ACCOUNT: &str = "123456789012";

/// In everything that nobody may see.
pub(super) const SECRET: &str = "keptquiet";

pub(super) struct Aws {
    pub(super) served: Served,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
pub(super) struct Inner {
    keys: HashMap<String, Principal>,
    roles: BTreeMap<String, Role>,
    /// By the password of a token: who asked for it.
    tokens: HashMap<String, Principal>,
    repositories: BTreeMap<String, Value>,
    /// Operations, and who asked for them.
    calls: Vec<(String, String)>,
    /// What the next answers are in place of the true ones.
    pub(super) instead: VecDeque<Instead>,
    /// By how many seconds its clock is ahead of this machine's, and whether its answers say so.
    pub(super) ahead: i64,
    pub(super) tells_time: bool,
    /// What it takes as region, where it is of another than is asked.
    pub(super) region: Option<&'static str>,
    /// What the container's metadata wants to be shown.
    pub(super) container_token: String,
    /// How long sessions last.
    pub(super) session: Option<i64>,
    issued: usize,
}

#[derive(Clone, Default)]
struct Principal {
    arn: String,
    secret: String,
    session: Option<String>,
    allowed: BTreeSet<&'static str>,
    /// What a session's own policy leaves of that.
    policy: Option<Value>,
    revoked: bool,
}

struct Role {
    allowed: BTreeSet<&'static str>,
    external_id: Option<String>,
    web_token: Option<String>,
}

pub(super) enum Instead {
    Json(u16, Value),
    Text(u16, &'static str),
    Xml(u16, String),
    Never,
    Endless,
}

struct Refusal(StatusCode, &'static str, String);

pub(super) const PULL: [&str; 4] = [
    "ecr:GetAuthorizationToken",
    "ecr:BatchCheckLayerAvailability",
    "ecr:GetDownloadUrlForLayer",
    "ecr:BatchGetImage",
];

pub(super) const PUSH: [&str; 3] = ["ecr:PutImage", "ecr:CreateRepository", "ecr:TagResource"];

impl Aws {
    pub(super) async fn start() -> Self {
        let inner = Arc::<Mutex<Inner>>::default();
        let served = Served::plain(router(inner.clone())).await;
        Self { served, inner }
    }

    pub(super) async fn tls(pair: &crate::tls::testing::Pair) -> Self {
        let inner = Arc::<Mutex<Inner>>::default();
        let served = Served::tls(router(inner.clone()), pair).await;
        Self { served, inner }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.served.address)
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// A user with a key, who may pull, push and these.
    pub(super) fn user(&self, name: &str, more: &[&'static str]) {
        let principal = Principal {
            arn: format!("arn:aws:iam::{ACCOUNT}:user/{name}"),
            secret: secret_of(name),
            allowed: PULL.iter().chain(&PUSH).chain(more).copied().collect(),
            ..Principal::default()
        };
        self.inner().keys.insert(key_of(name), principal);
    }

    pub(super) fn deny(&self, name: &str, right: &str) {
        self.inner().keys.get_mut(&key_of(name)).unwrap().allowed.remove(right);
    }

    pub(super) fn revoke(&self, name: &str) {
        self.inner().keys.get_mut(&key_of(name)).unwrap().revoked = true;
    }

    /// A role that may pull and push.
    pub(super) fn role(&self, name: &str, external_id: Option<&str>, web_token: Option<&str>) -> String {
        let arn = format!("arn:aws:iam::{ACCOUNT}:role/{name}");
        let role = Role {
            allowed: PULL.iter().chain(&PUSH).chain(&["sts:AssumeRole"]).copied().collect(),
            external_id: external_id.map(str::to_owned),
            web_token: web_token.map(str::to_owned),
        };
        self.inner().roles.insert(arn.clone(), role);
        arn
    }

    /// Whether the registry would let the holder of this token do that with the repository of an account.
    pub(super) fn may(&self, token: &str, right: &str, account: &str) -> bool {
        let inner = self.inner();
        inner.tokens[token].may(right, &format!("arn:aws:ecr:{REGION}:{account}:repository/team/app"))
    }

    /// What was asked since, as `operation by whom`.
    pub(super) fn calls(&self) -> Vec<String> {
        let calls = std::mem::take(&mut self.inner().calls);
        calls
            .into_iter()
            .map(|(what, who)| format!("{what} by {who}"))
            .collect()
    }

    pub(super) fn repository(&self, name: &str) -> Option<Value> {
        self.inner().repositories.get(name).cloned()
    }

    /// The answers of the next calls.
    pub(super) fn instead(&self, answers: impl IntoIterator<Item = Instead>) {
        self.inner().instead = answers.into_iter().collect();
    }
}

pub(super) fn key_of(name: &str) -> String {
    format!("AKIA{}", name.to_uppercase())
}

pub(super) fn secret_of(name: &str) -> String {
    format!("{SECRET}/{name}+secret=")
}

impl Principal {
    fn may(&self, right: &str, resource: &str) -> bool {
        self.allowed.contains(right)
            && self
                .policy
                .as_ref()
                .is_none_or(|policy| allows(policy, right, resource))
    }

    fn name(&self) -> &str {
        self.arn.split_once("::").map_or("nobody", |(_, rest)| &rest[13..])
    }
}

fn allows(policy: &Value, right: &str, resource: &str) -> bool {
    let statements = policy["Statement"].as_array().unwrap();
    statements.iter().any(|statement| {
        assert_eq!(statement["Effect"], "Allow");
        let named = match &statement["Action"] {
            Value::String(action) => action == right,
            actions => actions.as_array().unwrap().contains(&right.into()),
        };
        let over = statement["Resource"].as_str().unwrap();
        let covered = over
            .strip_suffix('*')
            .map_or(over == resource, |prefix| resource.starts_with(prefix));
        named && covered
    })
}

fn router(inner: Arc<Mutex<Inner>>) -> Router {
    Router::new().fallback(answer).with_state(inner)
}

async fn answer(State(inner): State<Arc<Mutex<Inner>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let instead = inner.lock().unwrap().instead.pop_front();
    let mut response = match instead {
        None => inner.lock().unwrap().answer(&parts, &body),
        Some(Instead::Json(status, json)) => (of(status), json.to_string()).into_response(),
        Some(Instead::Text(status, text)) => (of(status), text).into_response(),
        Some(Instead::Xml(status, text)) => (of(status), text).into_response(),
        Some(Instead::Never) => std::future::pending().await,
        Some(Instead::Endless) => {
            let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 65_536]));
            Body::from_stream(endless).into_response()
        }
    };
    let inner = inner.lock().unwrap();
    if inner.tells_time {
        let date = inner.now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        response.headers_mut().insert("date", date.parse().unwrap());
    }
    response
}

fn of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap()
}

impl Inner {
    fn now(&self) -> Timestamp {
        Timestamp::now() + self.ahead.seconds()
    }

    fn answer(&mut self, parts: &Parts, body: &[u8]) -> Response {
        let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap());
        match (parts.method.as_str(), parts.uri.path()) {
            ("PUT", "/latest/api/token") => {
                assert!(header("x-aws-ec2-metadata-token-ttl-seconds").is_some());
                let lasts = [("x-aws-ec2-metadata-token-ttl-seconds", "21600")];
                return (lasts, format!("{SECRET}-imds")).into_response();
            }
            ("GET", path) if path.starts_with("/latest/meta-data/iam/security-credentials") => {
                if header("x-aws-ec2-metadata-token") != Some(&format!("{SECRET}-imds")) {
                    return StatusCode::UNAUTHORIZED.into_response();
                }
                if path.ends_with('/') {
                    return "node".into_response();
                }
                let (id, session) = self.session("assumed-role/node/i-1", node_rights(), None);
                let mut credentials = self.metadata(&id, &session);
                credentials["Code"] = "Success".into();
                credentials["Type"] = "AWS-HMAC".into();
                credentials["LastUpdated"] = self.now().to_string().into();
                return credentials.to_string().into_response();
            }
            ("GET", "/v1/credentials") => {
                if header("authorization") != Some(&self.container_token) {
                    return StatusCode::UNAUTHORIZED.into_response();
                }
                let (id, session) = self.session("assumed-role/pod/eks", node_rights(), None);
                return self.metadata(&id, &session).to_string().into_response();
            }
            _ => {}
        }
        if let Some(target) = header("x-amz-target") {
            assert_eq!(header("content-type"), Some("application/x-amz-json-1.1"));
            let action = target.strip_prefix("AmazonEC2ContainerRegistry_V20150921.").unwrap();
            return match self.ecr(action, parts, body) {
                Ok(json) => ([("content-type", "application/x-amz-json-1.1")], json.to_string()).into_response(),
                Err(Refusal(status, code, message)) => {
                    (status, json!({"__type": code, "message": message}).to_string()).into_response()
                }
            };
        }
        let form = form(body);
        match self.sts(&form, parts, body) {
            Ok(xml) => xml.into_response(),
            Err(Refusal(status, code, message)) => (status, refusal(code, &message)).into_response(),
        }
    }

    fn ecr(&mut self, action: &str, parts: &Parts, body: &[u8]) -> Result<Value, Refusal> {
        let who = self.signed(parts, body, "ecr")?;
        let body: Value = serde_json::from_slice(body).unwrap();
        self.calls.push((action.to_owned(), who.name().to_owned()));
        let right = format!("ecr:{action}");
        let bad = StatusCode::BAD_REQUEST;
        let name = body["repositoryName"].as_str().unwrap_or_default();
        let resource = format!("arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{name}");
        for right in [Some(&*right), body["tags"].get(0).map(|_| "ecr:TagResource")]
            .into_iter()
            .flatten()
        {
            if !who.may(right, &resource) {
                let message = format!(
                    "User: {} is not authorized to perform: {right} on resource: {resource} because no identity-based policy allows \
                     the {right} action",
                    who.arn
                );
                return Err(Refusal(bad, "AccessDeniedException", message));
            }
        }
        match action {
            "GetAuthorizationToken" => {
                assert_eq!(body, json!({}));
                self.issued += 1;
                let token = format!("{SECRET}-registry-token-{}", self.issued);
                self.tokens.insert(token.clone(), who);
                let expires = self.now() + 12.hours();
                Ok(json!({"authorizationData": [{
                    "authorizationToken": STANDARD.encode(format!("AWS:{token}")),
                    "expiresAt": expires.as_second() as f64 + 0.25,
                    "proxyEndpoint": format!("https://{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"),
                }]}))
            }
            "CreateRepository" => {
                if self.repositories.contains_key(name) {
                    let message = format!("The repository with name '{name}' already exists");
                    return Err(Refusal(bad, "RepositoryAlreadyExistsException", message));
                }
                self.repositories.insert(name.to_owned(), body.clone());
                Ok(json!({"repository": {"repositoryName": name}}))
            }
            other => panic!("nobody asks for {other}"),
        }
    }

    fn sts(&mut self, form: &BTreeMap<String, String>, parts: &Parts, body: &[u8]) -> Result<String, Refusal> {
        let given = |name: &str| form.get(name).map(String::as_str);
        let action = given("Action").unwrap();
        let policy = given("Policy").map(|policy| serde_json::from_str(policy).unwrap());
        let denied = |who: &str| {
            let message = format!("User: {who} is not authorized to perform: sts:{action}");
            Refusal(StatusCode::FORBIDDEN, "AccessDenied", message)
        };
        if action == "AssumeRoleWithWebIdentity" {
            assert!(!parts.headers.contains_key("authorization"), "this call is not signed");
            self.calls.push((action.to_owned(), "nobody".to_owned()));
            let role = self.roles.get(given("RoleArn").unwrap());
            let role = role
                .filter(|role| role.web_token.is_some())
                .ok_or_else(|| denied("nobody"))?;
            if role.web_token.as_deref() != given("WebIdentityToken") {
                let message = format!(
                    "The token {} is not of any provider",
                    given("WebIdentityToken").unwrap()
                );
                return Err(Refusal(StatusCode::BAD_REQUEST, "InvalidIdentityToken", message));
            }
            let allowed = role.allowed.clone();
            return Ok(self.session_xml(action, "assumed-role/web/", &allowed, form, policy));
        }
        let who = self.signed(parts, body, "sts")?;
        self.calls.push((action.to_owned(), who.name().to_owned()));
        if !who.may(&format!("sts:{action}"), "") {
            return Err(denied(&who.arn));
        }
        match action {
            "GetFederationToken" => {
                if who.session.is_some() {
                    return Err(denied(&who.arn));
                }
                // A federated session may do nothing without a policy.
                assert!(policy.is_some());
                Ok(self.session_xml(action, "federated-user/", &who.allowed, form, policy))
            }
            "AssumeRole" => {
                let role = self
                    .roles
                    .get(given("RoleArn").unwrap())
                    .ok_or_else(|| denied(&who.arn))?;
                if role.external_id.as_deref() != given("ExternalId") {
                    return Err(denied(&who.arn));
                }
                let allowed = role.allowed.clone();
                Ok(self.session_xml(action, "assumed-role/role/", &allowed, form, policy))
            }
            other => panic!("nobody asks for {other}"),
        }
    }

    fn session_xml(
        &mut self,
        action: &str,
        kind: &str,
        allowed: &BTreeSet<&'static str>,
        form: &BTreeMap<String, String>,
        policy: Option<Value>,
    ) -> String {
        let name = form.get("RoleSessionName").or(form.get("Name")).unwrap();
        // Whom the SDK names by the time of the day.
        let name = if name.starts_with("waypost") { name } else { "session" };
        let (id, session) = self.session(&format!("{kind}{name}"), allowed.clone(), policy);
        let secret = &self.keys[&id].secret;
        let ends = self.session_ends();
        format!(
            "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
             <AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{session}</SessionToken>\
             <Expiration>{ends}</Expiration></Credentials></{action}Result></{action}Response>"
        )
    }

    /// A session, by the id of its key and its token.
    fn session(&mut self, who: &str, allowed: BTreeSet<&'static str>, policy: Option<Value>) -> (String, String) {
        self.issued += 1;
        let id = format!("ASIA{}", self.issued);
        let session = format!("{SECRET}-session-{}/+=", self.issued);
        let principal = Principal {
            arn: format!("arn:aws:sts::{ACCOUNT}:{who}"),
            secret: format!("{SECRET}-secret-{}", self.issued),
            session: Some(session.clone()),
            allowed,
            policy,
            revoked: false,
        };
        self.keys.insert(id.clone(), principal);
        (id, session)
    }

    fn session_ends(&self) -> Timestamp {
        let ends = self.now() + self.session.unwrap_or(3600).seconds();
        Timestamp::from_second(ends.as_second()).unwrap()
    }

    fn metadata(&self, id: &str, session: &str) -> Value {
        let ends = self.session_ends();
        json!({"AccessKeyId": id, "SecretAccessKey": self.keys[id].secret, "Token": session, "Expiration": ends.to_string()})
    }

    /// Who signed it.
    fn signed(&self, parts: &Parts, body: &[u8], service: &str) -> Result<Principal, Refusal> {
        let ecr = service == "ecr";
        let (bad, forbidden) = (StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN);
        let (unknown, mismatch) = if ecr {
            ((bad, "UnrecognizedClientException"), (bad, "InvalidSignatureException"))
        } else {
            (
                (forbidden, "InvalidClientTokenId"),
                (forbidden, "SignatureDoesNotMatch"),
            )
        };
        let signed = Signed::of(parts).expect("it is signed");
        assert_eq!(signed.service, service);
        let principal = self.keys.get(&signed.key_id).filter(|principal| !principal.revoked);
        let session = parts
            .headers
            .get("x-amz-security-token")
            .map(|value| value.to_str().unwrap());
        let principal = principal
            .filter(|principal| principal.session.as_deref() == session)
            .ok_or_else(|| {
                Refusal(
                    unknown.0,
                    unknown.1,
                    "The security token included in the request is invalid.".to_owned(),
                )
            })?;
        let refused = |message: String| Refusal(mismatch.0, mismatch.1, message);
        if signed.region != self.region.unwrap_or(REGION) {
            return Err(refused("Credential should be scoped to a valid region.".to_owned()));
        }
        let format = "%Y%m%dT%H%M%SZ";
        let at = strtime::parse(format, &signed.date).unwrap().to_datetime().unwrap();
        let at = at.to_zoned(TimeZone::UTC).unwrap().timestamp();
        if (self.now().as_second() - at.as_second()).abs() > 300 {
            let message = format!(
                "Signature expired: {} is now earlier than {}",
                signed.date,
                self.now().strftime(format)
            );
            return Err(refused(message));
        }
        let canonical = signed.canonical(parts, body);
        if !signed.is_by(&principal.secret, &canonical) {
            return Err(refused(format!(
                "The request signature we calculated does not match the signature you provided.\n\nThe Canonical String for this \
                 request should have been\n'{canonical}'\n"
            )));
        }
        Ok(principal.clone())
    }
}

fn node_rights() -> BTreeSet<&'static str> {
    PULL.iter().chain(&PUSH).chain(&["sts:AssumeRole"]).copied().collect()
}

pub(super) fn refusal(code: &str, message: &str) -> String {
    let message = message.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{message}</Message></Error><RequestId>1</RequestId></ErrorResponse>"
    )
}

fn form(body: &[u8]) -> BTreeMap<String, String> {
    let text = std::str::from_utf8(body).unwrap();
    let decode = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                byte => byte,
            });
        }
        String::from_utf8(bytes).unwrap()
    };
    text.split('&')
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}
