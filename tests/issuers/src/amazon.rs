//! Amazon's STS and ECR on one port: signatures are checked, sessions keep their own policy, and a token knows what it was issued with.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::BodyExt;
use hyper::{Request, Response, StatusCode, body::Incoming, http::request::Parts};
use jiff::{Timestamp, fmt::strtime, tz::TimeZone};
use serde_json::{Value, json};

use crate::{
    server::{Answers, Body, Fault, Server, form, text},
    signature::Signed,
    tokens::{Rights, Tokens, random},
};

/// It, and the users that it knows.
pub struct Amazon {
    server: Server,
    state: Arc<State>,
}

/// A user's key, which lasts until it is deleted.
#[derive(Clone)]
pub struct AccessKey {
    /// Its id.
    pub id: String,
    /// What is signed with it.
    pub secret: String,
}

/// The account of all users and registries.
pub const ACCOUNT: &str = "123456789012";

struct State {
    region: &'static str,
    tokens: Tokens,
    inner: Mutex<Inner>,
}

struct Inner {
    /// By the id of a key.
    keys: HashMap<String, Principal>,
    roles: Vec<String>,
    lasts: Duration,
}

/// Who may pull and push, unless the policy of a session leaves less.
#[derive(Clone)]
struct Principal {
    arn: String,
    secret: String,
    session: Option<String>,
    policy: Option<Value>,
}

/// Status, code, and what is said of it.
struct Refusal(StatusCode, &'static str, String);

impl Amazon {
    /// It, at this address of the machine that it runs on, for one region.
    #[must_use]
    pub fn start(ip: IpAddr, region: &'static str, tokens: &Tokens) -> Self {
        let state = Arc::new(State {
            region,
            tokens: tokens.clone(),
            inner: Mutex::new(Inner {
                keys: HashMap::new(),
                roles: Vec::new(),
                lasts: Duration::from_secs(60),
            }),
        });
        let handler = Handler(Arc::clone(&state));
        let server = Server::start(ip, |_| handler);
        Self { server, state }
    }

    /// What `AWS_ENDPOINT_URL_ECR` and `AWS_ENDPOINT_URL_STS` have to be.
    #[must_use]
    pub fn origin(&self) -> String {
        self.server.origin()
    }

    /// A user who may pull, push, assume every role there is and have sessions made of his key.
    #[must_use]
    pub fn user(&self, name: &str) -> AccessKey {
        let key = AccessKey {
            id: format!("AKIA{}", random()[..16].to_uppercase()),
            secret: format!("{}/+{}", &random()[..20], &random()[..18]),
        };
        let principal = Principal {
            arn: format!("arn:aws:iam::{ACCOUNT}:user/{name}"),
            secret: key.secret.clone(),
            session: None,
            policy: None,
        };
        self.state.inner().keys.insert(key.id.clone(), principal);
        key
    }

    /// A role that may pull and push, by its ARN.
    #[must_use]
    pub fn role(&self, name: &str) -> String {
        let arn = format!("arn:aws:iam::{ACCOUNT}:role/{name}");
        self.state.inner().roles.push(arn.clone());
        arn
    }

    /// Deletes a key.
    pub fn delete_key(&self, key: &AccessKey) {
        self.state.inner().keys.remove(&key.id);
    }

    /// How long tokens last that are issued from now on. At first it is a minute.
    pub fn lasts(&self, lasts: Duration) {
        self.state.inner().lasts = lasts;
    }

    /// Connections are refused from now on.
    pub fn down(&self) {
        self.server.down();
    }

    /// It is back.
    pub fn up(&self) {
        self.server.up();
    }

    /// What is wrong with it from now on.
    pub fn fails(&self, fault: Fault) {
        self.server.fails(fault);
    }

    /// How often it was called, and how many of these calls a [`Fault`] was the end of.
    #[must_use]
    pub fn calls(&self) -> (u64, u64) {
        self.server.calls()
    }
}

struct Handler(Arc<State>);

impl Answers for Handler {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return text(StatusCode::BAD_REQUEST, "text/plain", "");
        };
        let body = body.to_bytes();
        let target = parts.headers.get("x-amz-target").and_then(|value| value.to_str().ok());
        if let Some(target) = target {
            let (status, answer) = match self.0.ecr(target, &parts, &body) {
                Ok(answer) => (StatusCode::OK, answer),
                Err(Refusal(status, code, message)) => (status, json!({"__type": code, "message": message})),
            };
            return text(status, "application/x-amz-json-1.1", answer.to_string());
        }
        let (status, answer) = match self.0.sts(&parts, &body) {
            Ok(answer) => (StatusCode::OK, answer),
            Err(Refusal(status, code, message)) => {
                let message = message.replace('&', "&amp;").replace('<', "&lt;");
                let refusal = format!(
                    "<ErrorResponse xmlns=\"{STS}\"><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
                     <RequestId>1</RequestId></ErrorResponse>"
                );
                (status, refusal)
            }
        };
        text(status, "text/xml", answer)
    }
}

impl State {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ecr(&self, target: &str, parts: &Parts, body: &[u8]) -> Result<Value, Refusal> {
        let who = self.signed("ecr", parts, body)?;
        assert_eq!(target, "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken");
        if !self.may(&who, "ecr:GetAuthorizationToken") {
            return Err(denied(StatusCode::BAD_REQUEST, "AccessDeniedException", &who, target));
        }
        let pulls = PULL.iter().all(|action| self.may(&who, action));
        let pushes = self.may(&who, "ecr:PutImage");
        assert!(pulls, "nobody here asks for a token that may not pull");
        let rights = if pushes { Rights::Push } else { Rights::Pull };
        let lasts = self.inner().lasts;
        let token = self.tokens.issue("AWS", "ecr-", rights, lasts);
        let ends = Timestamp::now().as_millisecond() as f64 / 1e3 + lasts.as_secs_f64();
        Ok(json!({"authorizationData": [{
            "authorizationToken": STANDARD.encode(format!("AWS:{token}")),
            "expiresAt": ends,
            "proxyEndpoint": format!("https://{ACCOUNT}.dkr.ecr.{}.amazonaws.com", self.region),
        }]}))
    }

