//! What is to be done about the certificates of the webhook: from what is seen at one moment to the one next step.
//!
//! An authority signs the serving certificate, the *leaf*; the API server trusts what is in `caBundle`. An authority is replaced without
//! a moment in which somebody is not trusted: (1) the new one is kept beside the old ones, and all of them put into `caBundle`; (2) a leaf
//! of the new one; (3) every replica is seen to serve it; (4) the old ones go. Nothing but what is kept with the authority and the leaf
//! says how far that is, so whoever comes next goes on where the last one stopped.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};

/// A certificate, as far as its life is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The whole of it, DER.
    pub der: Vec<u8>,
    /// The first second of its validity.
    pub not_before: Timestamp,
    /// The last one.
    pub not_after: Timestamp,
}

/// What is seen at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The authority, unless there is none that can sign.
    pub authority: Option<Authority>,
    /// What the replicas are to serve, unless there is nothing that they could.
    pub serving: Option<Serving>,
    /// Whom the API server trusts; none where nobody is asked.
    pub trust: Option<Trust>,
    /// What somebody asks for.
    pub rotate: Option<Rotate>,
    /// What each replica serves, where they were looked at.
    pub replicas: Option<Vec<Replica>>,
}

/// Who signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Its certificate.
    pub certificate: Certificate,
    /// The authorities before it, which replicas may still have leaves of.
    pub previous: Vec<Certificate>,
}

/// What the replicas are to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// The certificate.
    pub leaf: Certificate,
    /// Who issued it.
    pub issuer: Option<Certificate>,
    /// Whether the authority's signature, the names in it and its key are as they should be.
    pub fits: bool,
}

/// Whom the API server trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The `caBundle` of each webhook, PEM.
    pub bundles: Vec<Vec<u8>>,
    /// What is readable in them.
    pub authorities: Vec<Certificate>,
    /// For how long they have been seen to be like this.
    pub stood: Duration,
}

/// What somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotate {
    /// A new authority, and a leaf of it.
    Authority,
    /// A new leaf.
    Leaf,
}

/// A replica that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// What people know it as.
    pub name: String,
    /// Whether the Service says that it can be called.
    pub serving: bool,
    /// What it served.
    pub served: Served,
}

/// What a replica served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// This leaf, DER.
    Leaf(Vec<u8>),
    /// One that the authority has not signed.
    Another,
    /// None: it cannot be reached, for this reason.
    Unreachable(String),
}

/// The one thing to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make an authority, and keep these beside it.
    MakeAuthority {
        /// Those that replicas may have leaves of.
        previous: Vec<Certificate>,
        /// What for.
        why: Why,
    },
    /// Put this into every `caBundle`, PEM.
    Trust(String),
    /// Make a leaf.
    MakeLeaf(Why),
    /// Look at what every replica serves.
    LookAtReplicas,
    /// Forget the previous authorities.
    Retire,
    /// Nothing, for so long or until something changes.
    Wait(Duration, Waiting),
}

/// What something is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is none that can be used.
    Missing,
    /// Two thirds of its life are over.
    Due,
    /// Somebody asks for it.
    Asked,
    /// There is another authority now.
    Authority,
    /// It is not for these names, or not of this key.
    Unfit,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The next renewal.
    Renewal,
    /// That every API server has heard of the new authority.
    ApiServers,
    /// These replicas, which do not serve the leaf yet.
    Replicas(Vec<String>),
}

