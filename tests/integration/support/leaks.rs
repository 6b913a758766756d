//! A secret that nobody may see, looked for in whatever form it may have somewhere.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// What is looked for.
pub(crate) struct Leaks(Vec<String>);

impl Leaks {
    /// The private key of a PEM file: each of its lines gives it away.
    pub(crate) fn of_pem(pem: &str) -> Self {
        let lines = pem.lines().filter(|line| line.len() == 64 && !line.contains(' '));
        let found = Self(lines.flat_map(forms).collect());
        assert!(found.0.len() > 20, "that is no key");
        found
    }

    pub(crate) fn of(secret: &str) -> Self {
        Self(forms(secret))
    }

    /// That it is not there, by what there is called.
    #[track_caller]
    pub(crate) fn absent(&self, place: &str, text: &str) {
        assert!(!self.is_in(text), "the long-lived key is in {place}:\n{text}");
    }

    pub(crate) fn is_in(&self, text: &str) -> bool {
        self.0.iter().any(|form| text.contains(form))
    }
}

/// As it is, in a URL, and in base64, of either alphabet, wherever in what is encoded it is.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![
        secret.to_owned(),
        secret.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D"),
        secret.replace('/', "\\/"),
    ];
    for before in 0..3 {
        let padded = [&[b' '].repeat(before), secret.as_bytes()].concat();
        // Whole groups of three, without those that the padding is in.
        let whole = &padded[..padded.len() / 3 * 3];
        let from = if before == 0 { 0 } else { 4 };
        for alphabet in [STANDARD, URL_SAFE] {
            forms.push(alphabet.encode(whole)[from..].to_owned());
        }
    }
    forms
}

#[test]
fn a_secret_is_found_in_whatever_form() {
    let leaks = Leaks::of("wJalrXUtn/EMI+K7MDENG");
    for text in [
        "{\"a\": \"wJalrXUtn/EMI+K7MDENG\"}",
        "{\"a\": \"wJalrXUtn\\/EMI+K7MDENG\"}",
        "secret=wJalrXUtn%2FEMI%2BK7MDENG&x",
        &STANDARD.encode("AWS:wJalrXUtn/EMI+K7MDENG\n"),
        &STANDARD.encode("{\"password\":\"wJalrXUtn/EMI+K7MDENG\"}"),
        &URL_SAFE.encode("12wJalrXUtn/EMI+K7MDENG"),
    ] {
        assert!(leaks.is_in(text), "{text}");
    }
    assert!(!leaks.is_in("wJalrXUtn and EMI+K7MDENG"));
}
