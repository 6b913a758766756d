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
use crate::support::issuers::{Guarded, is_said, pulls_with, pulls_with_now, rest, serve};
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
        let stage = Stage::registered(case, life);
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
        is_said(&stage.waypost, "amazon", "False", "the connection was refused");
        stage.amazon.up();
        pulls_with(case, &host, |pulled| stage.guarded.is_good(pulled));
        is_said(&stage.waypost, "amazon", "True", "");

        for (fault, said) in [
            (Fault::Status(503), "failed with status 503"),
            (Fault::Slow(Duration::from_secs(60)), "was not answered in time"),
        ] {
            stage.amazon.fails(fault);
            is_said(&stage.waypost, "amazon", "False", said);
            let last = pulls_with(case, &host, |_| true);
            // Slow, and yet in time.
            stage.amazon.fails(Fault::Slow(Duration::from_millis(500)));
            pulls_with(case, &host, |pulled| *pulled != last && stage.guarded.is_good(pulled));
            is_said(&stage.waypost, "amazon", "True", "");
        }
        says_nothing_of(stage.waypost, "amazon", &stage.leaks);
    });
}

#[test]
fn a_wrong_region_and_a_wrong_secret_are_said_to_be_and_put_right_it_works() {
    on_control_plane("amazon-wrong", |case| {
        let stage = Stage::set(case, Duration::from_secs(60));
        let host = stage.guarded.host();
        let mut request = stage.request(case);
        request["region"] = "us-east-1".into();
        register(&stage.waypost, &stage.leaks, &request);
        let region = "what answers is of another region; check the region and the endpoint";
        is_said(&stage.waypost, "amazon", "False", region);
        let replace = |request: &Value| {
            let reply = rest(&stage.waypost, "PUT", "/v1/registries/amazon", request);
            assert_eq!(reply.status, 200, "{}", reply.text());
            stage.leaks.absent("the answer", &reply.text());
        };
        request["region"] = REGION.into();
        request["secret_access_key"] = "another".into();
        replace(&request);
        let secret = "the secret access key is not the one of this access key id; give both anew";
        is_said(&stage.waypost, "amazon", "False", secret);
        assert_eq!(pulls_with_now(case, &case.namespace, &host), None);
        request["secret_access_key"] = stage.key.secret.clone().into();
        replace(&request);
        pulls_with(case, &host, |pulled| stage.guarded.is_good(pulled));
        is_said(&stage.waypost, "amazon", "True", "");
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
        is_said(
            &stage.waypost,
            "amazon",
            "False",
            "does not know the access key, because it was deleted",
        );
        let last = pulls_with(case, &host, |_| true);
        ends_and_stays(case, &stage.guarded, &last);
        says_nothing_of(stage.waypost, "amazon", &stage.leaks);
    });
}
