//! ApiVersions: what this broker serves, so that clients choose versions that both sides know.

use std::ops::RangeInclusive;
use std::rc::Rc;

use corelane_core::metadata::supported_features;
use corelane_core::protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use corelane_core::protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use corelane_core::protocol::{ApiKey, ErrorCode};

use super::{Request, SERVED, Served};
use crate::shard::Shard;
use crate::sys::Sys;

/// Before this request version, clients fail on a supported feature whose minimum is 0 (KAFKA-17492).
const VERSION_WITH_ZERO_MINIMUMS: i16 = 4;

pub(super) fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    if !is_served(ApiKey::ApiVersions, request.version) {
        // Answered in version 0, which every client can read, with the range to choose from.
        let response = ApiVersionsResponse {
            error_code: ErrorCode::UNSUPPORTED_VERSION.0,
            api_keys: SERVED.iter().filter(|(key, _)| *key == ApiKey::ApiVersions).map(entry).collect(),
            ..Default::default()
        };
        return request.answer_in(0, &response);
    }
    let asked: ApiVersionsRequest = request.decode()?;
    if request.version >= 3
        && !(is_software_name(&asked.client_software_name) && is_software_name(&asked.client_software_version))
    {
        return request.answer(&ApiVersionsResponse { error_code: ErrorCode::INVALID_REQUEST.0, ..Default::default() });
    }
    let catalog = shard.catalog();
    let shown = |min_level: i16| request.version >= VERSION_WITH_ZERO_MINIMUMS || min_level > 0;
    let known = supported_features();
    let supported = known.iter().filter(|feature| shown(feature.min_level));
    request.answer(&ApiVersionsResponse {
        api_keys: SERVED.iter().map(entry).collect(),
        supported_features: supported
            .map(|feature| SupportedFeatureKey {
                name: feature.name.clone().into(),
                min_version: feature.min_level,
                max_version: feature.max_level,
            })
            .collect(),
        finalized_features_epoch: catalog.image.position.end_offset.0,
        finalized_features: catalog
            .image
            .features
            .iter()
            // A directory that Kafka has used may have finalized what does not act here.
            .filter(|(name, level)| **level > 0 && known.iter().any(|feature| feature.name == **name))
            .map(|(name, level)| FinalizedFeatureKey {
                name: name.clone().into(),
                min_version_level: *level,
                max_version_level: *level,
            })
            .collect(),
        ..Default::default()
    })
}

fn is_served(key: ApiKey, version: i16) -> bool {
    SERVED.iter().any(|(served, versions)| *served == key && versions.contains(&version))
}

fn entry((key, versions): &(ApiKey, RangeInclusive<i16>)) -> ApiVersion {
    ApiVersion { api_key: *key as i16, min_version: *versions.start(), max_version: *versions.end() }
}

/// Letters, digits, `-` and `.`, beginning and ending with a letter or digit (KIP-511).
fn is_software_name(text: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    ends(text.chars().next())
        && ends(text.chars().next_back())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_follow_the_rule() {
        for good in ["a", "apache-kafka-java", "4.3.1", "librdkafka"] {
            assert!(is_software_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "kafka_python", "ä"] {
            assert!(!is_software_name(bad), "{bad}");
        }
    }
}
