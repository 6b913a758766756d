//! Whether an image that a Pod uses, and a rule replicates, is to be copied now.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Record, State, event::ABANDONED};

/// What is to become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstUse {
    /// A copy is to be asked for.
    Due,
    /// A copy goes on, or somebody else's push.
    Joined,
    /// It is there; from this moment on its tag may have moved. None where it has a digest, which never moves.
    Fresh(Option<Timestamp>),
    /// It could not be pushed, and that is not tried again before this moment.
    Waiting(Timestamp),
}

impl FirstUse {
    /// By what is known of the image in the registry at a moment. `refresh` is how old a push may be before a tag is looked at again.
    pub fn of(record: &Record, refresh: Duration, now: Timestamp) -> Self {
        if record.copying.is_some() {
            return Self::Joined;
        }
        let success = record.last_success.as_ref();
        // Somebody who looked and found the same made no other push of it: that he did counts.
        let looked = record.last_attempt.as_ref();
        let looked = looked.filter(|attempt| attempt.state == State::Succeeded);
        let looked = looked.map(|attempt| attempt.moment());
        let fresh_until = success.map(|success| {
            let moment = Some(success.finished_at).max(looked).unwrap_or(success.finished_at);
            record.image.tag_may_move().then(|| after(moment, refresh))
        });
        match fresh_until {
            Some(None) => return Self::Fresh(None),
            Some(Some(until)) if now < until => return Self::Fresh(Some(until)),
            Some(Some(_)) | None => {}
        }
        match &record.last_attempt {
            Some(attempt) if attempt.state == State::Failed => {
                let pause = match success {
                    // How many failed since is not known. Pods have something to run meanwhile.
                    Some(_) => refresh.clamp(SHORTEST_PAUSE, LONGEST_PAUSE),
                    None => pause(attempt.attempt),
                };
                let until = after(attempt.moment(), pause);
                if now < until { Self::Waiting(until) } else { Self::Due }
            }
            // Somebody said that he began.
            Some(attempt) if !attempt.state.is_final() && now.duration_since(attempt.started_at) < ABANDONED => {
                Self::Joined
            }
            _ => Self::Due,
        }
    }
}

/// After so many attempts, all of which failed as far as the record tells.
fn pause(attempts: u32) -> Duration {
    let doubled = 1u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    SHORTEST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE)
}

fn after(moment: Timestamp, length: Duration) -> Timestamp {
    let length = SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
    moment.saturating_add(length).unwrap_or(Timestamp::MAX)
}

/// What failed is tried again after so long, twice as long each time.
const SHORTEST_PAUSE: Duration = Duration::from_secs(60);

