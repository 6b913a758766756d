//! Each step from each state; and worlds in which whoever works is stopped after any of the steps.

use proptest::prelude::*;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

/// Valid for 3,000 s; due for renewal between 1,850 s and 2,000 s after it began.
fn certificate(name: &str, from: i64) -> Certificate {
    Certificate {
        der: name.as_bytes().to_vec(),
        not_before: at(from),
        not_after: at(from + 3_000),
    }
}

fn authority(name: &str, previous: &[&str]) -> Authority {
    Authority {
        certificate: certificate(name, 0),
        previous: previous.iter().map(|name| certificate(name, 0)).collect(),
    }
}

/// A leaf of this authority.
fn serving(leaf: &str, issuer: &str) -> Serving {
    Serving {
        leaf: certificate(leaf, 0),
        issuer: Some(certificate(issuer, 0)),
        fits: true,
    }
}

fn trust(names: &[&str], stood: u64) -> Option<Trust> {
    let bundle: String = names.iter().map(|name| certificate(name, 0).pem()).collect();
    Some(Trust {
        bundles: vec![bundle.into_bytes()],
        authorities: names.iter().map(|name| certificate(name, 0)).collect(),
        stood: Duration::from_secs(stood),
    })
}

fn replica(name: &str, serving: bool, served: Served) -> Replica {
    Replica {
        name: name.to_owned(),
        serving,
        served,
    }
}

fn leaf(name: &str) -> Served {
    Served::Leaf(name.as_bytes().to_vec())
}

/// Everything as it should be.
fn settled() -> Observed {
    Observed {
        authority: Some(authority("A", &[])),
        serving: Some(serving("leaf", "A")),
        trust: trust(&["A"], 60),
        rotate: None,
        replicas: None,
    }
}

/// The old authority's leaf is served still.
fn begun() -> Observed {
    Observed {
        authority: Some(authority("B", &["A"])),
        ..settled()
    }
}

/// The new authority's leaf is in the Secret.
fn issued() -> Observed {
    Observed {
        authority: Some(authority("B", &["A"])),
        serving: Some(serving("new", "B")),
        trust: trust(&["B", "A"], 60),
        rotate: None,
        replicas: None,
    }
}

fn make(previous: &[&str], why: Why) -> Step {
    Step::MakeAuthority {
        previous: previous.iter().map(|name| certificate(name, 0)).collect(),
        why,
    }
}

fn trusting(names: &[&str]) -> Step {
    Step::Trust(names.iter().map(|name| certificate(name, 0).pem()).collect())
}

#[track_caller]
fn assert_next(observed: &Observed, expected: Step) {
    assert_eq!(next(observed, at(100)), expected);
}

#[test]
fn at_first_there_is_an_authority_then_trust_in_it_then_a_leaf() {
    let nothing = Observed {
        trust: trust(&[], 0),
        ..Observed::default()
    };
    assert_next(&nothing, make(&[], Why::Missing));
    let made = Observed {
        authority: Some(authority("A", &[])),
        ..nothing
    };
    assert_next(&made, trusting(&["A"]));
    let trusted = Observed {
        trust: trust(&["A"], 0),
        ..made
    };
    assert_next(&trusted, Step::MakeLeaf(Why::Missing));
}

#[test]
fn where_nobody_is_asked_there_is_a_leaf_all_the_same() {
    let observed = Observed {
        authority: Some(authority("A", &[])),
        ..Observed::default()
    };
    assert_next(&observed, Step::MakeLeaf(Why::Missing));
    assert_next(&Observed { trust: None, ..begun() }, Step::MakeLeaf(Why::Authority));
}

#[test]
fn what_is_settled_waits_for_the_first_renewal() {
    let Step::Wait(duration, Waiting::Renewal) = next(&settled(), at(100)) else {
        panic!();
    };
    assert!((1_750..=1_900).contains(&duration.as_secs()), "{duration:?}");
}

#[test]
fn a_bundle_that_somebody_changed_is_put_back_whatever_else_is_going_on() {
    for present in [&[][..], &["X"], &["A", "X"], &["X", "A"]] {
        let settled = Observed {
            trust: trust(present, 60),
            ..settled()
        };
        assert_next(&settled, trusting(&["A"]));
        for underway in [begun(), issued()] {
            let underway = Observed {
                trust: trust(present, 60),
                ..underway
            };
            assert_next(&underway, trusting(&["B", "A"]));
        }
    }
    let mut second = settled();
    second.trust.as_mut().unwrap().bundles.push(b"garbage".to_vec());
    assert_next(&second, trusting(&["A"]));
}

