//! By the access key of a user.

use std::time::Duration;

use serde_json::{Value, json};
use waypost_issuers::{ACCOUNT, AccessKey, Amazon, Fault};

use super::{
    HERE, ends_and_stays, is_renewed_at_half_its_life, on_control_plane, pulls_and_does_not_push, register,
    says_nothing_of,
};
use crate::support::cluster::case::Case;
use crate::support::eventually;
use crate::support::issuers::{Guarded, is_said, pulls_with, rest, serve};
use crate::support::leaks::Leaks;
use crate::support::serving::Serving;

const REGION: &str = "eu-central-1";

/// Amazon, a registry, and a Waypost.
struct Stage {
    guarded: Guarded,
    amazon: Amazon,
    key: AccessKey,
    waypost: Serving,
    leaks: Leaks,
}

impl Stage {
    fn set(case: &Case<'_>, lasts: Duration) -> Self {
        let guarded = Guarded::start(case, HERE);
        let amazon = Amazon::start(HERE, REGION, &guarded.tokens);
        amazon.lasts(lasts);
        let key = amazon.user("robot");
        let origin = amazon.origin();
        let environment = [
            ("AWS_ENDPOINT_URL_ECR", &*origin),
            ("AWS_ENDPOINT_URL_STS", &*origin),
            // This machine may be one of Amazon's.
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let waypost = serve(case, "", &environment);
        let leaks = Leaks::of(&key.secret);
        Self {
            guarded,
            amazon,
            key,
            waypost,
            leaks,
        }
    }

    fn request(&self, case: &Case<'_>) -> Value {
        json!({
            "name": "Amazon",
            "location": "ecr",
            "region": REGION,
            "hostname": self.guarded.host(),
            "endpoint": format!("http://{}", self.guarded.host()),
            "access_key_id": self.key.id,
            "secret_access_key": self.key.secret,
            "namespaces": {"names": [case.namespace]},
        })
    }

    fn registered(case: &Case<'_>, lasts: Duration) -> Self {
        let stage = Self::set(case, lasts);
        let request = stage.request(case);
        assert!(
            stage.leaks.is_in(&request.to_string()),
            "it is looked for as it is sent"
        );
        register(&stage.waypost, &stage.leaks, &request);
        stage
    }
}

#[test]
fn an_access_key_stays_at_home_and_namespaces_get_tokens_that_pull_renewed_at_half_their_life() {
    on_control_plane("amazon", |case| {
        let life = Duration::from_secs(16);
        let stage = Stage::set(case, life);
        let mut request = stage.request(case);
        request["registry_id"] = ACCOUNT.into();
        register(&stage.waypost, &stage.leaks, &request);
        is_said(&stage.waypost, "amazon", "True", "");
        is_renewed_at_half_its_life(case, &stage.guarded, life);
        let printed = says_nothing_of(stage.waypost, "amazon", &stage.leaks);
        pulls_and_does_not_push(&stage.guarded, &printed);
    });
}

#[test]
fn whose_registry_it_is_ecr_is_asked_and_a_role_pulls_for_it() {
    on_control_plane("amazon-asked", |case| {
        let stage = Stage::set(case, Duration::from_secs(60));
        let mut request = stage.request(case);
        request["pull_role_arn"] = stage.amazon.role("waypost-pull").into();
        register(&stage.waypost, &stage.leaks, &request);
        // Without another name for it, it has Amazon's own.
        let mut own = stage.request(case);
        own["name"] = "Own".into();
        for key in ["hostname", "endpoint"] {
            own.as_object_mut().unwrap().remove(key);
        }
        register(&stage.waypost, &stage.leaks, &own);
        let url = format!("{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com");
        eventually("the address of the account's registry", || {
            let reply = rest(&stage.waypost, "GET", "/v1/registries/own", &Value::Null);
            let registry: Value = serde_json::from_str(&reply.text()).unwrap();
            (registry["registry_url"] == *url).then_some(())
        });
        for host in [&url, &stage.guarded.host()] {
            pulls_with(case, host, |pulled| stage.guarded.is_good(pulled));
        }
        let printed = says_nothing_of(stage.waypost, "amazon", &stage.leaks);
        assert_eq!(printed.json()["auths"][&url]["username"], "AWS");
        pulls_and_does_not_push(&stage.guarded, &printed);
    });
}

#[test]
fn what_is_wrong_with_amazon_is_said_and_passes() {
    on_control_plane("amazon-faults", |case| {
        let stage = Stage::registered(case, Duration::from_secs(6));
        let host = stage.guarded.host();
        pulls_with(case, &host, |pulled| stage.guarded.is_good(pulled));
        stage.amazon.down();
        let last = pulls_with(case, &host, |_| true);
        ends_and_stays(case, &stage.guarded, &last);
        is_said(&stage.waypost, "amazon", "False", "");
        stage.amazon.up();
        pulls_with(case, &host, |pulled| stage.guarded.is_good(pulled));
        is_said(&stage.waypost, "amazon", "True", "");

        stage.amazon.fails(Fault::Status(503));
        is_said(&stage.waypost, "amazon", "False", "");
        let last = pulls_with(case, &host, |_| true);
        stage.amazon.fails(Fault::Slow(Duration::from_millis(500)));
        pulls_with(case, &host, |pulled| *pulled != last && stage.guarded.is_good(pulled));
        is_said(&stage.waypost, "amazon", "True", "");
        says_nothing_of(stage.waypost, "amazon", &stage.leaks);
    });
}

#[test]
fn a_wrong_region_is_said_to_be_and_put_right_it_works() {
    on_control_plane("amazon-region", |case| {
        let stage = Stage::set(case, Duration::from_secs(60));
        let mut request = stage.request(case);
        request["region"] = "us-east-1".into();
        register(&stage.waypost, &stage.leaks, &request);
        is_said(&stage.waypost, "amazon", "False", "region");
        request["region"] = REGION.into();
        let reply = rest(&stage.waypost, "PUT", "/v1/registries/amazon", &request);
        assert_eq!(reply.status, 200, "{}", reply.text());
        pulls_with(case, &stage.guarded.host(), |pulled| stage.guarded.is_good(pulled));
        says_nothing_of(stage.waypost, "amazon", &stage.leaks);
    });
}

#[test]
fn an_access_key_that_was_deleted_is_said_to_be() {
    on_control_plane("amazon-key", |case| {
        let stage = Stage::registered(case, Duration::from_secs(6));
        let host = stage.guarded.host();
        pulls_with(case, &host, |pulled| stage.guarded.is_good(pulled));
        stage.amazon.delete_key(&stage.key);
        is_said(&stage.waypost, "amazon", "False", "does not know the access key");
        let last = pulls_with(case, &host, |_| true);
        ends_and_stays(case, &stage.guarded, &last);
        says_nothing_of(stage.waypost, "amazon", &stage.leaks);
    });
}