const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pushes::{Copying, Event, Image, Origin, What};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn asked(second: i64) -> What {
        What::Asked(Copying {
            asked_at: at(second),
            referrers: false,
            refresh: false,
            source: None,
            login: None,
        })
    }

    fn succeeded() -> What {
        What::Succeeded {
            target: "r.io/docker.io/x/y:1".into(),
            digest: "sha256:1".into(),
        }
    }

    fn failed() -> What {
        What::Failed { error: "no".into() }
    }

    fn record(image: &str, events: &[(i64, Origin, What)]) -> Record {
        let image = Image::parse(image).unwrap();
        let mut record = Record::new(image.clone(), "r");
        for ((second, origin, what), sequence) in events.iter().zip(1..) {
            let event = Event {
                image: image.clone(),
                registry: "r".into(),
                at: at(*second),
                origin: *origin,
                what: what.clone(),
            };
            record = record.after(&event, at(*second), sequence).unwrap_or(record);
        }
        record
    }

    const HOUR: Duration = Duration::from_secs(3600);
    const DIGEST: &str = "x/y@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn what_was_never_pushed_or_long_ago_or_is_gone_is_due() {
        use Origin::{Copy, Notification, Report, Verification};
        let withdrawn = || What::Withdrawn { digest: None };
        for (image, events, now, expected) in [
            ("x/y:1", vec![], 0, FirstUse::Due),
            ("x/y:1", vec![(0, Report, asked(0))], 9_999_999, FirstUse::Joined),
            (
                "x/y:1",
                vec![(0, Copy, asked(0)), (5, Copy, succeeded())],
                6,
                FirstUse::Fresh(Some(at(3605))),
            ),
            (
                "x/y:1",
                vec![(0, Copy, asked(0)), (5, Copy, succeeded())],
                3605,
                FirstUse::Due,
            ),
            ("x/y", vec![(5, Report, succeeded())], 3605, FirstUse::Due),
            (
                "x/y:1",
                vec![(0, Report, succeeded()), (3600, Report, succeeded())],
                3600,
                FirstUse::Fresh(Some(at(7200))),
            ),
            (
                DIGEST,
                vec![(5, Notification, succeeded())],
                9_999_999,
                FirstUse::Fresh(None),
            ),
            (
                DIGEST,
                vec![(5, Notification, succeeded()), (6, Verification, withdrawn())],
                7,
                FirstUse::Due,
            ),
            ("x/y:1", vec![(0, Report, What::Begun)], 60, FirstUse::Joined),
            ("x/y:1", vec![(0, Report, What::Begun)], 24 * 3600, FirstUse::Due),
        ] {
            let found = FirstUse::of(&record(image, &events), HOUR, at(now));
            assert_eq!(found, expected, "{image} {events:?} at {now}");
        }
    }

    #[test]
    fn what_fails_again_and_again_is_tried_more_and_more_seldom() {
        let mut events = Vec::new();
        let mut now = 0;
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            assert_eq!(
                FirstUse::of(&record("x/y:1", &events), HOUR, at(now)),
                FirstUse::Due,
                "{now}"
            );
            events.extend([(now, Origin::Copy, asked(now)), (now + 1, Origin::Copy, failed())]);
            let until = now + 1 + minutes * 60;
            for now in [now + 1, until - 1] {
                let found = FirstUse::of(&record("x/y:1", &events), HOUR, at(now));
                assert_eq!(found, FirstUse::Waiting(at(until)));
            }
            now = until;
        }
    }

    #[test]
    fn a_refresh_that_fails_waits_as_long_as_one_that_went_well() {
        let events = [
            (0, Origin::Copy, asked(0)),
            (1, Origin::Copy, succeeded()),
            (4000, Origin::Copy, asked(4000)),
            (4001, Origin::Copy, failed()),
        ];
        let record = record("x/y:1", &events);
        for (refresh, until) in [(600, 4601), (1, 4061), (86_400, 86_401)] {
            let refresh = Duration::from_secs(refresh);
            let expected = match until {
                86_401 => FirstUse::Fresh(Some(at(until))),
                until => FirstUse::Waiting(at(until)),
            };
            assert_eq!(FirstUse::of(&record, refresh, at(4002)), expected);
            assert_eq!(FirstUse::of(&record, refresh, at(until)), FirstUse::Due);
        }
    }

    fn happening() -> impl Strategy<Value = (i64, Origin, What)> {
        let origin = prop_oneof![
            Just(Origin::Copy),
            Just(Origin::Report),
            Just(Origin::Notification),
            Just(Origin::Verification)
        ];
        let what = prop_oneof![
            Just(asked(0)),
            Just(What::Begun),
            Just(succeeded()),
            Just(failed()),
            Just(What::Withdrawn { digest: None }),
        ];
        (0i64..200_000, origin, what)
    }

    proptest! {
        #[test]
        fn nothing_waits_for_ever_but_what_somebody_copies_or_never_moves(
            events in prop::collection::vec(happening(), 0..8),
            refresh in 1u64..100_000,
            now in 0i64..400_000,
        ) {
            let record = record("x/y:1", &events);
            let refresh = Duration::from_secs(refresh);
            match FirstUse::of(&record, refresh, at(now)) {
                FirstUse::Fresh(Some(until)) | FirstUse::Waiting(until) => prop_assert!(until > at(now)),
                FirstUse::Fresh(None) => prop_assert!(false, "a tag may move"),
                FirstUse::Due | FirstUse::Joined => {}
            }
            let expected = if record.copying.is_some() { FirstUse::Joined } else { FirstUse::Due };
            prop_assert_eq!(FirstUse::of(&record, refresh, at(400_000)), expected);
        }
    }
}
