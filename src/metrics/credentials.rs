//! What is known of tokens that somebody issues.

use jiff::Timestamp;
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::register;

/// When they end, and what came of having them issued. Clones share it. The label is a registry's id, which an admin gave it.
#[derive(Clone)]
pub struct CredentialMetrics {
    expiry: IntGaugeVec,
    renewals: IntCounterVec,
}

impl CredentialMetrics {
    pub(super) fn register(registry: &Registry) -> Self {
        let expiry = Opts::new(
            "waypost_credential_expiry_timestamp_seconds",
            "When the token that a registry's namespaces have ends, in seconds after the epoch; 0 where there is none.",
        );
        let renewals = Opts::new(
            "waypost_credential_renewals_total",
            "Attempts to have a registry's token issued, by what came of them.",
        );
        Self {
            expiry: register(registry, IntGaugeVec::new(expiry, &["registry"])),
            renewals: register(registry, IntCounterVec::new(renewals, &["registry", "result"])),
        }
    }

    /// When a registry's token ends; none where it has none.
    pub fn set_expiry(&self, id: &str, at: Option<Timestamp>) {
        let seconds = at.map_or(0, Timestamp::as_second);
        self.expiry.with_label_values(&[id]).set(seconds);
    }

    /// Counts an attempt.
    pub fn renewal(&self, id: &str, result: Renewal) {
        self.renewals.with_label_values(&[id, result.as_str()]).inc();
    }

    /// The registry is no longer there, or nobody has its tokens issued here.
    pub fn remove(&self, id: &str) {
        // What was never counted is gone as well.
        let _ = self.expiry.remove_label_values(&[id]);
        for result in Renewal::ALL {
            let _ = self.renewals.remove_label_values(&[id, result.as_str()]);
        }
    }
}

/// What came of an attempt to have a token issued. The list is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// There is a new one.
    Renewed,
    /// The key or the rights are not good.
    Rejected,
    /// What is configured cannot be right.
    Misconfigured,
    /// It may work later.
    Unavailable,
    /// One was issued, and the store did not take it.
    NotKept,
}

impl Renewal {
    const ALL: [Self; 5] = [
        Self::Renewed,
        Self::Rejected,
        Self::Misconfigured,
        Self::Unavailable,
        Self::NotKept,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Renewed => "renewed",
            Self::Rejected => "rejected",
            Self::Misconfigured => "misconfigured",
            Self::Unavailable => "unavailable",
            Self::NotKept => "not_kept",
        }
    }
}