#[test]
fn a_leaf_is_renewed_when_it_is_due_unfit_or_asked_for() {
    let mut unfit = settled();
    unfit.serving.as_mut().unwrap().fits = false;
    assert_next(&unfit, Step::MakeLeaf(Why::Unfit));
    let asked = Observed {
        rotate: Some(Rotate::Leaf),
        ..settled()
    };
    assert_next(&asked, Step::MakeLeaf(Why::Asked));
    let mut due = settled();
    due.serving.as_mut().unwrap().leaf = certificate("leaf", -2_000);
    assert_next(&due, Step::MakeLeaf(Why::Due));
    due.serving.as_mut().unwrap().leaf = certificate("leaf", -4_000);
    assert_next(&due, Step::MakeLeaf(Why::Due));
    due.serving = None;
    assert_next(&due, Step::MakeLeaf(Why::Missing));
}

#[test]
fn an_authority_is_replaced_when_it_is_due_or_asked_for_and_the_old_one_kept() {
    let asked = Observed {
        rotate: Some(Rotate::Authority),
        ..settled()
    };
    assert_next(&asked, make(&["A"], Why::Asked));
    let mut due = settled();
    let authority = due.authority.as_mut().unwrap();
    authority.certificate = certificate("A", -2_000);
    let Step::MakeAuthority { previous, why } = next(&due, at(100)) else {
        panic!();
    };
    assert_eq!((previous, why), (vec![certificate("A", -2_000)], Why::Due));
    // One that has ended is of no use to anybody.
    due.authority.as_mut().unwrap().certificate = certificate("A", -4_000);
    assert_next(&due, make(&[], Why::Due));
}

#[test]
fn an_authority_whose_key_is_lost_is_replaced_and_trusted_as_long_as_its_leaf_is_served() {
    let lost = Observed {
        authority: None,
        ..settled()
    };
    assert_next(&lost, make(&["A"], Why::Missing));
    let both = Observed { serving: None, ..lost };
    assert_next(&both, make(&["A"], Why::Missing));
}

#[test]
fn a_rotation_that_was_asked_for_is_not_begun_twice() {
    for underway in [
        begun(),
        Observed {
            trust: trust(&["B", "A"], 60),
            ..begun()
        },
    ] {
        let asked = Observed {
            rotate: Some(Rotate::Authority),
            ..underway.clone()
        };
        assert_eq!(next(&asked, at(100)), next(&underway, at(100)));
    }
}

#[test]
fn each_step_of_a_rotation_follows_from_the_state_that_the_last_one_left() {
    assert_next(&begun(), trusting(&["B", "A"]));
    let told = Observed {
        trust: trust(&["B", "A"], 2),
        ..begun()
    };
    assert_next(&told, Step::Wait(Duration::from_secs(3), Waiting::ApiServers));
    let heard = Observed {
        trust: trust(&["B", "A"], 5),
        ..begun()
    };
    assert_next(&heard, Step::MakeLeaf(Why::Authority));
    assert_next(&issued(), Step::LookAtReplicas);
    let served = Observed {
        replicas: Some(vec![replica("r", true, leaf("new"))]),
        ..issued()
    };
    assert_next(&served, Step::Retire);
    let retired = Observed {
        authority: Some(authority("B", &[])),
        ..issued()
    };
    assert_next(&retired, trusting(&["B"]));
    let done = Observed {
        trust: trust(&["B"], 0),
        ..retired
    };
    assert!(matches!(next(&done, at(100)), Step::Wait(_, Waiting::Renewal)));
}

#[test]
fn an_old_leaf_that_nobody_accepts_is_not_waited_for() {
    let mut observed = Observed {
        trust: trust(&["B", "A"], 0),
        ..begun()
    };
    observed.serving.as_mut().unwrap().leaf = certificate("leaf", -4_000);
    assert_next(&observed, Step::MakeLeaf(Why::Authority));
}

#[test]
fn the_old_authority_stays_until_every_replica_that_may_be_called_serves_the_new_leaf() {
    let unreachable = || Served::Unreachable("refused".to_owned());
    let rows: [(&str, Vec<Replica>, &[&str]); 8] = [
        ("none", vec![], &[]),
        (
            "all",
            vec![replica("a", true, leaf("new")), replica("b", true, leaf("new"))],
            &[],
        ),
        ("not ready", vec![replica("a", false, leaf("new"))], &[]),
        (
            "old leaf",
            vec![replica("a", true, leaf("new")), replica("b", true, leaf("leaf"))],
            &["b"],
        ),
        ("old authority", vec![replica("a", true, Served::Another)], &["a"]),
        ("old, and not ready", vec![replica("a", false, Served::Another)], &["a"]),
        ("cannot be reached", vec![replica("a", true, unreachable())], &["a"]),
        ("on its way", vec![replica("a", false, unreachable())], &[]),
    ];
    for (what, replicas, late) in rows {
        let observed = Observed {
            replicas: Some(replicas),
            ..issued()
        };
        let expected = if late.is_empty() {
            Step::Retire
        } else {
            let late = late.iter().map(|name| (*name).to_owned()).collect();
            Step::Wait(LOOK_AGAIN, Waiting::Replicas(late))
        };
        assert_eq!(next(&observed, at(100)), expected, "{what}");
    }
}

