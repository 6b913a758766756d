//! Signature Version 4 as AWS's own documentation has it, from the side of who checks it.

use std::collections::BTreeMap;

use hyper::http::request::Parts;
use ring::{digest, hmac};

use crate::tokens::hex;

/// What a request says of its signature.
pub struct Signed {
    /// The id of the access key.
    pub key_id: String,
    /// When it was signed: `20150830T123600Z`.
    pub date: String,
    /// The region it is good for.
    pub region: String,
    /// The service it is good for.
    pub service: String,
    headers: Vec<String>,
    signature: String,
}

impl Signed {
    /// What is said in `Authorization`, if that is of this kind.
    ///
    /// # Panics
    ///
    /// Where the day of the key is not that of the request: nobody makes such a signature by accident.
    #[must_use]
    pub fn of(parts: &Parts) -> Option<Self> {
        let header = parts.headers.get("authorization")?.to_str().ok()?;
        let fields: BTreeMap<_, _> = header
            .strip_prefix("AWS4-HMAC-SHA256 ")?
            .split(", ")
            .filter_map(|field| field.split_once('='))
            .collect();
        let scope: Vec<_> = fields.get("Credential")?.split('/').collect();
        let [key_id, day, region, service, "aws4_request"] = scope[..] else {
            return None;
        };
        let date = parts.headers.get("x-amz-date")?.to_str().ok()?.to_owned();
        assert!(date.starts_with(day), "{date} is not of {day}");
        Some(Self {
            key_id: key_id.to_owned(),
            date,
            region: region.to_owned(),
            service: service.to_owned(),
            headers: fields.get("SignedHeaders")?.split(';').map(str::to_owned).collect(),
            signature: (*fields.get("Signature")?).to_owned(),
        })
    }

    /// What was signed, as AWS quotes it in its refusals.
    ///
    /// # Panics
    ///
    /// Where something is not signed without which a signature would be of any request.
    #[must_use]
    pub fn canonical(&self, parts: &Parts, body: &[u8]) -> String {
        for header in ["host", "x-amz-date"] {
            assert!(
                self.headers.iter().any(|signed| signed == header),
                "{header} is not signed"
            );
        }
        for header in ["x-amz-security-token", "x-amz-target"] {
            let signed = self.headers.iter().any(|signed| signed == header);
            assert!(signed || !parts.headers.contains_key(header), "{header} is not signed");
        }
        let headers: String = self
            .headers
            .iter()
            .map(|name| {
                let value = parts.headers[name].to_str().expect("what is signed is text");
                format!("{name}:{}\n", value.trim())
            })
            .collect();
        format!(
            "{}\n{}\n{}\n{headers}\n{}\n{}",
            parts.method,
            parts.uri.path(),
            parts.uri.query().unwrap_or_default(),
            self.headers.join(";"),
            hex(digest::digest(&digest::SHA256, body).as_ref()),
        )
    }

    /// Whether whoever signed it has this secret.
    #[must_use]
    pub fn is_by(&self, secret: &str, canonical: &str) -> bool {
        let day = &self.date[..8];
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let hashed = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{hashed}", self.date);
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in [day, &self.region, &self.service, "aws4_request"] {
            key = mac(&key, part.as_bytes());
        }
        hex(&mac(&key, text.as_bytes())) == self.signature
    }
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text)
        .as_ref()
        .to_vec()
}

/// The example of AWS's documentation: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>,
/// `ListUsers` of 2015-08-30, of its test suite.
#[test]
fn the_example_of_the_documentation_is_by_its_key() {
    let (parts, ()) = hyper::Request::get("https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08")
        .header("host", "iam.amazonaws.com")
        .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
        .header("x-amz-date", "20150830T123600Z")
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        )
        .body(())
        .unwrap()
        .into_parts();
    let signed = Signed::of(&parts).unwrap();
    let canonical = signed.canonical(&parts, b"");
    assert!(signed.is_by("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", &canonical));
    assert!(!signed.is_by("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEx", &canonical));
    assert!(!signed.is_by(
        "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        &signed.canonical(&parts, b"x")
    ));
}
