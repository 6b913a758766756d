use std::net::Ipv4Addr;

use ring::{rand::SystemRandom, signature::RSA_PKCS1_SHA256};

use super::*;

const KEY: &str = include_str!("../../../fixtures/gcr/nobodys-key.pem");
const ACCOUNT: &str = "waypost@stand-in.iam.gserviceaccount.com";

fn pem() -> &'static str {
    &KEY[KEY.find("-----BEGIN").unwrap()..]
}

/// What is signed, and a signature of it.
fn assertion(header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem().as_bytes()).unwrap();
    let pair = KeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        signed.as_bytes(),
        &mut signature,
    )
    .unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn an_assertion_is_taken_that_is_right_in_everything_and_no_other() {
    let tokens = Tokens::default();
    let google = Google::start(Ipv4Addr::LOCALHOST.into(), &tokens);
    let id = serde_json::from_str::<Value>(&google.key(ACCOUNT, pem())).unwrap()["private_key_id"].clone();
    let other = serde_json::from_str::<Value>(&google.key("other@stand-in", pem())).unwrap()["private_key_id"].clone();
    let now = Timestamp::now().as_second();
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": id});
    let claims = json!({
        "iss": ACCOUNT, "aud": format!("{}/token", google.origin()), "iat": now, "exp": now + 3_600,
        "scope": "https://www.googleapis.com/auth/devstorage.read_only",
    });
    let with = |of: &Value, key: &str, value: Value| {
        let mut changed = of.clone();
        changed[key] = value;
        changed
    };
    let ask = |assertion: &str| {
        let fields = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", assertion),
        ];
        google
            .state
            .issue(&fields.map(|(key, value)| (key.to_owned(), value.to_owned())).into())
    };
    let good = assertion(&header, &claims);
    let answer = ask(&good).unwrap();
    let token = answer["access_token"].as_str().unwrap();
    assert_eq!(answer["expires_in"], 60);
    assert_eq!(
        tokens.verdict("oauth2accesstoken", token),
        crate::Verdict::Good(Rights::Pull)
    );

    // Signed for another scope, by the same key: what was signed counts.
    let wider = with(
        &claims,
        "scope",
        "https://www.googleapis.com/auth/devstorage.read_write".into(),
    );
    let (signed, _) = good.rsplit_once('.').unwrap();
    let (_, signature) = assertion(&header, &wider)
        .rsplit_once('.')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    for (what, asked) in [
        ("another's signature", format!("{signed}.{signature}")),
        ("no signature", format!("{signed}.")),
        (
            "another account's key",
            assertion(&with(&header, "kid", other), &claims),
        ),
        ("no key", assertion(&json!({"alg": "RS256", "typ": "JWT"}), &claims)),
        (
            "another algorithm",
            assertion(&with(&header, "alg", "none".into()), &claims),
        ),
        (
            "nobody's account",
            assertion(&header, &with(&claims, "iss", "x@stand-in".into())),
        ),
        (
            "another's address",
            assertion(
                &header,
                &with(&claims, "aud", "https://oauth2.googleapis.com/token".into()),
            ),
        ),
        (
            "everything",
            assertion(
                &header,
                &with(
                    &claims,
                    "scope",
                    "https://www.googleapis.com/auth/cloud-platform".into(),
                ),
            ),
        ),
        (
            "too long",
            assertion(&header, &with(&claims, "exp", (now + 3_601).into())),
        ),
        (
            "of the past",
            assertion(&header, &with(&claims, "exp", (now - 1).into())),
        ),
        (
            "of the future",
            assertion(&header, &with(&claims, "iat", (now + 600).into())),
        ),
    ] {
        assert!(ask(&asked).is_err(), "{what}");
    }
    assert!(ask(&assertion(&header, &wider)).is_ok());
    google.delete_keys();
    assert_eq!(ask(&good), Err(("invalid_grant", "Invalid JWT Signature.")));
    assert_eq!(
        [Rights::Pull, Rights::Push].map(|rights| tokens.issued(rights).len()),
        [1, 1]
    );
}