/// The next step, at this moment.
pub fn next(observed: &Observed, now: Timestamp) -> Step {
    let Observed {
        authority,
        serving,
        trust,
        rotate,
        replicas,
    } = observed;
    let Some(authority) = authority else {
        // Where everything was deleted, the replicas go on serving what they have, and are trusted by what is in `caBundle`.
        let trusted = trust.iter().flat_map(|trust| &trust.authorities);
        let mut previous: Vec<Certificate> = Vec::new();
        for known in serving
            .iter()
            .filter_map(|serving| serving.issuer.as_ref())
            .chain(trusted)
        {
            if known.is_valid(now) && !previous.contains(known) {
                previous.push(known.clone());
            }
        }
        return Step::MakeAuthority {
            previous,
            why: Why::Missing,
        };
    };
    let is_issuer = |serving: &Serving| serving.issuer.as_ref() == Some(&authority.certificate);
    // A leaf of another authority means that what was asked for is being done.
    let asked = *rotate == Some(Rotate::Authority) && serving.as_ref().is_some_and(is_issuer);
    if asked || authority.certificate.renewal() <= now {
        let known = std::iter::once(&authority.certificate).chain(&authority.previous);
        return Step::MakeAuthority {
            previous: known.filter(|known| known.is_valid(now)).cloned().collect(),
            why: if asked { Why::Asked } else { Why::Due },
        };
    }
    let bundle = authority.bundle(now);
    if let Some(Trust { bundles, .. }) = trust
        && bundles.iter().any(|present| present != bundle.as_bytes())
    {
        return Step::Trust(bundle);
    }
    let Some(serving) = serving else {
        return Step::MakeLeaf(Why::Missing);
    };
    if !is_issuer(serving) {
        // Nobody loses anything by a new one at once where the old one is not accepted.
        return match trust {
            Some(Trust { stood, .. }) if *stood < SETTLES && serving.leaf.is_valid(now) => {
                Step::Wait(SETTLES - *stood, Waiting::ApiServers)
            }
            _ => Step::MakeLeaf(Why::Authority),
        };
    }
    let why = if !serving.fits {
        Some(Why::Unfit)
    } else if serving.leaf.renewal() <= now {
        Some(Why::Due)
    } else if *rotate == Some(Rotate::Leaf) {
        Some(Why::Asked)
    } else {
        None
    };
    if let Some(why) = why {
        return Step::MakeLeaf(why);
    }
    if authority.previous.iter().any(|previous| previous.is_valid(now)) {
        let Some(replicas) = replicas else {
            return Step::LookAtReplicas;
        };
        let late = replicas.iter().filter(|replica| !replica.has(&serving.leaf));
        let late: Vec<_> = late.map(|replica| replica.name.clone()).collect();
        if !late.is_empty() {
            return Step::Wait(LOOK_AGAIN, Waiting::Replicas(late));
        }
    }
    if !authority.previous.is_empty() {
        return Step::Retire;
    }
    let due = authority.certificate.renewal().min(serving.leaf.renewal());
    let until = Duration::try_from(due.duration_since(now)).unwrap_or_default();
    Step::Wait(until, Waiting::Renewal)
}

impl Certificate {
    /// After two thirds of its life, or up to a twentieth of it earlier: the same moment for whoever asks, another one for each certificate.
    pub fn renewal(&self) -> Timestamp {
        let life = self.not_after.duration_since(self.not_before).as_secs().max(0);
        let earlier = (life / 20).max(1);
        // FNV-1a: the same in every process and version.
        let hash = self.der.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        // The remainder is less than a number that was an i64 before.
        let earlier = (hash % earlier.unsigned_abs()) as i64;
        let after = SignedDuration::from_secs(life / 3 * 2 - earlier);
        self.not_before.checked_add(after).unwrap_or(self.not_after)
    }

    fn is_valid(&self, now: Timestamp) -> bool {
        self.not_after >= now
    }

    /// As it is written into `caBundle` and Secrets.
    pub fn pem(&self) -> String {
        let base64 = STANDARD.encode(&self.der);
        let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
        for (at, character) in base64.chars().enumerate() {
            if at > 0 && at % 64 == 0 {
                pem.push('\n');
            }
            pem.push(character);
        }
        pem.push_str("\n-----END CERTIFICATE-----\n");
        pem
    }
}

impl Authority {
    /// Whom the API server has to trust: itself, and those before it for as long as they are kept.
    pub fn bundle(&self, now: Timestamp) -> String {
        let previous = self.previous.iter().filter(|previous| previous.is_valid(now));
        std::iter::once(&self.certificate)
            .chain(previous)
            .map(Certificate::pem)
            .collect()
    }
}

impl Replica {
    /// One that nobody can reach, and that is not to be called either, is on its way in or out: when it comes, it comes with the new leaf.
    fn has(&self, leaf: &Certificate) -> bool {
        match &self.served {
            Served::Leaf(der) => *der == leaf.der,
            Served::Another => false,
            Served::Unreachable(_) => !self.serving,
        }
    }
}

impl Rotate {
    /// The value of the annotation [`ROTATE`].
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "ca" => Some(Self::Authority),
            "leaf" => Some(Self::Leaf),
            _ => None,
        }
    }
}

/// The annotation of the serving Secret that asks for a rotation: `ca` or `leaf`. It goes with the next leaf.
pub const ROTATE: &str = "waypost.dev/rotate";

/// API servers learn of a changed configuration by a watch, each for itself and within milliseconds.
pub const SETTLES: Duration = Duration::from_secs(5);

/// The kubelet brings a changed Secret to a replica within a minute and a half.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