#[test]
fn previous_authorities_that_have_ended_go_without_looking_and_are_not_trusted() {
    let mut observed = issued();
    observed.authority.as_mut().unwrap().previous = vec![certificate("A", -4_000)];
    assert_next(&observed, trusting(&["B"]));
    observed.trust = trust(&["B"], 60);
    assert_next(&observed, Step::Retire);
}

#[test]
fn a_rotation_within_a_rotation_keeps_all_that_may_be_served() {
    let again = Observed {
        rotate: Some(Rotate::Authority),
        ..issued()
    };
    assert_next(&again, make(&["B", "A"], Why::Asked));
}

#[test]
fn renewal_is_after_two_thirds_of_a_life_or_a_little_earlier_and_the_same_for_everybody() {
    let mut seen = std::collections::BTreeSet::new();
    for name in 0..100 {
        let certificate = certificate(&format!("{name}"), 50);
        let renewal = certificate.renewal();
        assert!(at(50 + 1_850) <= renewal && renewal <= at(50 + 2_000), "{renewal}");
        assert_eq!(renewal, certificate.renewal());
        seen.insert(renewal);
    }
    assert!(seen.len() > 30, "{}", seen.len());
}

#[test]
fn only_two_words_ask_for_a_rotation() {
    assert_eq!(Rotate::parse("ca"), Some(Rotate::Authority));
    assert_eq!(Rotate::parse("leaf"), Some(Rotate::Leaf));
    assert_eq!(Rotate::parse("CA"), None);
}

/// A cluster, as far as certificates go, in which steps are taken.
#[derive(Clone, Debug)]
struct World {
    now: i64,
    made: u32,
    authority: Option<Authority>,
    serving: Option<Serving>,
    bundle: Vec<Certificate>,
    /// Since when the bundle has been seen by whoever works now.
    seen: i64,
    rotate: Option<Rotate>,
    /// What each replica serves, and its issuer: the Secret reaches them late.
    replicas: Vec<Option<(Certificate, Certificate)>>,
    looked: bool,
}

/// What happens to it.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Step,
    /// Another one takes over, who has seen nothing.
    TakeOver,
    /// A step is done, and whoever did it is stopped before anything else.
    StepAndTakeOver,
    Ask(bool),
    LoseAuthority,
    LoseLeaf,
    ChangeBundle,
    Sync(usize),
    Pass(u16),
}

impl World {
    fn new() -> Self {
        Self {
            now: 10_000,
            made: 0,
            authority: None,
            serving: None,
            bundle: Vec::new(),
            seen: 10_000,
            rotate: None,
            replicas: vec![None; 3],
            looked: false,
        }
    }

    fn make(&mut self, what: &str) -> Certificate {
        self.made += 1;
        certificate(&format!("{what} {}", self.made), self.now)
    }

    fn observe(&self) -> Observed {
        let served = |(name, served): (usize, &Option<(Certificate, Certificate)>)| Replica {
            name: name.to_string(),
            serving: served.is_some(),
            served: match (served, &self.authority) {
                (None, _) => Served::Unreachable(String::new()),
                (Some((leaf, issuer)), Some(authority)) if *issuer == authority.certificate => {
                    Served::Leaf(leaf.der.clone())
                }
                _ => Served::Another,
            },
        };
        Observed {
            authority: self.authority.clone(),
            serving: self.serving.clone(),
            trust: Some(Trust {
                bundles: vec![
                    self.bundle
                        .iter()
                        .map(Certificate::pem)
                        .collect::<String>()
                        .into_bytes(),
                ],
                authorities: self.bundle.clone(),
                stood: Duration::from_secs((self.now - self.seen).unsigned_abs()),
            }),
            rotate: self.rotate,
            replicas: self
                .looked
                .then(|| self.replicas.iter().enumerate().map(served).collect()),
        }
    }

