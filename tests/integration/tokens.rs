//! Registries whose tokens somebody issues: `waypost serve` against stand-ins of Google and Amazon that check what they are asked, and a
//! registry that takes nothing else. What namespaces get is read where they have it, in a real API server.

mod amazon;
mod google;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use serde_json::Value;
use waypost_issuers::{Counts, Rights, Verdict};

use crate::support::cluster::case::Case;
use crate::support::cluster::{Cluster, Size};
use crate::support::eventually;
use crate::support::issuers::{Guarded, Pulled, everything, pulls_with, rest};
use crate::support::leaks::Leaks;
use crate::support::program::Finished;
use crate::support::serving::Serving;

/// The tests are on this machine, and so is whoever they ask.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn on_control_plane(name: &str, test: impl FnOnce(&Case<'_>) + Send) {
    Cluster::start(Size::ControlPlane).test(name, test);
}

/// Registers a registry, whose answer has no key in it.
fn register(waypost: &Serving, leaks: &Leaks, request: &Value) -> Value {
    let reply = rest(waypost, "POST", "/v1/registries", request);
    assert_eq!(reply.status, 201, "{}", reply.text());
    leaks.absent("the answer", &reply.text());
    serde_json::from_str(&reply.text()).unwrap()
}

/// That the token which namespaces have is another one at half of its life, and that nobody was ever refused.
fn is_renewed_at_half_its_life(case: &Case<'_>, guarded: &Guarded, life: Duration) {
    let host = guarded.host();
    let first = pulls_with(case, &host, |pulled| guarded.is_good(pulled));
    let second = pulls_with(case, &host, |pulled| *pulled != first);
    assert!(guarded.is_good(&first), "it was renewed after its end");
    assert!(guarded.is_good(&second), "{:?}", guarded.verdict(&second));
    // When somebody asked, not when somebody else saw it.
    let issued = guarded.tokens.issued(Rights::Pull);
    let last: [Instant; 2] = issued[issued.len() - 2..].try_into().unwrap();
    let share = (last[1] - last[0]).as_secs_f64() / life.as_secs_f64();
    assert!((0.4..0.75).contains(&share), "renewed after {share} of its life");
    let Counts { ended, unknown, .. } = guarded.door.counts();
    assert_eq!((ended, unknown), (0, 0));
}

/// That the token which namespaces have stays what it is when it has ended, where there is no other.
fn ends_and_stays(case: &Case<'_>, guarded: &Guarded, last: &Pulled) {
    eventually("the token's end", || {
        (guarded.verdict(last) == Verdict::Ended).then_some(())
    });
    assert_eq!(pulls_with(case, &guarded.host(), |_| true), *last);
}

/// That nothing of a key is in whatever a process has said, and what `waypost docker-config` prints once it has ended.
fn says_nothing_of(mut waypost: Serving, id: &str, leaks: &Leaks) -> Finished {
    for (place, said) in everything(&waypost, id) {
        leaks.absent(&place, &said);
    }
    waypost.signal("TERM");
    waypost.ended();
    let printed = waypost.directory().run(["docker-config"]).exits(0);
    leaks.absent("the docker config", printed.out());
    leaks.absent("what is said with the docker config", &printed.stderr);
    printed
}

/// That the registry takes what is printed, to pull and not to push.
fn pulls_and_does_not_push(guarded: &Guarded, printed: &Finished) {
    let config = printed.json();
    let pulled = guarded.asked_with(&config, "GET", "manifests/1");
    assert_eq!(pulled.status, 200, "{}", pulled.text());
    let pushed = guarded.asked_with(&config, "POST", "blobs/uploads/");
    assert_eq!(pushed.status, 403, "{}", pushed.text());
}
