//! The JSON files that Google gives out: which of them is which, and whether one is the key of a service account.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, de::IgnoredAny};
use zeroize::Zeroizing;

use super::is_account;
use crate::registry::Password;

/// The type of the file of a service account's key.
pub const SERVICE_ACCOUNT: &str = "service_account";

/// The type of a configuration of workload identity federation.
pub const EXTERNAL_ACCOUNT: &str = "external_account";

/// Not a type that Google knows: those files have none.
const OAUTH_CLIENT: &str = "oauth client";

/// What every file of Google's has in it, or not.
#[derive(Deserialize)]
struct Outline {
    r#type: Option<String>,
    installed: Option<IgnoredAny>,
    web: Option<IgnoredAny>,
}

/// What the file of a key has in it.
#[derive(Deserialize)]
struct Fields {
    client_email: String,
    private_key: Password,
}

/// What the text of a file says that it is.
///
/// # Errors
///
/// Where it is none of Google's, what it is in its place: `in base64, and has to be given without`. Nothing that is in it is repeated.
pub fn kind(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("empty".to_owned());
    }
    if text.starts_with("-----BEGIN") {
        return Err("a key by itself, in PEM".to_owned());
    }
    if !text.starts_with('{') {
        let unwrapped: Zeroizing<String> = Zeroizing::new(text.split_whitespace().collect());
        let decoded = STANDARD.decode(unwrapped.as_bytes()).map(Zeroizing::new);
        if decoded.is_ok_and(|decoded| decoded.trim_ascii_start().starts_with(b"{")) {
            return Err("in base64, and has to be given without".to_owned());
        }
        return Err("no JSON object".to_owned());
    }
    let Outline { r#type, installed, web } = serde_json::from_str(text)
        // serde's sentences may have a piece of the text in them.
        .map_err(|error| format!("no JSON (line {}, column {})", error.line(), error.column()))?;
    match r#type {
        Some(kind) => Ok(kind),
        None if installed.is_some() || web.is_some() => Ok(OAUTH_CLIENT.to_owned()),
        None => Err("JSON of another kind, without a `type`".to_owned()),
    }
}

/// A file of a type, in words.
pub fn called(kind: &str) -> String {
    match kind {
        OAUTH_CLIENT => "the file of an OAuth client, which signs people in".to_owned(),
        "authorized_user" => "a person's own sign-in (`authorized_user`, by gcloud auth application-default login)".to_owned(),
        EXTERNAL_ACCOUNT => {
            "a configuration of workload identity federation (`external_account`), which is taken by GOOGLE_APPLICATION_CREDENTIALS alone".to_owned()
        }
        "impersonated_service_account" => "a service account that somebody impersonates (`impersonated_service_account`)".to_owned(),
        "external_account_authorized_user" => {
            "a person's own sign-in by workforce identity federation (`external_account_authorized_user`)".to_owned()
        }
        other if other.len() <= 40 && other.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
            format!("a file of the type `{other}`")
        }
        _ => "a file of an unknown type".to_owned(),
    }
}

/// Why a text is not the file of a service account's key, if it is not, as far as that can be seen without signing with it. Nothing that is
/// in it is repeated.
pub fn key_problem(text: &str) -> Option<String> {
    match kind(text) {
        Ok(kind) if kind == SERVICE_ACCOUNT => {}
        Ok(kind) => return Some(format!("it is {}", called(&kind))),
        Err(got) => return Some(format!("it is {got}")),
    }
    let Ok(Fields {
        client_email,
        private_key,
    }) = serde_json::from_str(text)
    else {
        return Some("its `client_email` and `private_key` are missing, or are no text".to_owned());
    };
    if !is_account(&client_email) {
        return Some("its `client_email` is no e-mail address".to_owned());
    }
    let pem = private_key.expose().trim();
    let is_pem =
        pem.starts_with("-----BEGIN ") && pem.contains("PRIVATE KEY-----\n") && pem.ends_with("PRIVATE KEY-----");
    (!is_pem).then(|| "its `private_key` is no key in PEM: something of it is missing".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PEM: &str = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n";

    #[test]
    fn a_key_is_told_from_what_only_looks_like_one_and_nothing_of_it_is_repeated() {
        let key = json!({"type": "service_account", "client_email": "a@p.iam.gserviceaccount.com", "private_key": PEM});
        assert_eq!(key_problem(&key.to_string()), None);
        assert_eq!(key_problem(&format!("\n{key:#}\n")), None);
        let with = |name: &str, value: serde_json::Value| {
            let mut key = key.clone();
            key[name] = value;
            key.to_string()
        };
        for (text, expected) in [
            (String::new(), "it is empty"),
            (PEM.to_owned(), "it is a key by itself, in PEM"),
            ("hunter2".to_owned(), "it is no JSON object"),
            (
                STANDARD.encode(key.to_string()),
                "it is in base64, and has to be given without",
            ),
            ("{\"type\": hunter2}".to_owned(), "it is no JSON (line 1, column 10)"),
            ("{}".to_owned(), "it is JSON of another kind, without a `type`"),
            (
                "{\"installed\": {\"client_secret\": \"hunter2\"}}".to_owned(),
                "it is the file of an OAuth client",
            ),
            (with("type", json!("authorized_user")), "it is a person's own sign-in"),
            (
                with("type", json!("hunter2 hunter2")),
                "it is a file of an unknown type",
            ),
            (
                with("client_email", json!("hunter2")),
                "its `client_email` is no e-mail address",
            ),
            (
                with("client_email", json!(5)),
                "its `client_email` and `private_key` are missing",
            ),
            (
                with("private_key", json!(null)),
                "its `client_email` and `private_key` are missing",
            ),
            (
                with("private_key", json!("hunter2")),
                "its `private_key` is no key in PEM",
            ),
            (
                with("private_key", json!(PEM.replace('\n', ""))),
                "its `private_key` is no key in PEM",
            ),
            (
                with("private_key", json!(&PEM[..30])),
                "its `private_key` is no key in PEM",
            ),
        ] {
            let said = key_problem(&text).unwrap();
            assert!(said.starts_with(expected), "{expected}: {said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}