    /// Does the next step, and says whether there was something to do.
    fn step(&mut self) -> bool {
        let step = next(&self.observe(), at(self.now));
        self.looked = step == Step::LookAtReplicas;
        match step {
            Step::MakeAuthority { previous, .. } => {
                let certificate = self.make("authority");
                self.authority = Some(Authority { certificate, previous });
            }
            Step::Trust(bundle) => {
                let authority = self.authority.as_ref().unwrap();
                let all = std::iter::once(&authority.certificate).chain(&authority.previous);
                self.bundle = all.filter(|one| bundle.contains(&one.pem())).cloned().collect();
                self.seen = self.now;
            }
            Step::MakeLeaf(_) => {
                let leaf = self.make("leaf");
                self.serving = Some(Serving {
                    leaf,
                    issuer: self.authority.as_ref().map(|authority| authority.certificate.clone()),
                    fits: true,
                });
                self.rotate = None;
            }
            Step::LookAtReplicas => {}
            Step::Retire => self.authority.as_mut().unwrap().previous.clear(),
            Step::Wait(..) => return false,
        }
        true
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Step => {
                self.step();
            }
            Happening::TakeOver => (self.seen, self.looked) = (self.now, false),
            Happening::StepAndTakeOver => {
                self.step();
                self.happens(Happening::TakeOver);
            }
            Happening::Ask(authority) if self.serving.is_some() => {
                self.rotate = Some(if authority { Rotate::Authority } else { Rotate::Leaf });
            }
            Happening::Ask(_) => {}
            Happening::LoseAuthority => self.authority = None,
            Happening::LoseLeaf => (self.serving, self.rotate) = (None, None),
            Happening::ChangeBundle => (self.bundle, self.seen) = (Vec::new(), self.now),
            Happening::Sync(replica) => {
                if let Some(Serving { leaf, issuer, .. }) = &self.serving {
                    let replica = replica % self.replicas.len();
                    self.replicas[replica] = Some((leaf.clone(), issuer.clone().unwrap()));
                    self.looked = false;
                }
            }
            Happening::Pass(seconds) => self.now += i64::from(seconds),
        }
    }

    /// That no replica is called in vain because of what was done here.
    fn assert_trusted(&self) {
        for (leaf, issuer) in self.replicas.iter().flatten() {
            let valid = at(self.now) <= leaf.not_after && at(self.now) <= issuer.not_after;
            assert!(!valid || self.bundle.contains(issuer), "{self:#?}");
        }
    }

    /// Runs until there is nothing to do, the Secret reaching every replica.
    fn settle(&mut self) {
        for _ in 0..100 {
            if !self.step() {
                if matches!(next(&self.observe(), at(self.now)), Step::Wait(_, Waiting::Renewal)) {
                    return;
                }
                (0..3).for_each(|replica| self.happens(Happening::Sync(replica)));
                self.now += 6;
            }
        }
        panic!("never settled: {self:#?}");
    }
}

/// What may happen between two steps without anybody losing anything.
fn harmless() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => Just(Happening::Step),
        3 => Just(Happening::StepAndTakeOver),
        1 => Just(Happening::TakeOver),
        1 => any::<bool>().prop_map(Happening::Ask),
        3 => (0_usize..3).prop_map(Happening::Sync),
        3 => (0_u16..40).prop_map(Happening::Pass),

    ]
}

/// Somebody's mistakes as well.
fn anything() -> impl Strategy<Value = Happening> {
    prop_oneof![
        8 => harmless(),
        1 => Just(Happening::LoseAuthority),
        1 => Just(Happening::LoseLeaf),
        1 => Just(Happening::ChangeBundle),
        1 => (0_u16..3_000).prop_map(Happening::Pass),
    ]
}

proptest! {
    #[test]
    fn whoever_is_stopped_wherever_every_replica_stays_trusted(happenings in prop::collection::vec(harmless(), 0..200)) {
        let mut world = World::new();
        world.settle();
        for happening in happenings {
            world.happens(happening);
            world.assert_trusted();
        }
        world.settle();
        world.assert_trusted();
        prop_assert_eq!(world.bundle.len(), 1);
    }

    #[test]
    fn whatever_was_lost_is_made_again_and_nothing_is_left_over(happenings in prop::collection::vec(anything(), 0..60)) {
        let mut world = World::new();
        for happening in happenings {
            world.happens(happening);
        }
        world.settle();
        (0..3).for_each(|replica| world.happens(Happening::Sync(replica)));
        world.assert_trusted();
        let authority = world.authority.unwrap();
        prop_assert_eq!(authority.previous, vec![]);
        prop_assert_eq!(world.bundle, vec![authority.certificate]);
        prop_assert_eq!(world.rotate, None);
    }
}
