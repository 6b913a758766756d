//! Who gets in: the token of a request, and patience with those who guess.
//!
//! A wrong token is answered late: the more of them come from an address, and from all addresses together, the later. A right one
//! never is, whoever else guesses from the same address. No more than so many answers are kept waiting at once, and no more than so
//! many addresses remembered; what is beyond is refused at once, by [`Kind::TooManyFailures`].

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::http::{HeaderMap, header::AUTHORIZATION};
use tokio::{sync::Semaphore, time::Instant};

use super::problem::{Kind, Problem};
use crate::{
    authorization::{Access, Authorizer, Verdict},
    registry::Password,
};

/// How wrong tokens are answered. The default is what is served with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How late the first wrong token of an address is answered; each further one twice as late.
    pub first: Duration,
    /// How late at most.
    pub most: Duration,
    /// How many wrong tokens of all addresses together count as one of each.
    pub shared: u32,
    /// When an address is forgotten, after its last wrong token.
    pub forgotten: Duration,
    /// How many answers wait at once.
    pub waiting: usize,
    /// How many addresses are remembered.
    pub addresses: usize,
}

/// Lets in whoever has a token that is good for it.
pub(super) struct Guard {
    authorizer: Arc<dyn Authorizer>,
    patience: Patience,
    failures: Mutex<Failures>,
    waiting: Semaphore,
}

#[derive(Default)]
struct Failures {
    of: HashMap<IpAddr, Count>,
    all: Count,
}

#[derive(Clone, Copy, Default)]
struct Count {
    failures: u32,
    last: Option<Instant>,
}

impl Guard {
    pub(super) fn new(authorizer: Arc<dyn Authorizer>, patience: Patience) -> Self {
        Self {
            authorizer,
            patience,
            failures: Mutex::default(),
            waiting: Semaphore::new(patience.waiting),
        }
    }

    /// The name of whoever may do this; `user` is told as soon as it is known. Without an access it is enough to be somebody.
    pub(super) async fn admit(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
        access: Option<Access<'_>>,
        user: &mut Option<String>,
    ) -> Result<(), Problem> {
        let token = token(headers)?;
        match self.authorizer.authorize(&token, access).await {
            Verdict::Allowed(name) => {
                *user = Some(name);
                Ok(())
            }
            Verdict::Forbidden { user: name, why } => {
                *user = Some(name);
                Err(Problem::new(Kind::Forbidden, why))
            }
            Verdict::Unavailable(why) => Err(cannot_be_told(&why)),
            Verdict::Unauthenticated => Err(self.refuse(peer).await),
        }
    }

    /// Whether somebody who was admitted may do this, too.
    pub(super) async fn allows(&self, headers: &HeaderMap, access: Access<'_>) -> Result<bool, Problem> {
        match self.authorizer.authorize(&token(headers)?, Some(access)).await {
            Verdict::Allowed(_) => Ok(true),
            Verdict::Forbidden { .. } | Verdict::Unauthenticated => Ok(false),
            Verdict::Unavailable(why) => Err(cannot_be_told(&why)),
        }
    }

    /// Answers a wrong token, late.
    pub(super) async fn refuse(&self, peer: Option<IpAddr>) -> Problem {
        let delay = {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            failures.add(peer.map(network), Instant::now(), self.patience)
        };
        match self.waiting.try_acquire() {
            Ok(_waits) => {
                tokio::time::sleep(delay).await;
                Problem::new(
                    Kind::Unauthenticated,
                    "the token is nobody's: check that all of it was copied, and that it is still valid",
                )
            }
            Err(_) => Problem::new(
                Kind::TooManyFailures,
                "the token is nobody's, and many such are being tried: wait some seconds",
            ),
        }
    }
}

impl Failures {
    /// Counts one, and says how late it is to be answered.
    fn add(&mut self, peer: Option<IpAddr>, now: Instant, patience: Patience) -> Duration {
        let late = |failures: u32| {
            let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
            if failures == 0 {
                Duration::ZERO
            } else {
                patience.first.saturating_mul(factor).min(patience.most)
            }
        };
        let all = self.all.add(now, patience);
        let shared = late(all / patience.shared.max(1));
        let Some(peer) = peer else { return shared };
        if self.of.len() >= patience.addresses && !self.of.contains_key(&peer) {
            self.of.retain(|_, count| !count.is_old(now, patience));
        }
        if self.of.len() >= patience.addresses && !self.of.contains_key(&peer) {
            // So many addresses are one attack: all of them together are late by now.
            return shared;
        }
        late(self.of.entry(peer).or_default().add(now, patience)).max(shared)
    }
}

