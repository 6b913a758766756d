//! Google's token endpoint: an assertion that is signed with a service account's key, for an access token (RFC 7523).

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http_body_util::BodyExt;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE};
use jiff::Timestamp;
use ring::{
    rsa::KeyPair,
    signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey},
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::{Value, json};

use crate::{
    server::{Answers, Body, Fault, Server, form, text},
    tokens::{Rights, Tokens},
};

/// It, and the service accounts that it knows.
pub struct Google {
    server: Server,
    state: Arc<State>,
}

struct State {
    /// Where it is, as keys have it: what an assertion has to be for.
    token_uri: String,
    tokens: Tokens,
    inner: Mutex<Inner>,
}

struct Inner {
    /// By the id of a key.
    keys: BTreeMap<String, Key>,
    lasts: Duration,
}

struct Key {
    email: String,
    /// Its public half, DER.
    public: Vec<u8>,
    deleted: bool,
}

impl Google {
    /// It, at this address of the machine that it runs on.
    #[must_use]
    pub fn start(ip: IpAddr, tokens: &Tokens) -> Self {
        let mut state = None;
        let server = Server::start(ip, |address| {
            let made = Arc::new(State::new(address, tokens));
            state = Some(Arc::clone(&made));
            Handler(made)
        });
        let state = state.expect("it was started");
        Self { server, state }
    }

    /// Scheme, host and port: what `issuers.google.trusted` has to name.
    #[must_use]
    pub fn origin(&self) -> String {
        self.server.origin()
    }

    /// A service account's key, as its file has it: `private_key` is PEM.
    ///
    /// # Panics
    ///
    /// When that is no RSA key.
    #[must_use]
    pub fn key(&self, email: &str, private_key: &str) -> String {
        let der = PrivatePkcs8KeyDer::from_pem_slice(private_key.as_bytes()).expect("a key in PEM");
        let pair = KeyPair::from_pkcs8(der.secret_pkcs8_der()).expect("an RSA key");
        let mut inner = self.state.inner();
        let id = format!("{:040x}", inner.keys.len() + 1);
        let key = Key {
            email: email.to_owned(),
            public: pair.public().as_ref().to_vec(),
            deleted: false,
        };
        inner.keys.insert(id.clone(), key);
        json!({
            "type": "service_account",
            "project_id": "stand-in",
            "private_key_id": id,
            "private_key": private_key,
            "client_email": email,
            "client_id": "100000000000000000000",
            "token_uri": self.state.token_uri,
        })
        .to_string()
    }

    /// Deletes every key that there is.
    pub fn delete_keys(&self) {
        for key in self.state.inner().keys.values_mut() {
            key.deleted = true;
        }
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
        let is_form = parts
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind == "application/x-www-form-urlencoded");
        if parts.method != Method::POST || parts.uri.path() != PATH || !is_form {
            return text(StatusCode::NOT_FOUND, "text/html", "<html>Not Found</html>");
        }
        let Ok(body) = body.collect().await else {
            return text(StatusCode::BAD_REQUEST, "text/plain", "");
        };
        let (status, answer) = match self.0.issue(&form(&body.to_bytes())) {
            Ok(token) => (StatusCode::OK, token),
            Err((error, description)) => {
                let refusal = json!({"error": error, "error_description": description});
                (StatusCode::BAD_REQUEST, refusal)
            }
        };
        text(status, "application/json", answer.to_string())
    }
}

/// The error's code and what is said of it, in Google's words.
type Refusal = (&'static str, &'static str);

impl State {
    fn new(address: SocketAddr, tokens: &Tokens) -> Self {
        Self {
            token_uri: format!("http://{address}{PATH}"),
            tokens: tokens.clone(),
            inner: Mutex::new(Inner {
                keys: BTreeMap::new(),
                lasts: Duration::from_secs(60),
            }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn issue(&self, form: &BTreeMap<String, String>) -> Result<Value, Refusal> {
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        if field("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
            return Err(("unsupported_grant_type", "Invalid grant_type: "));
        }
        let claims = self.claims(field("assertion"))?;
        let second = |name: &str| claims[name].as_i64();
        let now = Timestamp::now().as_second();
        let timely = second("iat")
            .zip(second("exp"))
            .is_some_and(|(iat, exp)| iat <= now + SKEW && iat > now - LONGEST && exp > now && exp - iat <= LONGEST);
        if !timely {
            return Err((
                "invalid_grant",
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.",
            ));
        }
        if claims["aud"] != *self.token_uri {
            return Err((
                "invalid_grant",
                "Invalid JWT: Failed audience check. The right audience is the token endpoint.",
            ));
        }
        let rights = match claims["scope"].as_str() {
            Some("https://www.googleapis.com/auth/devstorage.read_only") => Rights::Pull,
            Some("https://www.googleapis.com/auth/devstorage.read_write") => Rights::Push,
            _ => return Err(("invalid_scope", "Invalid OAuth scope or ID token audience provided.")),
        };
        let lasts = self.inner().lasts;
        let token = self.tokens.issue("oauth2accesstoken", "ya29.", rights, lasts);
        Ok(json!({"access_token": token, "expires_in": lasts.as_secs(), "token_type": "Bearer"}))
    }

    /// What an assertion says, once it is known whose it is.
    fn claims(&self, assertion: &str) -> Result<Value, Refusal> {
        let malformed = ("invalid_grant", "Bad Request");
        let (signed, signature) = assertion.rsplit_once('.').ok_or(malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed);
        let json = |part: &str| serde_json::from_slice::<Value>(&decode(part)?).map_err(|_| malformed);
        let (header, claims) = (json(header)?, json(claims)?);
        if header["alg"] != "RS256" || header["typ"] != "JWT" {
            return Err(("invalid_grant", "Invalid JWT: algorithm or type."));
        }
        let inner = self.inner();
        let of_account = |key: &&Key| claims["iss"] == *key.email;
        if !inner.keys.values().any(|key| of_account(&key)) {
            return Err(("invalid_grant", "Invalid grant: account not found"));
        }
        let key = header["kid"].as_str().and_then(|id| inner.keys.get(id));
        let good = key.filter(of_account).filter(|key| !key.deleted).is_some_and(|key| {
            let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key.public);
            decode(signature).is_ok_and(|signature| public.verify(signed.as_bytes(), &signature).is_ok())
        });
        if !good {
            return Err(("invalid_grant", "Invalid JWT Signature."));
        }
        Ok(claims)
    }
}

const PATH: &str = "/token";

/// Seconds. Google takes no assertion that lasts longer.
const LONGEST: i64 = 3_600;

/// Seconds by which a clock may be ahead.
const SKEW: i64 = 300;

#[cfg(test)]
mod tests;
