//! Settings of an S3 store, and the client made from them.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Credentials as Keys, ProvideCredentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};

use crate::store::Credentials;
use crate::store::error::{Failure, StoreError};

/// Settings of an S3 store.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// Bucket; it must exist.
    pub bucket: String,
    /// What stands before every name, without a final `/`; empty for the whole bucket.
    pub prefix: String,
    /// Address of the service; buckets are then named in the path. `None`: AWS.
    pub endpoint: Option<String>,
    /// Region; `None`: as the AWS tools find it, else `us-east-1`.
    pub region: Option<String>,
    /// Who asks.
    pub credentials: Credentials,
    /// How often a request is sent at most; at least one.
    pub attempts: u32,
    /// Pause before the second attempt; each further one is twice as long.
    pub first_pause: Duration,
    /// No pause is longer.
    pub longest_pause: Duration,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Time for a request's answer to begin and, beyond what its bytes take at `min_bytes_per_second`, to end.
    pub response_timeout: Duration,
    /// A body slower than this is given up and asked for again.
    pub min_bytes_per_second: u64,
    /// Objects above this size in bytes are sent in parts of it, one at a time. S3 wants at least 5 MiB.
    pub part_size: usize,
    /// Objects a page of a listing holds, at most 1,000.
    pub page_size: i32,
}

impl S3Options {
    /// The defaults, for `s3://bucket/prefix`.
    pub fn new(bucket: impl Into<String>, prefix: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: prefix.into(),
            endpoint: None,
            region: None,
            credentials: Credentials::Default,
            attempts: 6,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(30),
            min_bytes_per_second: 64 << 10,
            part_size: 16 << 20,
            page_size: 1000,
        }
    }

    /// The longest that an exchange of so many bytes may take.
    pub(super) fn time_for(&self, bytes: u64) -> Duration {
        self.response_timeout + Duration::from_secs(bytes / self.min_bytes_per_second.max(1))
    }

    /// The pause after attempt number `attempt` (from 0) at `object`: between half and all of the doubled pause. Which
    /// share is a hash, so that many workers that were turned away together do not come back together.
    pub(super) fn pause(&self, object: &str, attempt: u32) -> Duration {
        let whole = self.first_pause.saturating_mul(1 << attempt.min(20)).min(self.longest_pause);
        let hash = blake3::hash(format!("{object} {attempt} {}", std::process::id()).as_bytes());
        whole.mul_f64(0.5 + f64::from(hash.as_bytes()[0]) / 512.0)
    }

    /// A client for these settings. Credentials are looked for here, so that a missing one is told at once.
    pub(super) async fn client(&self) -> Result<Client, StoreError> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        loader = match &self.region {
            Some(region) => loader.region(Region::new(region.clone())),
            None => loader,
        };
        loader = match &self.credentials {
            Credentials::Default => loader,
            Credentials::Anonymous => loader.no_credentials(),
            Credentials::Static { access_key, secret_key, session_token } => {
                loader.credentials_provider(Keys::new(access_key, secret_key, session_token.clone(), None, "static"))
            }
        };
        let shared = loader.load().await;
        if let Some(provider) = shared.credentials_provider()
            && let Err(error) = provider.provide_credentials().await
        {
            return Err(StoreError::Denied(Failure::caused("open", format!("s3://{}", self.bucket), error)));
        }
        let mut config = aws_sdk_s3::config::Builder::from(&shared)
            // The retries are this crate's: it must know whether an earlier attempt may have been carried out.
            .retry_config(RetryConfig::disabled())
            // So are the clocks, which know how many bytes there are.
            .timeout_config(TimeoutConfig::builder().connect_timeout(self.connect_timeout).build())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            // Many services know only the checksums that S3 began with.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if shared.region().is_none() {
            config = config.region(Region::new("us-east-1"));
        }
        if let Some(endpoint) = &self.endpoint {
            config = config.endpoint_url(endpoint).force_path_style(true);
        }
        Ok(Client::from_conf(config.build()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_never_fall_below_half() {
        let options = S3Options::new("bucket", "");
        for attempt in 0..40 {
            let whole = Duration::from_millis(100 << attempt.min(7)).min(options.longest_pause);
            let pause = options.pause("object", attempt);
            assert!(whole / 2 <= pause && pause <= whole, "{attempt}: {pause:?}");
        }
    }

    #[test]
    fn time_grows_with_the_bytes() {
        let options = S3Options::new("bucket", "");
        assert_eq!(options.time_for(0), Duration::from_secs(30));
        assert_eq!(options.time_for(64 << 20), Duration::from_secs(30 + 1024));
    }
}
