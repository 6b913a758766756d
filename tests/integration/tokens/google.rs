//! By the key of a service account.

use std::time::Duration;

use serde_json::{Value, json};
use waypost_issuers::{Fault, Google};

use super::{
    HERE, ends_and_stays, is_renewed_at_half_its_life, on_control_plane, pulls_and_does_not_push, register,
    says_nothing_of,
};
use crate::support::cluster::case::Case;
use crate::support::eventually;
use crate::support::issuers::{Guarded, condition, is_said, nobodys_key, pulls_with, rest, serve};
use crate::support::leaks::Leaks;
use crate::support::serving::Serving;

const ACCOUNT: &str = "waypost@stand-in.iam.gserviceaccount.com";

/// Google, a registry of its kind, and a Waypost that it is registered with.
struct Stage {
    guarded: Guarded,
    google: Google,
    waypost: Serving,
    leaks: Leaks,
    request: Value,
}

impl Stage {
    fn set(case: &Case<'_>, lasts: Duration) -> Self {
        let guarded = Guarded::start(case, HERE);
        let google = guarded.google(HERE);
        google.lasts(lasts);
        let trusted = format!("issuers: {{google: {{trusted: ['{}']}}}}", google.origin());
        let waypost = serve(case, &trusted, &[]);
        let leaks = Leaks::of_pem(nobodys_key());
        let request = json!({
            "name": "Google",
            "location": "gcr",
            "hostname": guarded.host(),
            "endpoint": format!("http://{}", guarded.host()),
            "key_json": google.key(ACCOUNT, nobodys_key()),
            "namespaces": {"names": [case.namespace]},
        });
        assert!(leaks.is_in(&request.to_string()), "it is looked for as it is sent");
        register(&waypost, &leaks, &request);
        Self {
            guarded,
            google,
            waypost,
            leaks,
            request,
        }
    }
}

#[test]
fn a_key_stays_at_home_and_namespaces_get_tokens_that_pull_renewed_at_half_their_life() {
    on_control_plane("google", |case| {
        let life = Duration::from_secs(16);
        let stage = Stage::set(case, life);
        is_said(&stage.waypost, "google", "True", "");
        is_renewed_at_half_its_life(case, &stage.guarded, life);
        eventually("the registry takes it", || {
            let [status, ..] = condition(&stage.waypost, "google", "Authenticated")?;
            (status == "True").then_some(())
        });
        let [long_lived, reason, _] = condition(&stage.waypost, "google", "LongLived").unwrap();
        assert_eq!((&*long_lived, &*reason), ("False", "Issued"));
        let expiry = stage
            .waypost
            .metric("waypost_credential_expiry_timestamp_seconds{registry=\"google\"}");
        let now = jiff::Timestamp::now().as_second() as f64;
        assert!(expiry > now && expiry <= now + life.as_secs_f64(), "{expiry} at {now}");
        let renewed = "waypost_credential_renewals_total{registry=\"google\",result=\"renewed\"}";
        assert!(stage.waypost.metric(renewed) >= 2.0);
        let printed = says_nothing_of(stage.waypost, "google", &stage.leaks);
        pulls_and_does_not_push(&stage.guarded, &printed);
    });
}

#[test]
fn while_google_is_away_for_longer_than_a_token_lives_the_last_one_stays_and_afterwards_there_is_another() {
    on_control_plane("google-away", |case| {
        let stage = Stage::set(case, Duration::from_secs(6));
        pulls_with(case, &stage.guarded.host(), |pulled| stage.guarded.is_good(pulled));
        stage.google.down();
        let last = pulls_with(case, &stage.guarded.host(), |_| true);
        ends_and_stays(case, &stage.guarded, &last);
        is_said(&stage.waypost, "google", "False", "Google (127.0.0.1) cannot be asked");
        stage.google.up();
        pulls_with(case, &stage.guarded.host(), |pulled| stage.guarded.is_good(pulled));
        is_said(&stage.waypost, "google", "True", "");
        says_nothing_of(stage.waypost, "google", &stage.leaks);
    });
}

#[test]
fn what_is_wrong_with_google_is_said_and_passes() {
    on_control_plane("google-faults", |case| {
        let stage = Stage::set(case, Duration::from_secs(6));
        let host = stage.guarded.host();
        // Slow, and yet in time.
        stage.google.fails(Fault::Slow(Duration::from_secs(1)));
        let first = pulls_with(case, &host, |pulled| stage.guarded.is_good(pulled));
        pulls_with(case, &host, |pulled| *pulled != first && stage.guarded.is_good(pulled));
        for (fault, said) in [
            (Fault::Status(500), "Google (127.0.0.1) answers 500"),
            (Fault::Status(503), "Google (127.0.0.1) answers 503"),
            (Fault::Slow(Duration::from_secs(60)), "it has not answered within 5 s"),
        ] {
            stage.google.fails(fault);
            is_said(&stage.waypost, "google", "False", said);
            let last = pulls_with(case, &host, |_| true);
            stage.google.fails(Fault::None);
            pulls_with(case, &host, |pulled| *pulled != last && stage.guarded.is_good(pulled));
            is_said(&stage.waypost, "google", "True", "");
        }
        says_nothing_of(stage.waypost, "google", &stage.leaks);
    });
}

#[test]
fn a_key_that_was_deleted_is_said_to_be_and_another_takes_its_place() {
    on_control_plane("google-key", |case| {
        let mut stage = Stage::set(case, Duration::from_secs(6));
        let host = stage.guarded.host();
        pulls_with(case, &host, |pulled| stage.guarded.is_good(pulled));
        stage.google.delete_keys();
        is_said(
            &stage.waypost,
            "google",
            "False",
            "it was deleted there, or is of another account; give a new one",
        );
        let last = pulls_with(case, &host, |_| true);
        ends_and_stays(case, &stage.guarded, &last);
        let result = "waypost_credential_renewals_total{registry=\"google\",result=\"rejected\"}";
        assert!(stage.waypost.metric(result) >= 1.0);

        stage.request["key_json"] = stage.google.key(ACCOUNT, nobodys_key()).into();
        let reply = rest(&stage.waypost, "PUT", "/v1/registries/google", &stage.request);
        assert_eq!(reply.status, 200, "{}", reply.text());
        stage.leaks.absent("the answer", &reply.text());
        pulls_with(case, &host, |pulled| stage.guarded.is_good(pulled));
        is_said(&stage.waypost, "google", "True", "");
        says_nothing_of(stage.waypost, "google", &stage.leaks);
    });
}