    fn sts(&self, parts: &Parts, body: &[u8]) -> Result<String, Refusal> {
        let who = self.signed("sts", parts, body)?;
        let form = form(body);
        let given = |name: &str| form.get(name).map(String::as_str);
        let action = given("Action").unwrap_or_default();
        let refused = || denied(StatusCode::FORBIDDEN, "AccessDenied", &who, action);
        let policy = given("Policy").map(|policy| serde_json::from_str::<Value>(policy).expect("a policy is JSON"));
        let arn = match action {
            "GetCallerIdentity" => {
                return Ok(format!(
                    "<GetCallerIdentityResponse xmlns=\"{STS}\"><GetCallerIdentityResult><Arn>{}</Arn><UserId>1</UserId><Account>{ACCOUNT}\
                     </Account></GetCallerIdentityResult></GetCallerIdentityResponse>",
                    who.arn
                ));
            }
            "GetFederationToken" => {
                // No session is made of a session, and one without a policy may do nothing.
                if who.session.is_some() || policy.is_none() {
                    return Err(refused());
                }
                format!("federated-user/{}", given("Name").unwrap_or_default())
            }
            "AssumeRole" => {
                let role = given("RoleArn").unwrap_or_default();
                if !self.inner().roles.iter().any(|known| known == role) {
                    return Err(refused());
                }
                let name = role.rsplit('/').next().unwrap_or_default();
                format!("assumed-role/{name}/{}", given("RoleSessionName").unwrap_or_default())
            }
            other => panic!("nobody asks for {other}"),
        };
        let (id, secret, session) = (format!("ASIA{}", random()), random(), random());
        let principal = Principal {
            arn: format!("arn:aws:sts::{ACCOUNT}:{arn}"),
            secret: secret.clone(),
            session: Some(session.clone()),
            policy,
        };
        self.inner().keys.insert(id.clone(), principal);
        let ends = Timestamp::from_second(Timestamp::now().as_second() + 3_600).expect("an hour from now");
        Ok(format!(
            "<{action}Response xmlns=\"{STS}\"><{action}Result><Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{secret}\
             </SecretAccessKey><SessionToken>{session}</SessionToken><Expiration>{ends}</Expiration></Credentials></{action}Result>\
             </{action}Response>"
        ))
    }

    /// Whether somebody may do that with every repository of the account.
    fn may(&self, who: &Principal, action: &str) -> bool {
        let everything = format!("arn:aws:ecr:{}:{ACCOUNT}:repository/*", self.region);
        let Some(policy) = &who.policy else {
            return true;
        };
        let statements = policy["Statement"].as_array().expect("a policy has statements");
        statements.iter().any(|statement| {
            assert_eq!(statement["Effect"], "Allow");
            let resource = &statement["Resource"];
            let named = match &statement["Action"] {
                Value::String(one) => one == action,
                several => several
                    .as_array()
                    .expect("an action or several")
                    .contains(&action.into()),
            };
            named && (resource == "*" || *resource == *everything)
        })
    }

    /// Who signed it.
    fn signed(&self, service: &str, parts: &Parts, body: &[u8]) -> Result<Principal, Refusal> {
        let (unknown, mismatch) = if service == "ecr" {
            let bad = StatusCode::BAD_REQUEST;
            ((bad, "UnrecognizedClientException"), (bad, "InvalidSignatureException"))
        } else {
            let forbidden = StatusCode::FORBIDDEN;
            (
                (forbidden, "InvalidClientTokenId"),
                (forbidden, "SignatureDoesNotMatch"),
            )
        };
        let signed = Signed::of(parts).expect("it is signed");
        assert_eq!(signed.service, service);
        let session = parts.headers.get("x-amz-security-token");
        let session = session.map(|value| value.to_str().expect("a session token is text"));
        let known = self.inner().keys.get(&signed.key_id).cloned();
        let Some(principal) = known.filter(|known| known.session.as_deref() == session) else {
            let message = "The security token included in the request is invalid.";
            return Err(Refusal(unknown.0, unknown.1, message.to_owned()));
        };
        let refused = |message: &str| Err(Refusal(mismatch.0, mismatch.1, message.to_owned()));
        if signed.region != self.region {
            return refused("Credential should be scoped to a valid region.");
        }
        let at = strtime::parse("%Y%m%dT%H%M%SZ", &signed.date).and_then(|time| time.to_datetime());
        let at = at.and_then(|time| time.to_zoned(TimeZone::UTC)).expect("a date");
        if (Timestamp::now().as_second() - at.timestamp().as_second()).abs() > 300 {
            return refused("Signature expired: it is of another time");
        }
        if !signed.is_by(&principal.secret, &signed.canonical(parts, body)) {
            return refused("The request signature we calculated does not match the signature you provided.");
        }
        Ok(principal)
    }
}

fn denied(status: StatusCode, code: &'static str, who: &Principal, action: &str) -> Refusal {
    let message = format!("User: {} is not authorized to perform: {action}", who.arn);
    Refusal(status, code, message)
}

const PULL: [&str; 3] = [
    "ecr:BatchCheckLayerAvailability",
    "ecr:GetDownloadUrlForLayer",
    "ecr:BatchGetImage",
];

const STS: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