impl Count {
    fn add(&mut self, now: Instant, patience: Patience) -> u32 {
        if self.is_old(now, patience) {
            self.failures = 0;
        }
        self.last = Some(now);
        self.failures = self.failures.saturating_add(1);
        self.failures
    }

    fn is_old(&self, now: Instant, patience: Patience) -> bool {
        self.last
            .is_none_or(|last| now.saturating_duration_since(last) >= patience.forgotten)
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            most: Duration::from_secs(5),
            shared: 16,
            forgotten: Duration::from_secs(60),
            waiting: 64,
            addresses: 4096,
        }
    }
}

fn cannot_be_told(why: &str) -> Problem {
    tracing::warn!(why, "nobody can tell who may use the API: {why}");
    Problem::new(
        Kind::Unavailable,
        "whose token it is cannot be told at the moment: Waypost's log says why",
    )
}

/// What counts as one address: whoever has an IPv6 address has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The token of `Authorization: Bearer …`; `Simple` is what some users' scripts say for it.
fn token(headers: &HeaderMap) -> Result<Password, Problem> {
    let refused = |detail: &str| Problem::new(Kind::Unauthenticated, detail);
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, more) = (values.next(), values.next());
    let Some(value) = value else {
        return Err(refused("there is no token: send it as `Authorization: Bearer TOKEN`"));
    };
    if more.is_some() {
        return Err(refused("there are two `Authorization` headers: send one"));
    }
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|value| value.trim().split_once(' '))
        .ok_or_else(|| {
            refused("there is no token in the `Authorization` header: send it as `Authorization: Bearer TOKEN`")
        })?;
    if !["bearer", "simple"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
    {
        return Err(refused(
            "the scheme of the `Authorization` header is neither Bearer nor Simple: send `Bearer TOKEN`",
        ));
    }
    Ok(Password::new(token.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const PATIENCE: Patience = Patience {
        first: Duration::from_millis(100),
        most: Duration::from_secs(5),
        shared: 16,
        forgotten: Duration::from_secs(60),
        waiting: 64,
        addresses: 100,
    };

    fn peer(number: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::from(number)))
    }

    #[tokio::test(start_paused = true)]
    async fn each_wrong_token_of_an_address_is_answered_twice_as_late_as_the_last_until_it_is_forgotten() {
        let mut failures = Failures::default();
        let now = Instant::now();
        let delays: Vec<_> = (0..8)
            .map(|_| failures.add(peer(1), now, PATIENCE).as_millis())
            .collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(
            failures.add(peer(2), now, PATIENCE).as_millis(),
            100,
            "another is another"
        );
        let later = now + PATIENCE.forgotten;
        assert_eq!(failures.add(peer(1), later, PATIENCE).as_millis(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn many_addresses_are_late_together_and_not_all_of_them_remembered() {
        let mut failures = Failures::default();
        let now = Instant::now();
        let last = (0..100_000)
            .map(|number| failures.add(peer(number), now, PATIENCE))
            .last();
        assert_eq!((last, failures.of.len()), (Some(PATIENCE.most), PATIENCE.addresses));
        failures.add(peer(0), now + PATIENCE.forgotten, PATIENCE);
        failures.add(peer(200_000), now + PATIENCE.forgotten, PATIENCE);
        assert_eq!(failures.of.len(), 2);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let [a, b, c] =
            ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"].map(|text| network(text.parse().unwrap()));
        assert!(a == b && b != c);
        assert_eq!(
            network("::ffff:127.0.0.1".parse().unwrap()),
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        );
    }

    #[test]
    fn a_token_is_borne_or_simply_given() {
        for (value, expected) in [
            (Some("Bearer t"), Ok("t")),
            (Some("bearer  t "), Ok("t")),
            (Some("Simple t"), Ok("t")),
            (Some("Basic t"), Err("the scheme of")),
            (Some("t"), Err("there is no token in")),
            (Some("Bearer"), Err("there is no token in")),
            (None, Err("there is no token:")),
        ] {
            let headers = value
                .map(|value| (AUTHORIZATION, value.parse().unwrap()))
                .into_iter()
                .collect();
            match (token(&headers), expected) {
                (Ok(token), Ok(expected)) => assert_eq!(token.expose(), expected),
                (Err(problem), Err(begin)) => assert!(problem.detail.starts_with(begin), "{problem:?}"),
                (other, _) => panic!("{value:?} {other:?}"),
            }
        }
    }
}
