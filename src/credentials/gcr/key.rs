//! The key of a service account: an assertion is signed with it, and exchanged for a token (RFC 7523).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hyper::{StatusCode, Uri};
use jiff::{SignedDuration, Timestamp};
use ring::{rand::SystemRandom, rsa::KeyPair, signature::RSA_PKCS1_SHA256};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use serde::Deserialize;
use serde_json::json;
use zeroize::{Zeroize, Zeroizing};

use super::{
    IssueError,
    answer::{SKEW, Said, Token, date, refused},
    http::{Answer, Http, Question},
    impersonation::account,
    trust::Trust,
};
use crate::registry::Password;

/// With which a service account shows that it is itself.
pub(super) struct Key {
    email: String,
    /// Which of the account's keys it is.
    id: Option<String>,
    token_uri: Uri,
    pair: KeyPair,
}

#[derive(Deserialize)]
struct Fields {
    client_email: String,
    private_key: Password,
    private_key_id: Option<String>,
    token_uri: Option<String>,
}

impl Key {
    /// Of its file, which is known to be one.
    pub(super) fn parse(json: &Password, what: &str, trust: &Trust) -> Result<Self, IssueError> {
        let wrong = |why: &str| {
            IssueError::Misconfigured(format!("{what} is no key of a service account that can be used: {why}"))
        };
        let Fields {
            client_email,
            private_key,
            private_key_id,
            token_uri,
        } = serde_json::from_str(json.expose()).map_err(|_| {
            wrong("`client_email` and `private_key` are missing, or are no text; the file is used as Google made it")
        })?;
        let email = account(&client_email).ok_or_else(|| wrong("its `client_email` is no e-mail address"))?;
        let token_uri = trust.issuer(token_uri.as_deref().unwrap_or(TOKEN_URI), what)?;
        Ok(Self {
            email,
            id: private_key_id,
            token_uri,
            pair: pair(&private_key).ok_or_else(|| {
                wrong(
                    "its `private_key` is no RSA key of 2048 bits or more in PEM; of the file as Google made it nothing may be missing, \
                     \\n within the key among the rest",
                )
            })?,
        })
    }

    pub(super) fn email(&self) -> &str {
        &self.email
    }

    /// A token of the account's.
    pub(super) async fn token(&self, http: &Http, scope: &str) -> Result<Token, IssueError> {
        let asked = Timestamp::now();
        let answer = self.exchange(http, scope, asked).await?;
        let offset = date(&answer.headers).map(|theirs| theirs.duration_since(asked));
        let skewed = offset.filter(|offset| offset.unsigned_abs() > SKEW);
        match skewed {
            // It may be for nothing but that.
            Some(offset) if answer.status == StatusCode::BAD_REQUEST && Said::of(&answer).code == INVALID_GRANT => {
                let theirs = asked.checked_add(offset).unwrap_or(asked);
                let answer = self.exchange(http, scope, theirs).await?;
                self.read(&answer, asked, Some(offset))
            }
            _ => self.read(&answer, asked, skewed),
        }
    }

    async fn exchange(&self, http: &Http, scope: &str, at: Timestamp) -> Result<Answer, IssueError> {
        let assertion = self.assertion(scope, at)?;
        let question = Question::form(
            self.token_uri.clone(),
            &[
                ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                ("assertion", &assertion),
            ],
        );
        http.ask(&question).await.map_err(|lost| lost.of(&self.issuer()))
    }

    fn read(&self, answer: &Answer, asked: Timestamp, skewed: Option<SignedDuration>) -> Result<Token, IssueError> {
        if answer.status == StatusCode::OK {
            return Token::of_oauth(answer, asked, &self.issuer());
        }
        Err(refused(answer, &self.issuer(), |said| self.why(said, skewed)))
    }

    /// What is the matter with the key, in the words of whoever can see to it.
    fn why(&self, said: &Said, skewed: Option<SignedDuration>) -> String {
        let email = &self.email;
        if said.has("disabled") || said.code == "disabled_client" {
            format!("the service account {email} is disabled: enable it, or give a key of another")
        } else if said.has("not found") || said.has("deleted") || said.code == "deleted_client" {
            format!("the service account {email} does not exist: give a key of one that does")
        } else if said.has("signature") {
            format!(
                "the key of {email} is not accepted: it was deleted there, or is of another account; give a new one"
            )
        } else if said.has("timeframe") {
            let minutes = skewed.map_or(0, |offset| offset.as_mins().abs());
            let off = if minutes > 0 { ", by minutes or more" } else { "" };
            format!(
                "the key of {email} is not accepted: the clock of this machine differs from Google's{off}; set it right"
            )
        } else {
            format!(
                "the key of {email} is not accepted: it was deleted or has expired, or its account may not have tokens; give a new one"
            )
        }
    }

    fn issuer(&self) -> String {
        format!("Google ({})", self.token_uri.host().unwrap_or_default())
    }

    /// That whoever has the key wants a token, signed with it (RFC 7515).
    fn assertion(&self, scope: &str, at: Timestamp) -> Result<Zeroizing<String>, IssueError> {
        let header = match &self.id {
            Some(id) => json!({"alg": "RS256", "typ": "JWT", "kid": id}),
            None => json!({"alg": "RS256", "typ": "JWT"}),
        };
        // A clock that is a little ahead does no harm then.
        let issued = at.as_second() - BACKDATED;
        let claims = json!({
            "iss": self.email,
            "scope": scope,
            "aud": self.token_uri.to_string(),
            "iat": issued,
            "exp": issued + LASTS,
        });
        let mut assertion = Zeroizing::new(String::with_capacity(4_096));
        URL_SAFE_NO_PAD.encode_string(header.to_string(), &mut assertion);
        assertion.push('.');
        URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut assertion);
        let mut signature = vec![0; self.pair.public().modulus_len()];
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                assertion.as_bytes(),
                &mut signature,
            )
            .map_err(|_| IssueError::Misconfigured(format!("nothing can be signed with the key of {}", self.email)))?;
        assertion.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut assertion);
        Ok(assertion)
    }
}

fn pair(pem: &Password) -> Option<KeyPair> {
    let mut key = PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).ok()?;
    let pair = match &key {
        PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()).ok(),
        PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()).ok(),
        _ => None,
    };
    key.zeroize();
    pair
}

const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
const INVALID_GRANT: &str = "invalid_grant";

/// Seconds. Google takes none that lasts for longer.
const LASTS: i64 = 3_600;
const BACKDATED: i64 = 60;
