//! Who asks AWS: the keys that were configured, or the identity that the process has where it runs.

use std::time::Duration;

use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_ecr::config::Credentials;

use super::{Ecr, Keys, fault, transport::CONNECT};
use crate::credentials::IssueError;

/// Credentials, and what else was found of AWS where they were looked for.
pub(super) struct Identity {
    pub(super) config: SdkConfig,
    pub(super) credentials: Credentials,
}

impl Ecr {
    pub(super) async fn identity(&self) -> Result<Identity, IssueError> {
        let config = self.loader().load().await;
        let nobody = || IssueError::Misconfigured("no AWS identity was given".to_owned());
        let provider = config.credentials_provider().ok_or_else(nobody)?;
        let credentials = provider.provide_credentials().await;
        Ok(Identity {
            credentials: credentials.map_err(|error| fault::no_identity(&error, &self.settings.region))?,
            config,
        })
    }

    fn loader(&self) -> ConfigLoader {
        let attempts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(ATTEMPT)
            .build();
        let retries = RetryConfig::standard()
            .with_max_attempts(ATTEMPTS)
            .with_initial_backoff(BACK_OFF);
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(self.settings.region.clone()))
            .http_client(self.transport.clone())
            .timeout_config(attempts)
            .retry_config(retries);
        if let Some(keys) = &self.settings.keys {
            loader = loader.credentials_provider(keys.credentials());
        }
        #[cfg(test)]
        {
            loader = self.world.instead(loader);
        }
        loader
    }
}

impl Keys {
    fn credentials(&self) -> Credentials {
        let token = self.session_token.as_ref().map(|token| token.expose().to_owned());
        Credentials::new(self.id.expose(), self.secret.expose(), token, None, "Waypost")
    }
}

/// With the head of an answer and its end.
const ATTEMPT: Duration = Duration::from_secs(8);

/// Of each call, with what was not answered in between.
const ATTEMPTS: u32 = 3;

/// Before the second attempt at most, twice that before the third.
const BACK_OFF: Duration = Duration::from_millis(500);
