//! What was issued, and until when it is good.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ring::rand::{SecureRandom, SystemRandom};

/// The tokens that were issued. Clones are the same book.
#[derive(Clone, Default)]
pub struct Tokens(Arc<Mutex<HashMap<String, Token>>>);

struct Token {
    username: &'static str,
    rights: Rights,
    issued: Instant,
    ends: Instant,
}

/// What the holder of a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Pull, and nothing else.
    Pull,
    /// Pull and push.
    Push,
}

/// What a registry makes of a username and a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is good for this.
    Good(Rights),
    /// It was.
    Ended,
    /// Nobody issued it, or to be sent by another username.
    Unknown,
}

impl Tokens {
    /// A new one.
    pub(crate) fn issue(&self, username: &'static str, prefix: &str, rights: Rights, lasts: Duration) -> String {
        let password = format!("{prefix}{}", random());
        let issued = Instant::now();
        let token = Token {
            username,
            rights,
            issued,
            ends: issued + lasts,
        };
        self.book().insert(password.clone(), token);
        password
    }

    /// What it is good for now.
    #[must_use]
    pub fn verdict(&self, username: &str, password: &str) -> Verdict {
        match self.book().get(password) {
            Some(token) if token.username != username => Verdict::Unknown,
            Some(token) if token.ends <= Instant::now() => Verdict::Ended,
            Some(token) => Verdict::Good(token.rights),
            None => Verdict::Unknown,
        }
    }

    /// When each with these rights was issued so far, in this order.
    #[must_use]
    pub fn issued(&self, rights: Rights) -> Vec<Instant> {
        let book = self.book();
        let with = book.values().filter(|token| token.rights == rights);
        let mut issued: Vec<_> = with.map(|token| token.issued).collect();
        issued.sort();
        issued
    }

    fn book(&self) -> MutexGuard<'_, HashMap<String, Token>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What nobody guesses, in hexadecimal digits.
pub(crate) fn random() -> String {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).expect("the system has randomness");
    hex(&bytes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
